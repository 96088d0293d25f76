"""One attempt: sign, send, decide. What comes out is a settlement to be made durable."""

from typing import Final

from posthouse import __version__
from posthouse.core.delivery import State
from posthouse.core.envelope import body as envelope_body
from posthouse.core.errors import InvalidInput
from posthouse.core.failpoints import Failpoint, Reach, pass_by
from posthouse.core.model import Attempt, Endpoint, Lane
from posthouse.core.ports import Clock, Entropy
from posthouse.core.retry import decide
from posthouse.core.signature import Signer
from posthouse.engine.windows import Desk
from posthouse.store.protocol import Settlement, Work
from posthouse.telemetry import Metrics
from posthouse.transport.protocol import Exchange, Request, Transport

USER_AGENT: Final = f"Posthouse/{__version__}"


class Unusable(Exception):
    """What is stored of the endpoint cannot be used: nothing was sent, and nothing can be. Its text says why."""


class Sender:
    """Makes attempts. Holds no state of its own; signers are kept on the desks."""

    def __init__(
        self, transport: Transport, clock: Clock, entropy: Entropy, metrics: Metrics, *, reach: Reach = pass_by
    ) -> None:
        self._transport = transport
        self._clock = clock
        self._entropy = entropy
        self._metrics = metrics
        self._reach = reach

    async def attempt(self, desk: Desk, work: Work, epoch: int) -> tuple[Settlement, Exchange, bool]:
        """Send ``work`` once. Returns its settlement, the exchange, and whether the endpoint is gone (410).

        Raises :class:`Unusable`; whatever else it raises is a fault of the program.
        """
        obligation = work.obligation
        event = work.event
        started_at = self._clock.now_ms()
        if obligation.last_number == 0:
            self._metrics.accept_to_first_attempt_ms.observe(max(0, started_at - event.accepted_at))
        body = envelope_body(event)
        headers = {
            "Content-Type": "application/json",
            "User-Agent": USER_AGENT,
            **desk.headers,
            **self._signer(desk, started_at).headers(event.id, started_at // 1000, body),
        }
        endpoint = desk.endpoint
        self._reach(Failpoint.SEND_SIGNED)
        exchange = await self._transport.send(
            Request(endpoint.url, headers, body, endpoint.connect_timeout_ms, endpoint.timeout_ms)
        )
        self._reach(Failpoint.SEND_ANSWERED)
        now = self._clock.now_ms()
        decision = decide(
            desk.schedule,
            attempts=obligation.attempts,
            opened_at=obligation.opened_at,
            now=now,
            failure=exchange.failure,
            status=exchange.status,
            retry_after=exchange.retry_after,
            jitter=self._entropy.random(),
        )
        self._metrics.attempts[exchange.failure or "success"] += 1
        self._metrics.attempt_total_ms.observe(exchange.timings.total_us / 1000)
        settlement = Settlement(
            obligation=obligation,
            epoch=epoch,
            attempt=_attempt(obligation.last_number + 1, started_at, exchange),
            state=decision.state,
            settled_at=now,
            due_at=decision.due_at if decision.state is State.RETRYING else 0,
            lane=Lane.RETRY,
            reason=decision.reason,
        )
        return settlement, exchange, decision.disable

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


def valid_secrets(endpoint: Endpoint, now: int) -> list[str]:
    """The secrets to sign with at ``now``, the current one first."""
    valid = [secret for secret in endpoint.secrets if secret.is_valid(now)]
    return [secret.value for secret in sorted(valid, key=lambda secret: -secret.created_at)]


def _attempt(number: int, started_at: int, exchange: Exchange) -> Attempt:
    timings = exchange.timings
    return Attempt(
        number=number,
        started_at=started_at,
        outcome=exchange.failure or "success",
        status=exchange.status,
        error=exchange.error,
        peer=exchange.peer,
        dns_us=timings.dns_us,
        connect_us=timings.connect_us,
        tls_us=timings.tls_us,
        first_byte_us=timings.first_byte_us,
        total_us=timings.total_us,
        reused=exchange.reused,
        response_headers="\n".join(f"{name}: {value}" for name, value in exchange.headers),
        response_body=exchange.body,
    )
