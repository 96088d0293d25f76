"""API keys: made once, shown once, stored as a hash."""

from collections.abc import Callable
from typing import Final

import msgspec

from posthouse.core.errors import Conflict, Forbidden, NotFound
from posthouse.core.ids import API_KEY, parse_id
from posthouse.core.model import ApiKey, Environment, Scope
from posthouse.core.ports import Clock, Entropy
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deciding import decided
from posthouse.gateway.principal import Principal, hash_of
from posthouse.gateway.repeats import KeyedLocks, Repeats, gone
from posthouse.gateway.tenants import check_name
from posthouse.store.protocol import CatalogueFacet

RANDOM_BYTES: Final = 32
_BASE62: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_BASE62_CHARS: Final = 43  #: of 32 bytes
_RECOGNISABLE_CHARS: Final = 4  #: of the random part that stay readable


class IssuedKey(msgspec.Struct, frozen=True):
    """A key with its text, which exists nowhere else. ``secret`` is None for a repeat of the request."""

    api_key: ApiKey
    secret: str | None


class Keys:
    """Creates, lists and revokes API keys."""

    def __init__(
        self,
        facet: CatalogueFacet,
        catalogue: Catalogue,
        clock: Clock,
        entropy: Entropy,
        new_key: Callable[[], int],
    ) -> None:
        self._facet = facet
        self._catalogue = catalogue
        self._clock = clock
        self._entropy = entropy
        self._new_key = new_key
        self._repeats = Repeats(facet)
        self._locks = KeyedLocks()

    async def create_key(
        self, environment: Environment, scope: Scope, name: str, *, before_stored: Callable[[str], None]
    ) -> IssuedKey:
        """A new key, made by the node itself and not on behalf of a caller.

        ``before_stored`` gets the key's text before the key counts, so that no crash can leave a
        store with a key that nobody knows.
        """
        issued = self._make(environment, scope, check_name(name))
        assert issued.secret is not None
        before_stored(issued.secret)
        return self._stored(issued, await self._facet.put_api_key(issued.api_key))

    async def create_first(
        self,
        name: str,
        *,
        before_stored: Callable[[str], None],
    ) -> IssuedKey | None:
        """The first live key of a store, with the scope admin; None if there is a live key already.

        Of nodes that start at once on a new store one makes it: it counts only if the catalogue is as it was when there
        was none. ``before_stored`` gets the text as in :meth:`create_key`; a node that comes second has got one that
        never counts.
        """

        async def decide() -> IssuedKey | None:
            if self._catalogue.api_keys(Environment.LIVE):
                return None
            issued = self._make(Environment.LIVE, Scope.ADMIN, check_name(name))
            assert issued.secret is not None
            before_stored(issued.secret)
            version = await self._facet.put_api_key(issued.api_key, version=self._catalogue.version)
            return self._stored(issued, version)

        return await decided(self._catalogue, decide)

    async def create(
        self,
        principal: Principal,
        *,
        scope: Scope,
        name: str,
        environment: Environment | None = None,
        idempotency_key: str | None = None,
    ) -> IssuedKey:
        """A new key for ``environment``, by default that of the caller.

        Raises InvalidInput, IdempotencyConflict, and Forbidden if a test key asks for a live one.
        """
        target = principal.environment if environment is None else environment
        if target is Environment.LIVE and principal.environment is Environment.TEST:
            raise Forbidden("A test key cannot make a live key.", hint="Use a live key with the scope 'admin'.")
        return await self._create(target, scope, name, principal.environment, idempotency_key)

    def page(self, environment: Environment, *, after: int | None, limit: int) -> list[ApiKey]:
        """Up to ``limit`` keys that are not revoked, oldest first, from the one behind ``after`` on."""
        found = self._catalogue.api_keys(environment)
        return [api_key for api_key in found if after is None or api_key.key > after][:limit]

    async def revoke(self, environment: Environment, key_id: str) -> ApiKey:
        """Make a key worthless at once.

        Raises NotFound, and Conflict for the last live key with the scope admin: nobody could make another one.
        """
        async with self._locks.of(environment):
            return await decided(self._catalogue, lambda: self._revoke(environment, key_id))

    async def _revoke(self, environment: Environment, key_id: str) -> ApiKey:
        key = parse_id(API_KEY, key_id)
        api_key = None if key is None else self._catalogue.api_key(key)
        if api_key is None or api_key.environment is not environment:
            raise NotFound("There is no API key with this id.")
        if environment is Environment.LIVE and self._is_last_admin(api_key):
            raise Conflict(
                "This is the last live key with the scope 'admin'.", hint="Make another one first, then revoke it."
            )
        revoked = msgspec.structs.replace(api_key, revoked_at=self._clock.now_ms())
        # An admin's is decided by the version of everything: another node may be about to revoke the key because of
        # which this one is not the last.
        decided_by = self._catalogue.version if api_key.scope is Scope.ADMIN else None
        version = await self._facet.put_api_key(revoked, seen=api_key.revision, version=decided_by)
        return self._catalogue.apply_api_key(revoked, version)

    async def _create(
        self, environment: Environment, scope: Scope, name: str, asked_in: Environment, idempotency_key: str | None
    ) -> IssuedKey:
        check_name(name)
        request = ("key", environment, scope, name)
        async with self._repeats.lock(asked_in, idempotency_key):
            made = await self._repeats.find(asked_in, idempotency_key, request)
            if made is not None:
                return IssuedKey(await self._made_before(made.ref), None)
            issued = self._make(environment, scope, name)
            remember = self._repeats.remember(asked_in, idempotency_key, request, issued.api_key.key, None)
            return self._stored(issued, await self._facet.put_api_key(issued.api_key, remember=remember))

    async def _made_before(self, key: int) -> ApiKey:
        api_key = self._catalogue.api_key(key)
        if api_key is None:  # or another node made it a moment ago
            await self._catalogue.refresh()
            api_key = self._catalogue.api_key(key)
        if api_key is None:
            raise gone("an API key")
        return api_key

    def _stored(self, issued: IssuedKey, version: int) -> IssuedKey:
        return IssuedKey(self._catalogue.apply_api_key(issued.api_key, version), issued.secret)

    def _make(self, environment: Environment, scope: Scope, name: str) -> IssuedKey:
        secret = f"ph_{environment}_{base62(self._entropy.token(RANDOM_BYTES))}"
        api_key = ApiKey(
            key=self._new_key(),
            hash=hash_of(secret),
            prefix=secret[: len(f"ph_{environment}_") + _RECOGNISABLE_CHARS],
            environment=environment,
            scope=scope,
            name=name,
            created_at=self._clock.now_ms(),
        )
        return IssuedKey(api_key, secret)

    def _is_last_admin(self, api_key: ApiKey) -> bool:
        admins = {k.key for k in self._catalogue.api_keys(api_key.environment) if k.scope is Scope.ADMIN}
        return admins == {api_key.key}


def base62(raw: bytes) -> str:
    """32 bytes as 43 letters and digits: one word for a double click, nothing to escape."""
    assert len(raw) == RANDOM_BYTES
    number = int.from_bytes(raw, "big")
    chars = []
    for _ in range(_BASE62_CHARS):
        number, rest = divmod(number, len(_BASE62))
        chars.append(_BASE62[rest])
    return "".join(reversed(chars))
