"""Idempotency of management calls: the same key and body gives the same thing back, once made."""

import asyncio
from collections.abc import Hashable
from hashlib import sha256
from typing import Final, NamedTuple
from weakref import WeakValueDictionary

import msgspec

from posthouse.core.errors import Conflict, IdempotencyConflict
from posthouse.core.model import Environment
from posthouse.store.protocol import CatalogueFacet, Remembered

_DIGEST_BYTES: Final = 32
_encode: Final = msgspec.json.Encoder(order="sorted").encode


class KeyedLocks:
    """One lock per key, for as long as somebody holds or awaits it."""

    def __init__(self) -> None:
        self._locks: WeakValueDictionary[Hashable, asyncio.Lock] = WeakValueDictionary()

    def of(self, key: Hashable) -> asyncio.Lock:
        """The lock of ``key``; whoever uses it keeps it alive."""
        lock = self._locks.get(key)
        if lock is None:
            lock = self._locks[key] = asyncio.Lock()
        return lock


class Made(NamedTuple):
    """What an earlier request with the same Idempotency-Key and body made."""

    ref: int  #: key of the thing
    secret_digest: bytes  #: SHA-256 of the secret that was shown for it; empty if none was


class Repeats:
    """Finds repeats of one kind of management call.

    What is remembered with a thing is the digest of the request, and the digest of the secret that
    was made for it: so the repeat can give that secret back while it is still valid, and never another.
    """

    def __init__(self, facet: CatalogueFacet) -> None:
        self._facet = facet
        self._locks = KeyedLocks()

    def lock(self, environment: Environment, idempotency_key: str | None) -> asyncio.Lock:
        """To be held from :meth:`find` to the commit, so that two repeats at one time make one thing."""
        if idempotency_key is None:
            return asyncio.Lock()
        return self._locks.of((environment, idempotency_key))

    async def find(self, environment: Environment, idempotency_key: str | None, request: object) -> Made | None:
        """What this very request made before, if anything.

        Raises IdempotencyConflict if the key was used for another request.
        """
        if idempotency_key is None:
            return None
        remembered = await self._facet.recall(environment, idempotency_key)
        if remembered is None:
            return None
        if remembered.fingerprint[:_DIGEST_BYTES] != _digest(request):
            raise _reused()
        return Made(remembered.ref, remembered.fingerprint[_DIGEST_BYTES:])

    def remember(
        self, environment: Environment, idempotency_key: str | None, request: object, ref: int, secret: str | None
    ) -> Remembered | None:
        """What to store in the transaction that makes the thing ``ref``."""
        if idempotency_key is None:
            return None
        fingerprint = _digest(request) + (b"" if secret is None else secret_digest(secret))
        return Remembered(environment, idempotency_key, fingerprint, ref)


class RecentRepeats:
    """Idempotency keys of calls that make nothing, so that no row can remember them: the latest ones, in memory.

    What is forgotten (behind ``kept_max`` younger ones, or by a restart) is done again, so only calls
    whose repeat does no harm may rely on it.
    """

    def __init__(self, *, kept_max: int = 10_000) -> None:
        self._kept_max = kept_max
        self._done: dict[tuple[Environment, str], bytes] = {}
        self._locks = KeyedLocks()

    def lock(self, environment: Environment, idempotency_key: str | None) -> asyncio.Lock:
        """To be held from :meth:`seen` to :meth:`done`."""
        return asyncio.Lock() if idempotency_key is None else self._locks.of((environment, idempotency_key))

    def seen(self, environment: Environment, idempotency_key: str | None, request: object) -> bool:
        """Whether this very request was done. Raises IdempotencyConflict if another one was under this key."""
        if idempotency_key is None:
            return False
        digest = self._done.get((environment, idempotency_key))
        if digest is not None and digest != _digest(request):
            raise _reused()
        return digest is not None

    def done(self, environment: Environment, idempotency_key: str | None, request: object) -> None:
        """Remember that this request was done."""
        if idempotency_key is not None:
            self._done[environment, idempotency_key] = _digest(request)
            if len(self._done) > self._kept_max:
                del self._done[next(iter(self._done))]


def secret_digest(secret: str) -> bytes:
    """What is remembered of a secret that a request made."""
    return sha256(secret.encode()).digest()


def gone(what: str) -> Conflict:
    """The refusal of a repeat whose thing exists no longer."""
    return Conflict(
        f"This Idempotency-Key made {what} that is gone by now.",
        hint="Use a new Idempotency-Key to make another one.",
    )


def _reused() -> IdempotencyConflict:
    return IdempotencyConflict("This Idempotency-Key was used before for a different request.")


def _digest(request: object) -> bytes:
    return sha256(_encode(request)).digest()
