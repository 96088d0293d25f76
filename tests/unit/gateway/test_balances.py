"""Balances: what is owed against what became of it."""

from posthouse.core.model import Environment
from posthouse.gateway.books import Balance, Books, balance_of, together
from posthouse.store.protocol import Books as Row


def row(tenant: str, key: int, owed: int, **counts: int) -> Row:
    discarded = {"cancelled": counts.pop("cancelled")} if "cancelled" in counts else {}
    return Row(environment=Environment.LIVE, tenant=tenant, endpoint_key=key, owed=owed, discarded=discarded, **counts)


def test_the_imbalance_is_what_is_owed_and_nowhere() -> None:
    assert balance_of(row("a", 1, 9, delivered=1, waiting=2, retrying=1, exhausted=1, cancelled=2)).imbalance == 2
    assert balance_of(row("a", 1, 1, delivered=2)).imbalance == -1


def test_faults_never_cancel_each_other_out() -> None:
    """A delivery that is missing here and one that is doubled there are two alarms, not none."""
    total = together([balance_of(row("a", 1, 1)), balance_of(row("a", 2, 0, delivered=1))])
    assert (total.owed, total.delivered, total.imbalance) == (1, 1, 2)


def test_nothing_is_balanced() -> None:
    assert together([]) == Balance()


async def test_the_audit_has_every_level() -> None:
    class Ledger:
        async def audit(self, environment: Environment, tenant: str | None = None) -> list[Row]:
            return [row("b", 3, 1, waiting=1), row("a", 2, 2, cancelled=2), row("a", 1, 1, delivered=1)]

    audit = await Books(Ledger()).audit(Environment.LIVE)  # type: ignore[arg-type]  # only this is asked
    assert (audit.total.owed, audit.total.discarded, audit.total.imbalance) == (4, {"cancelled": 2}, 0)
    assert {name: balance.owed for name, balance in audit.tenants.items()} == {"a": 3, "b": 1}
    assert list(audit.endpoints) == [("a", 1), ("a", 2), ("b", 3)]
