"""Rotation: the new secret is current, the old ones overlap and end."""

import pytest

from posthouse.core.errors import Conflict
from posthouse.core.limits import SECRETS_VALID_MAX
from posthouse.core.model import Secret
from posthouse.gateway.rotation import rotated

NOW = 1_000_000


def test_the_secret_before_expires_after_the_overlap() -> None:
    assert rotated([Secret("a", 1)], Secret("b", NOW), now=NOW, overlap_ms=50) == (
        Secret("b", NOW),
        Secret("a", 1, NOW + 50),
    )


def test_an_overlap_never_prolongs_a_secret_that_is_rotating_out() -> None:
    before = [Secret("b", 2), Secret("a", 1, NOW + 10)]
    assert [s.expires_at for s in rotated(before, Secret("c", NOW), now=NOW, overlap_ms=50)] == [
        None,
        NOW + 50,
        NOW + 10,
    ]


def test_without_an_overlap_only_the_new_one_is_valid() -> None:
    """For a secret that leaked."""
    before = [Secret("b", 2), Secret("a", 1, NOW + 10)]
    assert rotated(before, Secret("c", NOW), now=NOW, overlap_ms=0) == (Secret("c", NOW),)


def test_expired_secrets_are_dropped() -> None:
    before = [Secret("b", 2), Secret("a", 1, NOW)]
    assert [s.value for s in rotated(before, Secret("c", NOW), now=NOW, overlap_ms=5)] == ["c", "b"]


def test_no_more_than_the_bound_stay_valid_and_the_oldest_go() -> None:
    secrets: tuple[Secret, ...] = ()
    for number in range(10):
        secrets = rotated(secrets, Secret(str(number), number), now=number, overlap_ms=1_000)
        assert secrets[0] == Secret(str(number), number)
    assert [s.value for s in secrets] == ["9", "8", "7", "6"]
    assert len(secrets) == SECRETS_VALID_MAX


def test_a_secret_that_is_valid_cannot_be_the_new_one() -> None:
    with pytest.raises(Conflict):
        rotated([Secret("b", 2), Secret("a", 1, NOW + 1)], Secret("a", NOW), now=NOW, overlap_ms=5)
    assert rotated([Secret("b", 2), Secret("a", 1, NOW)], Secret("a", NOW), now=NOW, overlap_ms=5)[0].value == "a"
