"""Endpoints: created, changed, paused, resumed, tested, deleted; their secrets rotated."""

from collections.abc import Callable, Collection, Sequence
from functools import partial
from typing import Final

import msgspec

from posthouse.core import limits
from posthouse.core.errors import Conflict, IdempotencyConflict, InvalidInput, NotFound, StoreUnavailable
from posthouse.core.ids import ENDPOINT, EVENT, make_id, parse_id
from posthouse.core.model import SLOTS, Endpoint, EndpointState, Environment, Event, Lane, Secret, slot_of
from posthouse.core.ports import Clock, Entropy
from posthouse.core.signature import generate_secret, validate_secret
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deciding import decided
from posthouse.gateway.endpoint_input import (
    REASON_PAUSED,
    EndpointChange,
    EndpointSpec,
    changed_endpoint,
    check_change,
    check_spec,
)
from posthouse.gateway.hints import Condition, Hints
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.reordering import held_for_reordering, is_reordering, released, reorder
from posthouse.gateway.repeats import KeyedLocks, Made, Repeats, gone, secret_digest
from posthouse.gateway.rotation import rotated
from posthouse.gateway.rules_input import canonical_rules, check_sources
from posthouse.gateway.target_check import TargetCheck
from posthouse.gateway.tenants import Tenants
from posthouse.store.protocol import (
    Accepted,
    AcceptRequest,
    IdentityReused,
    NewEvent,
    Remembered,
    StaleCatalogue,
    Store,
)
from posthouse.telemetry import Log, log

SECRET_BYTES: Final = 32
DISCARD_CHUNK: Final = 1_000
TEST_EVENT_TYPE: Final = "posthouse.test"
REASON_DELETED: Final = "endpoint_deleted"
REASON_GONE: Final = "gone"  #: the endpoint answered 410
REASON_FAILING: Final = "failing"  #: it did not answer well for as many days as its rule allows
REASON_INVALID: Final = "invalid_configuration"  #: what is stored of it cannot be used
_REROUTES_MAX: Final = 16
_LANES: Final = tuple(lane for lane in Lane if lane is not Lane.PARKED)  #: from which anything is sent
_encode: Final = msgspec.json.Encoder().encode


class Issued(msgspec.Struct, frozen=True):
    """An endpoint with the secret that was just made for it."""

    endpoint: Endpoint
    secret: str | None  #: None only for a repeat of a request whose secret is no longer valid


class Endpoints:
    """Everything that people do with endpoints. One writer at a time per endpoint."""

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        hints: Hints,
        tenants: Tenants,
        target_check: TargetCheck,
        *,
        intake: IntakeBatcher,
        clock: Clock,
        entropy: Entropy,
        new_key: Callable[[], int],
        locks: KeyedLocks,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._intake = intake
        self._hints = hints
        self._tenants = tenants
        self._target_check = target_check
        self._clock = clock
        self._entropy = entropy
        self._new_key = new_key
        self._repeats = Repeats(store.catalogue)
        self._locks = locks

    # -- reading ------------------------------------------------------------------------------

    def get(self, environment: Environment, endpoint_id: str) -> Endpoint:
        """The endpoint with this id. Raises NotFound, also for one of another environment."""
        key = parse_id(ENDPOINT, endpoint_id)
        endpoint = None if key is None else self._catalogue.endpoint(key)
        if endpoint is None or endpoint.environment is not environment:
            raise _unknown()
        return endpoint

    def page(
        self, environment: Environment, *, tenant: str | None, after: int | None, limit: int
    ) -> Sequence[Endpoint]:
        """Up to ``limit`` endpoints, oldest first, from the one behind the key ``after`` on."""
        found = self._catalogue.endpoints(environment, tenant)
        return [endpoint for endpoint in found if after is None or endpoint.key > after][:limit]

    def condition(self, endpoint: Endpoint) -> Condition:
        """How this endpoint takes what is sent to it."""
        return self._hints.condition(endpoint.key)

    # -- writing ------------------------------------------------------------------------------

    async def create(
        self, environment: Environment, spec: EndpointSpec, *, idempotency_key: str | None = None
    ) -> Issued:
        """A new endpoint. Every event that is published after this returned is owed to it if it subscribed.

        Raises InvalidInput, BlockedAddress, IdempotencyConflict, or Conflict for one endpoint too many; then
        nothing was stored.
        """
        check_spec(spec)
        request = ("endpoint", spec)
        async with self._repeats.lock(environment, idempotency_key):
            made = await self._repeats.find(environment, idempotency_key, request)
            if made is not None:
                return await self._made_before(made)
            if self._catalogue.endpoint_count(environment, spec.tenant) >= limits.ENDPOINTS_PER_TENANT_MAX:
                message = f"A tenant has at most {limits.ENDPOINTS_PER_TENANT_MAX} endpoints."
                raise Conflict(message, hint="Delete endpoints that are not used, or use another tenant.")
            check_sources(self._catalogue, environment, spec.tenant, spec.sources)
            await self._target_check.check(spec.url)
            await self._tenants.ensure(environment, spec.tenant)
            now = self._clock.now_ms()
            secret = spec.secret or generate_secret(self._entropy.token(SECRET_BYTES))
            endpoint = Endpoint(
                key=self._new_key(),
                environment=environment,
                tenant=spec.tenant,
                url=spec.url,
                events=spec.events,
                state=EndpointState.ACTIVE if spec.active else EndpointState.PAUSED,
                state_reason=None if spec.active else REASON_PAUSED,
                description=spec.description,
                headers=spec.headers,
                secrets=(Secret(secret, now),),
                retry=spec.retry,
                connect_timeout_ms=min(spec.connect_timeout_ms, spec.timeout_ms),
                timeout_ms=spec.timeout_ms,
                created_at=now,
                updated_at=now,
                rules=canonical_rules(spec),
            )
            remember = self._repeats.remember(environment, idempotency_key, request, endpoint.key, secret)
            return Issued(await self._put(endpoint, remember=remember), secret)

    async def update(self, environment: Environment, endpoint_id: str, change: EndpointChange) -> Endpoint:
        """Change the fields that are set. Raises NotFound, InvalidInput or BlockedAddress.

        With another order it returns when all that is owed is in line with it; until then nothing is sent.
        """
        async with self._locks.of(parse_id(ENDPOINT, endpoint_id)):
            return await decided(self._catalogue, lambda: self._update(environment, endpoint_id, change))

    async def _update(self, environment: Environment, endpoint_id: str, change: EndpointChange) -> Endpoint:
        before = self.get(environment, endpoint_id)
        check_change(
            change,
            connect_timeout_ms=before.connect_timeout_ms,
            timeout_ms=before.timeout_ms,
            rules=before.rules,
            retry=before.retry,
        )
        if not isinstance(change.sources, msgspec.UnsetType):
            check_sources(self._catalogue, environment, before.tenant, change.sources)
        if not isinstance(change.url, msgspec.UnsetType):
            await self._target_check.check(change.url)
        if is_reordering(before):
            await reorder(self._store.work, before, self._clock)
        endpoint = msgspec.structs.replace(changed_endpoint(released(before), change), updated_at=self._clock.now_ms())
        if endpoint.rules.order is not before.rules.order:
            held = held_for_reordering(endpoint)
            held = await self._put(held)
            await reorder(self._store.work, held, self._clock)
            endpoint = await self._put_state(held, endpoint.state, endpoint.state_reason)
        else:
            endpoint = await self._put(endpoint)
        self._resume_work(endpoint)
        return endpoint

    async def pause(self, environment: Environment, endpoint_id: str) -> Endpoint:
        """Hold deliveries back; what is owed is kept. Idempotent."""
        return await self._set_state(environment, endpoint_id, EndpointState.PAUSED, REASON_PAUSED)

    async def resume(self, environment: Environment, endpoint_id: str) -> Endpoint:
        """Attempt deliveries again, whatever held them back. Idempotent."""
        return await self._set_state(environment, endpoint_id, EndpointState.ACTIVE, None)

    async def disable(self, key: int, reason: str) -> None:
        """Hold deliveries back because a rule says so. Does nothing unless the endpoint is active."""

        async def decide() -> None:
            endpoint = self._catalogue.endpoint(key)
            if endpoint is not None and endpoint.state is EndpointState.ACTIVE:
                await self._put_state(endpoint, EndpointState.DISABLED, reason)
                log(Log.ENDPOINT_DISABLED, endpoint=make_id(ENDPOINT, key), reason=reason)

        async with self._locks.of(key):
            await decided(self._catalogue, decide)

    async def delete(self, environment: Environment, endpoint_id: str) -> int:
        """Take the endpoint out and discard what it is still owed; how many deliveries that were.

        Idempotent: a repeat goes on where an interrupted one stopped. Raises NotFound.
        """
        key = parse_id(ENDPOINT, endpoint_id)
        if key is None:
            raise _unknown()

        async def decide() -> None:
            endpoint = await self._store.catalogue.endpoint(key)
            if endpoint is None or endpoint.environment is not environment:
                raise _unknown()
            if endpoint.state is not EndpointState.DELETED:
                await self._put_state(endpoint, EndpointState.DELETED, None)

        async with self._locks.of(key):
            await decided(self._catalogue, decide)
        return await self._discard_open(key)

    async def finish_deletions(self, slots: Collection[int] = range(SLOTS)) -> int:
        """Discard what is still open for deleted endpoints in ``slots``, after a node ended. How many that were."""
        discarded, after = 0, None
        while page := await self._store.work.survey(slots, after=after, limit=500):
            after = page[-1].endpoint_key
            for key in {each.endpoint_key for each in page if self._catalogue.endpoint(each.endpoint_key) is None}:
                endpoint = await self._store.catalogue.endpoint(key)
                if endpoint is not None and endpoint.state is EndpointState.DELETED:
                    discarded += await self._discard_open(key)
        return discarded

    async def finish_reorders(self, slots: Collection[int] = range(SLOTS)) -> int:
        """Bring in line what an interrupted change of an order left in ``slots``. Of how many endpoints."""
        finished = 0
        for key in sorted(e.key for e in self._catalogue.every_endpoint() if is_reordering(e)):
            if slot_of(key) in slots:
                async with self._locks.of(key):
                    finished += await decided(self._catalogue, partial(self._finish_reorder, key))
        return finished

    async def _finish_reorder(self, key: int) -> bool:
        endpoint = self._catalogue.endpoint(key)
        if endpoint is None or not is_reordering(endpoint):
            return False
        await reorder(self._store.work, endpoint, self._clock)
        before = released(endpoint)
        self._resume_work(await self._put_state(endpoint, before.state, before.state_reason))
        return True

    async def rotate_secret(
        self,
        environment: Environment,
        endpoint_id: str,
        *,
        secret: str | None = None,
        overlap_ms: int = limits.SECRET_OVERLAP_MS_DEFAULT,
        idempotency_key: str | None = None,
    ) -> Issued:
        """A new current secret; the ones before it stay valid for ``overlap_ms`` at most.

        Raises NotFound, InvalidInput, IdempotencyConflict.
        """
        if secret is not None:
            validate_secret(secret)
        if not 0 <= overlap_ms <= limits.SECRET_OVERLAP_MS_MAX:
            message = f"It is 0 to {limits.SECRET_OVERLAP_MS_MAX} milliseconds."
            raise InvalidInput.at("overlap_ms", "out_of_range", message, hint="Use a value in that range.")
        request = ("rotate", endpoint_id, secret, overlap_ms)

        async def decide() -> Issued:
            endpoint = self.get(environment, endpoint_id)
            made = await self._repeats.find(environment, idempotency_key, request)
            if made is not None:
                return await self._made_before(made)
            now = self._clock.now_ms()
            new = secret or generate_secret(self._entropy.token(SECRET_BYTES))
            secrets = rotated(endpoint.secrets, Secret(new, now), now=now, overlap_ms=overlap_ms)
            changed = msgspec.structs.replace(endpoint, secrets=secrets, updated_at=now)
            remember = self._repeats.remember(environment, idempotency_key, request, endpoint.key, new)
            return Issued(await self._put(changed, remember=remember), new)

        lock = self._locks.of(parse_id(ENDPOINT, endpoint_id))
        async with self._repeats.lock(environment, idempotency_key), lock:
            return await decided(self._catalogue, decide)

    async def send_test(
        self, environment: Environment, endpoint_id: str, *, idempotency_key: str | None = None
    ) -> tuple[Accepted, int]:
        """Publish an event of type ``posthouse.test`` that is owed to this endpoint only, whatever it subscribed to.

        Returns what was accepted and the endpoint's key. Raises NotFound, IdempotencyConflict, StoreUnavailable.
        """
        for _ in range(_REROUTES_MAX):
            endpoint = self.get(environment, endpoint_id)
            event = self._test_event(endpoint)
            new = NewEvent(
                event,
                (endpoint.key,),
                Lane.LIVE,
                identities=() if idempotency_key is None else (("key", idempotency_key),),
                fingerprint=secret_digest(f"{TEST_EVENT_TYPE} {endpoint_id}"),
            )
            result = await self._intake.submit(AcceptRequest((new,), self._catalogue.version))
            if isinstance(result, IdentityReused):
                raise IdempotencyConflict
            if isinstance(result, tuple):
                return result[0], endpoint.key
            assert isinstance(result, StaleCatalogue), "it keeps no order, so nothing overtakes it"
            await self._catalogue.refresh()
        raise StoreUnavailable("The endpoints keep changing faster than a test can be sent.")

    # -- inside -------------------------------------------------------------------------------

    async def _set_state(
        self, environment: Environment, endpoint_id: str, state: EndpointState, reason: str | None
    ) -> Endpoint:

        async def decide() -> Endpoint:
            endpoint = self.get(environment, endpoint_id)
            if is_reordering(endpoint):
                await reorder(self._store.work, endpoint, self._clock)
                endpoint = await self._put_state(endpoint, state, reason)
            elif endpoint.state is not state:
                endpoint = await self._put_state(endpoint, state, reason)
            self._resume_work(endpoint)
            return endpoint

        async with self._locks.of(parse_id(ENDPOINT, endpoint_id)):
            return await decided(self._catalogue, decide)

    async def _put(self, endpoint: Endpoint, *, remember: Remembered | None = None) -> Endpoint:
        """Write an endpoint over the revision that it was made from. Raises Outdated."""
        facet = self._store.catalogue
        return self._changed(endpoint, await facet.put_endpoint(endpoint, seen=endpoint.revision, remember=remember))

    async def _put_state(self, endpoint: Endpoint, state: EndpointState, reason: str | None) -> Endpoint:
        now = self._clock.now_ms()
        key, seen = endpoint.key, endpoint.revision
        version = await self._store.catalogue.set_endpoint_state(key, state, seen=seen, reason=reason, now=now)
        changed = msgspec.structs.replace(endpoint, state=state, state_reason=reason, updated_at=now)
        return self._changed(changed, version)

    def _changed(self, endpoint: Endpoint, version: int) -> Endpoint:
        endpoint = self._catalogue.apply_endpoint(endpoint, version)
        self._hints.endpoint_changed(endpoint)
        return endpoint

    def _resume_work(self, endpoint: Endpoint) -> None:
        if endpoint.state is EndpointState.ACTIVE:
            for lane in _LANES:
                self._hints.due(endpoint.key, lane)

    async def _discard_open(self, key: int) -> int:
        """Discard chunk by chunk, so that other writes get their turn in between."""
        total = 0
        while True:
            discarded = await self._store.work.discard_endpoint(
                key, reason=REASON_DELETED, now=self._clock.now_ms(), limit=DISCARD_CHUNK
            )
            total += discarded
            if not discarded:
                return total

    async def _made_before(self, made: Made) -> Issued:
        endpoint = await self._store.catalogue.endpoint(made.ref)
        if endpoint is None or endpoint.state is EndpointState.DELETED:
            raise gone("an endpoint")
        now = self._clock.now_ms()
        for secret in endpoint.secrets:
            if secret_digest(secret.value) == made.secret_digest and secret.is_valid(now):
                return Issued(endpoint, secret.value)
        return Issued(endpoint, None)

    def _test_event(self, endpoint: Endpoint) -> Event:
        key = self._new_key()
        data = {"endpoint": make_id(ENDPOINT, endpoint.key), "message": "This is a test event. It needs no action."}
        return Event(
            key=key,
            id=make_id(EVENT, key),
            environment=endpoint.environment,
            tenant=endpoint.tenant,
            type=TEST_EVENT_TYPE,
            accepted_at=self._clock.now_ms(),
            data=_encode(data),
        )


def _unknown() -> NotFound:
    return NotFound("There is no endpoint with this id.")
