"""Whether the node lives, whether it can take work, and what it counts: three plain resources."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import msgspec

from posthouse.core.errors import ShuttingDown, StoreUnavailable
from posthouse.serving.plain import PlainResource

PROBE_SECONDS_MAX: Final = 2.0
PROBE_KEPT_SECONDS: Final = 1.0  #: an answer this young is given again, so that asking often writes seldom
_METRICS_TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"


class Readiness:
    """Says whether the node can take work: a real durable write within two seconds, and the node's own word.

    Those who ask at one time share one write, and one answer serves for a second.

    Args:
        probe: one durable write; raises StoreUnavailable.
        unready: why the node takes no work now, or None.
        monotonic: seconds that never go back.
    """

    def __init__(
        self,
        probe: Callable[[], Awaitable[None]],
        unready: Callable[[], str | None],
        monotonic: Callable[[], float],
    ) -> None:
        self._probe = probe
        self._unready = unready
        self._monotonic = monotonic
        self._asked: asyncio.Task[None] | None = None
        self._asked_at = 0.0

    async def __call__(self) -> bytes:
        """The answer of ``/readyz``. Raises ShuttingDown or StoreUnavailable."""
        reason = self._unready()
        if reason is not None:
            raise ShuttingDown(f"The node is not ready: {reason}.", hint="Ask again in a few seconds.")
        now = self._monotonic()
        if self._asked is None or (self._asked.done() and now - self._asked_at >= PROBE_KEPT_SECONDS):
            self._asked_at = now
            self._asked = asyncio.get_running_loop().create_task(self._write())
        await asyncio.shield(self._asked)
        return _encode_status("ready")

    async def _write(self) -> None:
        try:
            async with asyncio.timeout(PROBE_SECONDS_MAX):
                await self._probe()
        except TimeoutError as error:
            raise StoreUnavailable(f"A write took more than {PROBE_SECONDS_MAX:g} seconds.") from error


async def alive() -> bytes:
    """The answer of ``/healthz``: the loop turned and ran this."""
    return _encode_status("ok")


def health_routes(readiness: Callable[[], Awaitable[bytes]], metrics: Callable[[], bytes]) -> dict[str, PlainResource]:
    """The health routes by path."""

    async def exposition() -> bytes:
        return metrics()

    return {
        "/healthz": PlainResource(alive),
        "/readyz": PlainResource(readiness),
        "/metrics": PlainResource(exposition, _METRICS_TYPE),
    }


def _encode_status(status: str) -> bytes:
    return msgspec.json.encode({"status": status})
