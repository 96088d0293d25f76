"""Sources: created, changed, paused, resumed, deleted; their secrets rotated."""

from base64 import b32encode
from collections.abc import Callable
from typing import Final

import msgspec

from posthouse.core import limits
from posthouse.core.errors import Conflict, NotFound
from posthouse.core.ids import SOURCE, parse_id
from posthouse.core.inbound import Source, SourceState, WhilePaused
from posthouse.core.model import Environment, Secret
from posthouse.core.ports import Clock, Entropy
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deciding import decided
from posthouse.gateway.hints import InboxHints
from posthouse.gateway.presets import preset_of
from posthouse.gateway.repeats import KeyedLocks, Repeats, gone
from posthouse.gateway.rotation import rotated
from posthouse.gateway.source_input import (
    SourceChange,
    SourceSpec,
    check_new_secret,
    check_source,
    check_source_change,
    rules_of,
)
from posthouse.gateway.tenants import Tenants
from posthouse.store.protocol import CatalogueFacet

TOKEN_BYTES: Final = 20  #: 160 random bits, 32 characters of base32


class Sources:
    """Everything that people do with sources. One writer at a time per source."""

    def __init__(
        self,
        facet: CatalogueFacet,
        catalogue: Catalogue,
        inbox: InboxHints,
        tenants: Tenants,
        *,
        clock: Clock,
        entropy: Entropy,
        new_key: Callable[[], int],
    ) -> None:
        self._facet = facet
        self._catalogue = catalogue
        self._inbox = inbox
        self._tenants = tenants
        self._clock = clock
        self._entropy = entropy
        self._new_key = new_key
        self._repeats = Repeats(facet)
        self._locks = KeyedLocks()

    # -- reading ------------------------------------------------------------------------------

    def get(self, environment: Environment, source_id: str) -> Source:
        """The source with this id. Raises NotFound, also for one of another environment and for a deleted one."""
        source = source_of(self._catalogue, environment, source_id)
        if source.state is SourceState.DELETED:
            raise _unknown()
        return source

    def page(self, environment: Environment, *, tenant: str | None, after: int | None, limit: int) -> list[Source]:
        """Up to ``limit`` sources, oldest first, from the one behind the key ``after`` on."""
        found = self._catalogue.sources(environment, tenant)
        return [source for source in found if after is None or source.key > after][:limit]

    def valid_secrets(self, source: Source) -> list[Secret]:
        """The secrets of a source that count now, newest first."""
        now = self._clock.now_ms()
        return [secret for secret in source.secrets if secret.is_valid(now)]

    # -- writing ------------------------------------------------------------------------------

    async def create(self, environment: Environment, spec: SourceSpec, *, idempotency_key: str | None = None) -> Source:
        """A new source. Its URL takes requests from now on.

        Raises InvalidInput, IdempotencyConflict, or Conflict for one source too many; then nothing was stored.
        """
        check_source(spec)
        request = ("source", spec)
        async with self._repeats.lock(environment, idempotency_key):
            made = await self._repeats.find(environment, idempotency_key, request)
            if made is not None:
                return await self._made_before(made.ref)
            if len(self._catalogue.sources(environment)) >= limits.SOURCES_MAX:
                message = f"An environment has at most {limits.SOURCES_MAX:,} sources."
                raise Conflict(message, hint="Delete sources that are not used.")
            await self._tenants.ensure(environment, spec.tenant)
            now = self._clock.now_ms()
            source = Source(
                key=self._new_key(),
                environment=environment,
                tenant=spec.tenant,
                name=spec.name,
                provider=spec.provider,
                token=b32encode(self._entropy.token(TOKEN_BYTES)).decode().lower(),
                secrets=tuple(Secret(secret, now) for secret in spec.secrets),
                description=spec.description,
                created_at=now,
                updated_at=now,
                rules=rules_of(spec),
            )
            remember = self._repeats.remember(environment, idempotency_key, request, source.key, None)
            return self._changed(source, await self._facet.put_source(source, remember=remember))

    async def update(self, environment: Environment, source_id: str, change: SourceChange) -> Source:
        """Change the fields that are set. Raises NotFound and InvalidInput."""

        async def decide() -> Source:
            source = self.get(environment, source_id)
            rules = check_source_change(change, provider=source.provider, rules=source.rules)
            return await self._put(
                source,
                name=source.name if isinstance(change.name, msgspec.UnsetType) else change.name,
                description=(
                    source.description if isinstance(change.description, msgspec.UnsetType) else change.description
                ),
                rules=rules,
            )

        async with self._locks.of(parse_id(SOURCE, source_id)):
            return await decided(self._catalogue, decide)

    async def pause(
        self, environment: Environment, source_id: str, *, while_paused: WhilePaused | None = None
    ) -> Source:
        """Pass nothing on; requests are kept or refused, as ``while_paused`` says, or as it did before. Idempotent."""

        async def decide() -> Source:
            source = self.get(environment, source_id)
            rules = source.rules
            if while_paused is not None:
                rules = msgspec.structs.replace(rules, while_paused=while_paused)
            return await self._put(source, state=SourceState.PAUSED, rules=rules)

        async with self._locks.of(parse_id(SOURCE, source_id)):
            return await decided(self._catalogue, decide)

    async def resume(self, environment: Environment, source_id: str) -> Source:
        """Pass on what comes, and what was kept meanwhile. Idempotent. Raises NotFound."""

        async def decide() -> Source:
            return await self._put(self.get(environment, source_id), state=SourceState.ACTIVE)

        async with self._locks.of(parse_id(SOURCE, source_id)):
            return await decided(self._catalogue, decide)

    async def delete(self, environment: Environment, source_id: str) -> Source:
        """Let nobody know its URL any more; what it took is passed on all the same. Idempotent. Raises NotFound."""

        async def decide() -> Source:
            return await self._put(source_of(self._catalogue, environment, source_id), state=SourceState.DELETED)

        async with self._locks.of(parse_id(SOURCE, source_id)):
            return await decided(self._catalogue, decide)

    async def rotate_secret(
        self,
        environment: Environment,
        source_id: str,
        *,
        secret: str,
        overlap_ms: int = limits.SECRET_OVERLAP_MS_DEFAULT,
        idempotency_key: str | None = None,
    ) -> Source:
        """Give the source another secret, or its first one; those before count for ``overlap_ms`` more.

        Raises NotFound, InvalidInput, IdempotencyConflict, and Conflict if the secret is in use already.
        """
        request = ("source secret", source_id, secret, overlap_ms)

        async def decide() -> Source:
            made = await self._repeats.find(environment, idempotency_key, request)
            if made is not None:
                return await self._made_before(made.ref)
            source = self.get(environment, source_id)
            check_new_secret(secret, preset_of(source))
            remember = self._repeats.remember(environment, idempotency_key, request, source.key, None)
            changed = self._with_secret(source, secret, overlap_ms)
            version = await self._facet.put_source(changed, seen=source.revision, remember=remember)
            return self._changed(changed, version)

        lock = self._locks.of(parse_id(SOURCE, source_id))
        async with self._repeats.lock(environment, idempotency_key), lock:
            return await decided(self._catalogue, decide)

    async def agree(self, source: Source, secret: str) -> None:
        """Take over a secret that the sender itself brought along, in a handshake that its preset allowed.

        Raises StoreUnavailable; nothing may be acknowledged then.
        """

        async def decide() -> None:
            now = self._catalogue.source(source.key) or source
            if secret in now.secrets_at(self._clock.now_ms()):
                return
            changed = self._with_secret(now, secret, limits.SECRET_OVERLAP_MS_DEFAULT)
            self._changed(changed, await self._facet.put_source(changed, seen=now.revision))

        async with self._locks.of(source.key):
            await decided(self._catalogue, decide)

    # -- inside -------------------------------------------------------------------------------

    def _with_secret(self, source: Source, secret: str, overlap_ms: int) -> Source:
        now = self._clock.now_ms()
        secrets = rotated(source.secrets, Secret(secret, now), now=now, overlap_ms=overlap_ms)
        return msgspec.structs.replace(source, secrets=secrets, updated_at=now)

    async def _put(self, source: Source, **fields: object) -> Source:
        """The source with these fields, written if anything about it is new."""
        changed = msgspec.structs.replace(source, **fields)
        if changed == source:
            return source
        changed = msgspec.structs.replace(changed, updated_at=self._clock.now_ms())
        return self._changed(changed, await self._facet.put_source(changed, seen=source.revision))

    def _changed(self, source: Source, version: int) -> Source:
        source = self._catalogue.apply_source(source, version)
        self._inbox.source_changed(source)
        return source

    async def _made_before(self, key: int) -> Source:
        source = self._catalogue.source(key)
        if source is None:  # another node made it a moment ago
            await self._catalogue.refresh()
            source = self._catalogue.source(key)
        if source is None or source.state is SourceState.DELETED:
            raise gone("a source")
        return source


def source_of(catalogue: Catalogue, environment: Environment, source_id: str) -> Source:
    """The source with this id, also if it is deleted. Raises NotFound, also for one of another environment."""
    key = parse_id(SOURCE, source_id)
    source = None if key is None else catalogue.source(key)
    if source is None or source.environment is not environment:
        raise _unknown()
    return source


def _unknown() -> NotFound:
    return NotFound("There is no source with this id.")
