"""Autotask PSA (Datto, Kaseya): tickets and all else of a service provider."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import Answers, Preset, SenderRules
from posthouse.providers.reading import Field, Joined, Reader
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, Encoding, Hmac

_RAW: Final = Hmac(header="X-Hook-Signature", prefix="sha1=", algorithm="sha1", encoding=Encoding.BASE64)
#: What matters in a JSON text: escapes, the ends of strings, and what Autotask escapes within strings.
_PART: Final = re.compile(r"""\\.|["&<>'`+]|[^\x00-\x7f]+""", re.DOTALL)

# -- is it genuine? -----------------------------------------------------------------------------


class Signed(Alone, frozen=True):
    """HMAC-SHA1 over the body as it came, or as it was before the serializer of the callout made it more readable.

    The documentation knows only the first. The second is what receivers found whose fields hold ``&`` or an accent:
    there such characters are still escapes when the signature is made.
    """

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        try:
            _RAW.verify(received, secrets, now_s=now_s, fetched=fetched)
        except SignatureInvalid as refused:
            escaped = _escaped(received.body)
            if refused.reason != signature.NO_MATCH or escaped is None:
                raise
            _RAW.verify(msgspec.structs.replace(received, body=escaped), secrets, now_s=now_s, fetched=fetched)


def _escaped(body: bytes) -> bytes | None:
    """The JSON with those characters of its strings as escapes; None if it is no text, or has none of them."""
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    inside = False

    def write(found: re.Match[str]) -> str:
        nonlocal inside
        part = found[0]
        if part == '"':
            inside = not inside
            return part
        if not inside or (part[0] == "\\" and part != '\\"'):
            return part
        units = part.removeprefix("\\").encode("utf-16-be").hex().upper()
        return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))

    written = _PART.sub(write, text)
    return None if written == text else written.encode()


# -- what does it hold? -------------------------------------------------------------------------

#: ``Guid`` is that of the webhook. What ``SequenceNumber`` counts is not documented, so it alone tells no two events
#: apart: all that a repetition has in common stands for the identity.
_IDENTITY: Final = ("Guid", "EntityType", "Id", "Action", "EventTime", "SequenceNumber")
_READER: Final = Reader(
    type=(Field(("EntityType",)), Field(("Action",))),
    identity=Joined(tuple(Field((key,)) for key in _IDENTITY)),
    occurred_at=Field(("EventTime",)),
    sequence=Field(("SequenceNumber",)),
    stream=Field(("Guid",)),
    ordering_key=Joined((Field(("EntityType",)), Field(("Id",)))),
)


PRESET: Final = Preset(
    name="autotask",
    title="Autotask PSA",
    docs="https://ww1.autotask.net/help/DeveloperHelp/Content/APIs/Webhooks/SecretKeyPayloadVerification.htm",
    secret_help=("The SecretKey with which the webhook was made through the API: up to 64 characters of your choice."),
    scheme=Signed(),
    read=_READER,
    answers=Answers(retry_after_s=None),
    sender=SenderRules(deadline_ms=10_000, delays_s=(30, 30, 30, 30), gives_up_after=25, drops_s=120),
)
