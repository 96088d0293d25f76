"""Dropbox: which accounts have changed files."""

from collections.abc import Mapping, Sequence
from typing import Final

from posthouse.providers.preset import Handshake, Item, Preset, Reading, Reply, SenderRules
from posthouse.providers.reading import decode, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac


def _handshake(received: Received, _: Sequence[str]) -> Handshake | None:
    """The challenge of a new URL, which Dropbox does not sign: what is echoed is plain text, so no browser runs it."""
    challenge = received.parameter("challenge")
    if received.method != "GET" or challenge is None:
        return None
    headers = (("content-type", "text/plain; charset=utf-8"), ("x-content-type-options", "nosniff"))
    return Handshake(Reply(200, headers, challenge.encode(errors="replace")))


def _read(_: Received, content: bytes) -> Reading:
    event = decode(content)
    # An older part, delta, says the same for the first version of its API.
    names = [name for name in event if name != "delta"] if isinstance(event, Mapping) else []
    return Reading((Item(type=type_of(names[0] if names else None, fallback="event"), data=content),))


PRESET: Final = Preset(
    name="dropbox",
    title="Dropbox",
    docs="https://www.dropbox.com/developers/reference/webhooks",
    secret_help=("The app secret in the App Console, on the tab Settings."),
    scheme=Hmac(header="X-Dropbox-Signature"),
    read=_read,
    handshake=_handshake,
    # Every notification of an account has the same content, and a second one means another change. To take it for a
    # repetition would hide that change; to look twice costs one call.
    window_seconds=0,
    sender=SenderRules(drops_s=600, known="retries for about ten minutes; the steps are not published"),
)
