"""Receiving: a request is judged by what is at hand, made durable, and only then answered.

Nothing is fetched, looked up or handed on before the answer, and no event is read out of the body.
"""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Final

import msgspec

from posthouse.core.errors import (
    Overloaded,
    PosthouseError,
    ShuttingDown,
    SignatureInvalid,
    SourcePaused,
    StoreUnavailable,
)
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.inbound import (
    WHOLE,
    InboundRequest,
    Objection,
    Source,
    SourceState,
    Verdict,
    WhilePaused,
)
from posthouse.core.limits import INBOX_WAITING_MAX
from posthouse.gateway.hints import InboxHints
from posthouse.gateway.presets import preset_of
from posthouse.gateway.refused import RefusedRoom
from posthouse.providers.preset import Handshake, Preset, Reply, Scheme
from posthouse.providers.received import Received
from posthouse.store.protocol import Arrival, InboundFacet, InboxItem
from posthouse.telemetry import Log, Metrics, log

_NEVER: Final = 1 << 62

#: Makes the secret that a sender brought along one of its source's. Raises StoreUnavailable.
Agree = Callable[[Source, str], Awaitable[None]]


class _Desk:
    """A source, ready for its requests."""

    __slots__ = ("_secrets", "_until", "accepted", "preset", "refused", "source")

    def __init__(self, source: Source) -> None:
        self.source = source
        self.preset = preset_of(source)
        answers = self.preset.answers
        self.accepted = Reply(answers.accepted, body=answers.body)
        self.refused = Reply(answers.bad_signature)
        self._secrets: tuple[str, ...] = ()
        self._until = 0

    def secrets(self, now: int) -> tuple[str, ...]:
        """Those that count now."""
        if now >= self._until:
            self._secrets = self.source.secrets_at(now)
            ends = [s.expires_at for s in self.source.secrets if s.expires_at is not None and s.expires_at > now]
            self._until = min(ends, default=_NEVER)
        return self._secrets


#: Called once a request is durable, or with why it is not known to be.
Done = Callable[[PosthouseError | None], None]


class Admission(msgspec.Struct, frozen=True, gc=False):
    """How a request is answered, and what must be durable before that."""

    reply: Reply
    arrival: Arrival | None = None  #: to be kept
    secret: str | None = None  #: to be agreed on


class _Kept(msgspec.Struct, frozen=True, gc=False):
    """A request on its way to the store, and who waits for it."""

    arrival: Arrival
    done: Done


class Judgement(msgspec.Struct, frozen=True, gc=False):
    """What is known of a request's sender without asking anybody."""

    verdict: Verdict
    objection: Objection | None = None
    detail: str = ""


_GENUINE: Final = Judgement(Verdict.GENUINE)
_PENDING: Final = Judgement(Verdict.PENDING)
_UNPROVEN: Final = Judgement(Verdict.UNPROVEN)


class Receiver:
    """Takes requests for sources.

    Args:
        store: keeps them.
        room: what refused ones may take of it.
        hints: hears what became durable; the inbox.
        metrics: counts.
        new_key: makes identities.
        agree: keeps the secret of a handshake.
        reach: hears which boundary a request has come to.
    """

    def __init__(
        self,
        store: InboundFacet,
        room: RefusedRoom,
        hints: InboxHints,
        metrics: Metrics,
        *,
        new_key: Callable[[], int],
        agree: Agree,
        reach: Reach = pass_by,
    ) -> None:
        self._store = store
        self._room = room
        self._hints = hints
        self._metrics = metrics
        self._new_key = new_key
        self._agree = agree
        self._reach = reach
        self._loop = asyncio.get_running_loop()
        self._desks: dict[int, _Desk] = {}
        self._pending: list[_Kept] = []
        self._next_flush: asyncio.Handle | None = None
        self._flushes: set[asyncio.Task[None]] = set()
        self._closed = False
        self.waiting = 0  #: requests handed in whose commit is not known yet

    # -- one request ----------------------------------------------------------------------------

    def preset(self, source: Source) -> Preset:
        """The preset of a source, made once for each of its versions."""
        return self._desk(source).preset

    async def receive(self, source: Source, received: Received) -> Reply:
        """The answer to a request, which is durable by then.

        Raises like :meth:`admit` and :meth:`keep`.
        """
        return await self.finish(source, self.admit(source, received))

    async def finish(self, source: Source, admission: Admission) -> Reply:
        """The answer to a request that was admitted, once all is durable that must be. Raises like :meth:`keep`."""
        if admission.secret is not None:
            await self._agree(source, admission.secret)
        if admission.arrival is not None:
            future: asyncio.Future[None] = self._loop.create_future()
            self.keep(admission.arrival, partial(_resolve, future))
            await future
        return admission.reply

    def admit(self, source: Source, received: Received) -> Admission:
        """How a request will be answered. It decides by what is in memory, and writes nothing.

        Raises SourcePaused: nothing may be acknowledged, and the sender is to be told so in its own way.
        """
        desk = self._desk(source)
        preset = desk.preset
        if source.state is SourceState.PAUSED and source.rules.while_paused is WhilePaused.REFUSE:
            raise SourcePaused
        secrets = desk.secrets(received.at)
        if preset.handshake is not None:
            handshake = _greet(preset.handshake, received, secrets)
            if handshake is not None:
                self._metrics.handshakes += 1
                secret = None if handshake.secret in secrets else handshake.secret
                return Admission(handshake.reply, secret=secret)
        judgement = judge(preset.scheme, received, secrets)
        verdict, objection = judgement.verdict, judgement.objection
        self._metrics.requests_received[verdict._value_] += 1
        if objection is None:
            reply = desk.accepted
        else:
            reply = desk.refused
            if not self._room.take(source.key, len(received.body)):
                self._metrics.requests_turned_away["quarantine_full"] += 1
                return Admission(reply)
        request = InboundRequest(
            key=self._new_key(),
            source_key=source.key,
            received_at=received.at,
            method=received.method,
            url=received.url,
            head=received.head,
            body=received.body,
            verdict=verdict,
            status=reply.status,
        )
        return Admission(reply, Arrival(request, source.environment, source.tenant, objection, judgement.detail))

    def _desk(self, source: Source) -> _Desk:
        desk = self._desks.get(source.key)
        if desk is None or desk.source is not source:
            desk = self._desks[source.key] = _Desk(source)
        return desk

    # -- to the store -----------------------------------------------------------------------------

    def keep(self, arrival: Arrival, done: Done) -> None:
        """Make a request durable; ``done`` is called once that is known, never at once.

        Raises Overloaded or ShuttingDown; ``done`` gets a StoreUnavailable, whose outcome is unknown.
        """
        if self._closed:
            raise ShuttingDown
        if self.waiting >= INBOX_WAITING_MAX:
            raise Overloaded("Too many requests wait for their commit.", retry_after_s=1)
        self._pending.append(_Kept(arrival, done))
        self.waiting += 1
        if self._next_flush is None:
            self._next_flush = self._loop.call_soon(self._flush)

    def _flush(self) -> None:
        """Hand in what came in this turn of the loop."""
        batch, self._pending, self._next_flush = self._pending, [], None
        task = self._loop.create_task(self._take(batch))
        self._flushes.add(task)
        task.add_done_callback(self._flushed)

    def _flushed(self, task: "asyncio.Task[None]") -> None:
        self._flushes.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log(Log.LOOP_FAILED, exc_info=error, loop="receive")

    async def _take(self, batch: Sequence[_Kept]) -> None:
        self._reach(Failpoint.RECEIVE_HANDED_IN)
        try:
            await self._store.take([kept.arrival for kept in batch])
        except PosthouseError as error:
            _tell(batch, error)
            return
        except Exception as error:
            unknown = StoreUnavailable("The store failed in an unforeseen way.")
            unknown.__cause__ = error
            _tell(batch, unknown)
            raise
        finally:
            self.waiting -= len(batch)
        self._reach(Failpoint.RECEIVE_DURABLE)
        # The answers come first: they are owed from the commit on, whatever becomes of the hint.
        _tell(batch, None)
        self._reach(Failpoint.RECEIVE_ANSWERED)
        requests = [kept.arrival.request for kept in batch if kept.arrival.objection is None]
        self._hints.arrived([InboxItem(request, WHOLE, None, 0, request.received_at) for request in requests])

    async def close(self) -> None:
        """Take nothing more; return when all that was taken is answered."""
        self._closed = True
        if self._next_flush is not None:
            self._next_flush.cancel()
            self._flush()
        if self._flushes:
            await asyncio.wait(self._flushes)


def as_received(request: InboundRequest) -> Received:
    """A stored request as presets see it."""
    return Received(request.method, request.url, request.head, request.body, request.received_at)


def judge(scheme: Scheme, received: Received, secrets: Sequence[str]) -> Judgement:
    """Who sent a request, as far as its bytes and ``secrets`` say. Pure; fetches nothing."""
    if not scheme.has_secret:
        return _UNPROVEN
    try:
        if scheme.needs(received) is not None:
            return _PENDING
        if not secrets:
            detail = "The source has no secret to check the request with."
            return Judgement(Verdict.REFUSED, Objection.NO_SECRET, detail)
        scheme.verify(received, secrets, now_s=received.at // 1_000)
    except SignatureInvalid as error:
        return Judgement(Verdict.REFUSED, Objection.BAD_SIGNATURE, f"{error.message} ({error.reason})")
    return _GENUINE


def _greet(
    handshake: Callable[[Received, Sequence[str]], Handshake | None], received: Received, secrets: Sequence[str]
) -> Handshake | None:
    """The handshake that a request is, if it is one that its sender may ask for."""
    try:
        return handshake(received, secrets)
    except SignatureInvalid:
        return None  # it is judged like any other request, and refused


def _tell(batch: Sequence[_Kept], error: PosthouseError | None) -> None:
    """Call everybody who waits; a fault of one is no fault of the others."""
    for kept in batch:
        try:
            kept.done(error)
        except Exception as fault:  # noqa: BLE001 - what is durable stays so, whatever an answer meets
            log(Log.LOOP_FAILED, exc_info=fault, loop="receive")


def _resolve(future: "asyncio.Future[None]", error: PosthouseError | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(None)
    else:
        future.set_exception(error)
