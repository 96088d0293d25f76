"""One attempt: signed for now, with the secrets of now."""

from types import SimpleNamespace
from typing import Any

from posthouse.core.errors import SignatureInvalid
from posthouse.core.model import Endpoint, Environment, Event, Lane, Obligation, Secret
from posthouse.core.signature import NO_MATCH, generate_secret, verify
from posthouse.engine.sender import Sender
from posthouse.engine.windows import Desk
from posthouse.store.protocol import Work
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.scripted_transport import ScriptedTransport
from posthouse.transport.protocol import Request

HOUR_MS = 3_600_000
OLD, NEW = (generate_secret(bytes([n]) * 24) for n in (1, 2))


class Bench:
    """A sender, one endpoint, one delivery."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.transport = ScriptedTransport()
        entropy: Any = SimpleNamespace(random=lambda: 0.0)
        self.sender = Sender(self.transport, self.clock, entropy, Metrics())
        now = self.clock.now_ms()
        self.desk = Desk(
            Endpoint(
                key=1,
                environment=Environment.LIVE,
                tenant="default",
                url="http://127.0.0.1/",
                secrets=(Secret(NEW, now), Secret(OLD, now - 1, now + HOUR_MS)),
            )
        )
        event = Event(
            key=5, id="e5", environment=Environment.LIVE, tenant="default", type="t", accepted_at=now, data=b"1"
        )
        self.work = Work(Obligation(5, 1, Lane.LIVE, now, now), event)

    async def attempt(self) -> Request:
        """Make one attempt; what was sent."""
        await self.sender.attempt(self.desk, self.work, 1)
        return self.transport.requests[-1]

    def signatures(self, request: Request) -> list[str]:
        """Those of the valid secrets that signed it, by what a receiver finds out."""
        signed = []
        for name, secret in (("old", OLD), ("new", NEW)):
            try:
                verify([secret], request.headers, request.body, now_s=self.clock.now_ms() // 1_000)
            except SignatureInvalid as error:
                if error.reason != NO_MATCH:
                    raise
            else:
                signed.append(name)
        return signed


async def test_each_attempt_is_signed_for_the_time_at_which_it_is_made() -> None:
    """A receiver refuses an old timestamp: one of the first attempt would make every late retry fail."""
    bench = Bench()
    first = await bench.attempt()
    bench.clock.advance(HOUR_MS // 2)
    second = await bench.attempt()
    verify([NEW], second.headers, second.body, now_s=bench.clock.now_ms() // 1_000)
    assert second.headers["webhook-id"] == first.headers["webhook-id"], "it is the same message"


async def test_while_a_secret_is_replaced_both_sign_and_the_expired_one_no_longer() -> None:
    bench = Bench()
    assert bench.signatures(await bench.attempt()) == ["old", "new"]
    bench.clock.advance(HOUR_MS - 1)
    assert bench.signatures(await bench.attempt()) == ["old", "new"]
    bench.clock.advance(1)
    assert bench.signatures(await bench.attempt()) == ["new"]
