"""Bold Penguin: applications for insurance."""

from collections.abc import Sequence
from typing import Final

from posthouse.core import signature
from posthouse.core.errors import SignatureInvalid
from posthouse.providers.preset import BODY_WINDOW_SECONDS, Answers, Preset, SenderRules
from posthouse.providers.reading import Header, Reader
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, Encoding, check_digests, decoded, required

_HEADER: Final = "X-Signature"
_ALGORITHMS: Final = {20: "sha1", 32: "sha256"}  #: by the bytes of a signature
_RETRIES: Final = 25


class HexDigest(Alone, frozen=True):
    """An HMAC over the body in hex, perhaps behind the name of its hash and ``=``.

    The documentation says no more than HMAC hexdigest; so the length of the signature tells the hash.
    """

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        del now_s, fetched
        given = required(received, _HEADER)
        for name in _ALGORITHMS.values():
            given = given.removeprefix(f"{name}=")
        algorithm = _ALGORITHMS.get(len(decoded(given, Encoding.HEX) or b""))
        if algorithm is None:
            raise SignatureInvalid(signature.MALFORMED_HEADER, f"The header {_HEADER} is malformed.")
        check_digests([given], secrets, received.body, algorithm=algorithm)


PRESET: Final = Preset(
    name="boldpenguin",
    title="Bold Penguin",
    docs="https://developers.boldpenguin.com/docs/webhooks/wh_securing/",
    secret_help=(
        "The secret of the subscription, which you choose in the Partner Portal or through the API; without one Bold "
        "Penguin signs nothing."
    ),
    scheme=HexDigest(),
    # The subject and the action stand only in a header, which the signature does not cover.
    read=Reader(type=(Header("X-Emperor-Event"),)),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(
        deadline_ms=60_000,
        connect_ms=5_000,
        delays_s=tuple(15 + count**4 for count in range(_RETRIES)),
        known="25 retries in three weeks and the timeouts are reported, the steps assumed to be those of Sidekiq",
    ),
    # It says no id: a question set that is completed again has to be another event, even if nothing in it changed.
    window_seconds=BODY_WINDOW_SECONDS,
)
