"""Why a preset refuses a request: for tests of presets, ours and users'."""

from collections.abc import Callable

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import Preset
from posthouse.providers.received import Received


def refusals(preset: Preset, *, secret: str, now_s: int) -> Callable[..., str | None]:
    """A function ``reason(received, *secrets, now_s=…)``: why the preset refuses a request; None: it is genuine.

    Without secrets it is checked with ``secret``, and unless it is said otherwise at ``now_s`` (Unix seconds).
    """
    usual_s = now_s

    def reason(received: Received, *secrets: str, now_s: int = usual_s) -> str | None:
        try:
            preset.scheme.verify(received, secrets or [secret], now_s=now_s)
        except SignatureInvalid as refused:
            return refused.reason
        return None

    return reason
