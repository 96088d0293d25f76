"""Secrets that take over from each other."""

from collections.abc import Sequence

from posthouse.core import limits
from posthouse.core.errors import Conflict
from posthouse.core.model import Secret


def rotated(secrets: Sequence[Secret], new: Secret, *, now: int, overlap_ms: int) -> tuple[Secret, ...]:
    """The secrets after a rotation, the current one first.

    The ones before expire ``overlap_ms`` after ``now``, or earlier if they were to. At most
    ``SECRETS_VALID_MAX`` stay valid: the oldest go first. Raises Conflict if ``new`` is valid already.
    """
    if any(old.value == new.value and old.is_valid(now) for old in secrets):
        raise Conflict("This secret is in use already.", hint="Rotate to a secret that is new.")
    ends_at = now + overlap_ms
    kept = [
        Secret(old.value, old.created_at, ends_at if old.expires_at is None else min(old.expires_at, ends_at))
        for old in secrets
    ]
    return (new, *(old for old in kept if old.is_valid(now)))[: limits.SECRETS_VALID_MAX]
