"""Parts of a tenant's rules: together they keep to the rule, and nobody is left without any."""

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.shares import WHOLE, Share, cap_of, rate_of

#: How many active endpoints of a tenant each node works for; some may be nobody's at the moment.
PARTS = st.lists(st.integers(0, 40), min_size=1, max_size=12)


def shares(parts: list[int], unowned: int) -> list[Share]:
    total = sum(parts) + unowned
    return [Share(mine, total, len(parts)) for mine in parts if mine]


@given(PARTS, st.integers(0, 20), st.floats(0.01, 1e6))
def test_the_rates_of_all_nodes_are_at_most_the_rate(parts: list[int], unowned: int, rate: float) -> None:
    assert sum(rate_of(rate, share) for share in shares(parts, unowned)) <= rate * (1 + 1e-9)


@given(PARTS, st.integers(0, 20), st.integers(1, 500))
def test_the_caps_of_all_nodes_are_at_most_the_cap_or_one_each(parts: list[int], unowned: int, cap: int) -> None:
    given_out = [cap_of(cap, share) for share in shares(parts, unowned)]
    assert all(part >= 1 for part in given_out)
    assert sum(given_out) <= max(cap, len(given_out)) or cap < len(parts)
    assert sum(given_out) <= max(cap, len(given_out))


def test_who_works_for_all_of_a_tenant_has_all_of_it() -> None:
    assert (cap_of(7, WHOLE), rate_of(3.5, WHOLE)) == (7, 3.5)
    assert cap_of(7, Share(4, 4, 3)) == 7
    assert cap_of(0, Share(1, 4, 3)) == 0, "no cap stays none"


def test_a_part_is_as_large_as_the_number_of_endpoints() -> None:
    assert rate_of(100.0, Share(1, 4, 2)) == 25.0
    assert rate_of(100.0, Share(0, 0, 2)) == 100.0
    assert (cap_of(10, Share(3, 4, 2)), cap_of(10, Share(1, 4, 2))) == (7, 3)
