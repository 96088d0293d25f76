"""One request: shape, sign, send, decide. What comes out are settlements to be made durable."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Final

import msgspec

from posthouse import __version__
from posthouse.core.batch import concerns_content, halves, not_taken
from posthouse.core.delivery import State
from posthouse.core.envelope import body as envelope_body
from posthouse.core.errors import InvalidInput
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.limits import (
    BATCH_OUT_BYTES_MAX,
    KIB,
    RESPONSE_KEPT_BYTES_MAX,
    RESPONSE_KEPT_IN_BATCH_BYTES_MAX,
    RESPONSE_READ_BYTES_MAX,
)
from posthouse.core.model import Attempt, Endpoint, Event, Lane
from posthouse.core.ports import Clock, Entropy
from posthouse.core.retry import NOT_TAKEN, RetrySchedule, decide
from posthouse.core.signature import Signer
from posthouse.engine.shapes import Shape, Verdict
from posthouse.engine.windows import Desk
from posthouse.expressions.errors import ExpressionError
from posthouse.formats.form import Made
from posthouse.store.protocol import Settlement, Work
from posthouse.telemetry import Metrics
from posthouse.transport.protocol import Exchange, Failure, Request, Transport

USER_AGENT: Final = f"Posthouse/{__version__}"

_SHAPING_SECONDS: Final = 0.005  # then others get their turn on the loop
_KIB_READ: Final = RESPONSE_READ_BYTES_MAX // KIB
_UNREADABLE: Final = f"The answer may name events that failed, but is not valid JSON, or longer than {_KIB_READ} KiB."
_NOT_TAKEN: Final = "The endpoint did not take this event of the batch"
_NONE: Final[Mapping[str, str]] = {}  # of the events of a batch


class Unusable(Exception):
    """What is stored of the endpoint cannot be used: nothing was sent, and nothing can be. Its text says why."""


class Unmet(Exception):
    """The endpoint is to answer a handshake first: nothing was sent."""


class Outcome(msgspec.Struct, frozen=True, gc=False):
    """What came of one request, or of none."""

    settlements: list[Settlement]
    exchange: Exchange | None  #: as the endpoint's rules see it; None: nothing was sent
    disable: bool  #: the endpoint does not want to be called any more (410)
    #: To be sent at once, each as a request of its own, in this order; these have no settlement yet.
    again: list[list[Work]]


class _Common(msgspec.Struct, frozen=True, gc=False):
    """What the settlements of one request share."""

    schedule: RetrySchedule
    epoch: int
    probe: bool
    started_at: int
    ended_at: int
    exchange: Exchange
    headers: str  #: of the answer, one a line
    body: bytes  #: of the answer, as much as is kept with each attempt


class _Sifted(msgspec.Struct):
    """What one request holds of several deliveries, and what becomes of the others."""

    items: list[tuple[Event, bytes]] = []  #: with the data to send
    sent: list[Work] = []  #: of these events
    settlements: list[Settlement] = []  #: of those for which nothing is sent
    again: list[list[Work]] = []  #: there is no room for these


class Sender:
    """Makes attempts. Holds no state of its own; shapes and signers are kept on the desks."""

    def __init__(
        self, transport: Transport, clock: Clock, entropy: Entropy, metrics: Metrics, *, reach: Reach = pass_by
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._metrics = metrics
        self._reach = reach

    def attempt(
        self, desk: Desk, works: Sequence[Work], epoch: int, *, probe: bool = False
    ) -> Coroutine[None, None, Outcome]:
        """Send ``works`` once, in one request: a single one, unless the endpoint takes batches.

        A probe that fails spends no attempt of a delivery that is not due yet. What a batch is refused for may
        concern one of its events only, and so may a fault of the program: such a batch comes back in two parts.

        Raises :class:`Unusable` or :class:`Unmet`; whatever else it raises is a fault of the program while it delivered
        one event.
        """
        return (self._attempt if len(works) == 1 else self._attempt_several)(desk, works, epoch, probe)

    async def _attempt_several(self, desk: Desk, works: Sequence[Work], epoch: int, probe: bool) -> Outcome:  # noqa: FBT001
        if not (desk.shape or self._shape(desk)).is_batched:  # It took batches when these were chosen.
            return Outcome([], None, disable=False, again=[[work] for work in works])
        try:
            return await self._attempt(desk, works, epoch, probe)
        except (Unmet, Unusable):
            raise
        except Exception:  # noqa: BLE001 - raised again for the event that it concerns, once that is alone
            return Outcome([], None, disable=False, again=halves(works))

    async def _attempt(self, desk: Desk, works: Sequence[Work], epoch: int, probe: bool) -> Outcome:  # noqa: FBT001
        started_at = self._clock.now_ms()
        shape = desk.shape or self._shape(desk)
        signer = self._signer(desk, started_at)
        endpoint = desk.endpoint
        own = desk.headers
        settlements: list[Settlement] = []
        again: list[list[Work]] = []
        if shape.is_plain:
            (work,) = works
            body = envelope_body(work.event)
            made = Made(signer.headers(work.event.id, started_at // 1_000, body), body)
        else:
            sifted = await self._sift(shape, works, epoch)
            settlements, again, works = sifted.settlements, sifted.again, sifted.sent
            if not works:
                return Outcome(settlements, None, disable=False, again=again)
            made = shape.request(
                sifted.items, signer=signer, secrets=lambda: valid_secrets(endpoint, started_at), now=started_at
            )
        self._reach(Failpoint.SEND_SIGNED)
        kept = RESPONSE_READ_BYTES_MAX if shape.is_batched else RESPONSE_KEPT_BYTES_MAX
        exchange = await self._transport.send(_request(endpoint, own, made, kept))
        self._reach(Failpoint.SEND_ANSWERED)
        self._metrics.attempt_total_ms.observe(exchange.timings.total_us / 1000)
        if shape.judges:
            exchange = shape.judge(exchange)
        named = _NONE
        if shape.is_batched:
            exchange, named = _read(exchange)
            if len(works) > 1 and _may_concern_one(exchange):
                return Outcome(settlements, exchange, disable=False, again=[*halves(works), *again])
        common = _Common(
            desk.schedule,
            epoch,
            probe,
            started_at,
            self._clock.now_ms(),
            exchange,
            "\n".join(f"{name}: {value}" for name, value in exchange.headers),
            exchange.body[: RESPONSE_KEPT_BYTES_MAX if len(works) == 1 else RESPONSE_KEPT_IN_BATCH_BYTES_MAX],
        )
        disable = False
        for work in works:
            settlement, gone = self._settle(common, work, named.get(work.event.id))
            settlements.append(settlement)
            disable |= gone
        return Outcome(settlements, exchange, disable, again)

    async def call(
        self, desk: Desk, make: Callable[[Sequence[str], int], Made], *, judged: bool
    ) -> tuple[Made, Exchange]:
        """Send what ``make`` writes with the secrets that are valid now; it is of no delivery.

        ``judged``: the endpoint's own statuses decide what is a good answer. Raises :class:`Unusable` or, if it is
        judged, :class:`Unmet`.
        """
        now = self._clock.now_ms()
        self._signer(desk, now)  # finds secrets that cannot be used
        shape = (desk.shape or self._shape(desk)) if judged else None
        made = make(valid_secrets(desk.endpoint, now), now)
        exchange = await self._transport.send(_request(desk.endpoint, desk.headers, made, RESPONSE_KEPT_BYTES_MAX))
        return made, exchange if shape is None else shape.judge(exchange)

    async def _sift(self, shape: Shape, works: Sequence[Work], epoch: int) -> _Sifted:
        """What one request holds of ``works``, each with its data; what a rule withholds needs none."""
        sifted = _Sifted()
        room = BATCH_OUT_BYTES_MAX
        turn_at = self._clock.monotonic()
        for position, work in enumerate(works):
            data = shape.data(work.event)
            if isinstance(data, Verdict):
                sifted.settlements.append(self._withheld(work, data, epoch))
            else:
                room -= len(data)
                if room < 0 and sifted.sent:
                    sifted.again.append(list(works[position:]))
                    break
                sifted.items.append((work.event, data))
                sifted.sent.append(work)
            if self._clock.monotonic() - turn_at > _SHAPING_SECONDS:
                await asyncio.sleep(0)
                turn_at = self._clock.monotonic()
        return sifted

    def _withheld(self, work: Work, verdict: Verdict, epoch: int) -> Settlement:
        return Settlement(
            obligation=work.obligation,
            epoch=epoch,
            attempt=None,
            state=verdict.state,
            settled_at=self._clock.now_ms(),
            reason=verdict.reason,
        )

    def _settle(self, common: _Common, work: Work, said: str | None) -> tuple[Settlement, bool]:
        """The settlement of one delivery, and whether the endpoint is gone (410).

        ``said``: what the answer to its batch says about its failure; None: nothing, and then it shares the batch's.
        """
        obligation = work.obligation
        exchange = common.exchange
        failure = exchange.failure if said is None else NOT_TAKEN
        decision = decide(
            common.schedule,
            attempts=obligation.attempts,
            opened_at=obligation.opened_at,
            now=common.ended_at,
            failure=failure,
            status=exchange.status,
            retry_after=exchange.retry_after,
            jitter=self._entropy.random(),
        )
        if obligation.last_number == 0:
            waited = common.started_at - work.event.accepted_at
            self._metrics.accept_to_first_attempt_ms.observe(max(0, waited))
        self._metrics.attempts[failure or "success"] += 1
        unspent = common.probe and failure is not None and obligation.due_at > common.started_at
        state = State.RETRYING if unspent else decision.state
        settlement = Settlement(
            obligation=obligation,
            epoch=common.epoch,
            attempt=_attempt(obligation.last_number + 1, common, failure, said),
            state=state,
            settled_at=common.ended_at,
            due_at=obligation.due_at if unspent else decision.due_at if state is State.RETRYING else 0,
            lane=obligation.lane if unspent else Lane.RETRY,
            reason=None if unspent else decision.reason,
            spent=not unspent,
        )
        return settlement, decision.disable

    @staticmethod
    def _shape(desk: Desk) -> Shape:
        """The shape of what the endpoint gets; made anew with each change of it, so this asks at no other time."""
        if desk.is_unmet:
            raise Unmet
        try:
            desk.shape = shape = Shape(desk.endpoint.rules)
        except (InvalidInput, ExpressionError) as error:
            raise Unusable(str(error)) from error
        return shape

    @staticmethod
    def _signer(desk: Desk, now: int) -> Signer:
        """The signer of the secrets that are valid now; made anew when one of them expired."""
        signer = desk.signer
        if signer is None or (desk.signer_until is not None and now >= desk.signer_until):
            try:
                signer = desk.signer = Signer(valid_secrets(desk.endpoint, now))
            except InvalidInput as error:
                raise Unusable(error.message) from error
            ends = [s.expires_at for s in desk.endpoint.secrets if s.expires_at is not None and s.expires_at > now]
            desk.signer_until = min(ends, default=None)
        return signer


def _request(endpoint: Endpoint, own: Mapping[str, str], made: Made, kept: int) -> Request:
    """A request to the endpoint, with the headers that it sets itself."""
    headers = {"Content-Type": "application/json", "User-Agent": USER_AGENT, **own, **made.headers}
    return Request(endpoint.url, headers, made.body, endpoint.connect_timeout_ms, endpoint.timeout_ms, kept)


def valid_secrets(endpoint: Endpoint, now: int) -> list[str]:
    """The secrets to sign with at ``now``, the current one first."""
    valid = [secret for secret in endpoint.secrets if secret.is_valid(now)]
    return [secret.value for secret in sorted(valid, key=lambda secret: -secret.created_at)]


def _read(exchange: Exchange) -> tuple[Exchange, Mapping[str, str]]:
    """A good answer to a batch, and the events that it names as failed; a failed exchange if that cannot be read."""
    if exchange.failure is not None:
        return exchange, _NONE
    named = not_taken(exchange.body)
    if named is None:
        return msgspec.structs.replace(exchange, failure=Failure.PROTOCOL, error=_UNREADABLE), _NONE
    return exchange, named


def _may_concern_one(exchange: Exchange) -> bool:
    """Whether a batch was refused for something that one of its events may have and another one not."""
    return exchange.failure is Failure.STATUS and exchange.status is not None and concerns_content(exchange.status)


def _attempt(number: int, common: _Common, failure: str | None, said: str | None) -> Attempt:
    exchange = common.exchange
    timings = exchange.timings
    error = exchange.error if said is None else f"{_NOT_TAKEN}: {said}" if said else f"{_NOT_TAKEN}."
    return Attempt(
        number=number,
        started_at=common.started_at,
        outcome=failure or "success",
        status=exchange.status,
        error=error,
        peer=exchange.peer,
        dns_us=timings.dns_us,
        connect_us=timings.connect_us,
        tls_us=timings.tls_us,
        first_byte_us=timings.first_byte_us,
        total_us=timings.total_us,
        reused=exchange.reused,
        response_headers=common.headers,
        response_body=common.body,
    )
