"""GitLab: project, group and system hooks.

From version 19 on they can be signed as Standard Webhooks says; all can carry a secret token in a header. A secret
that begins with ``whsec_`` is a signing token, any other is a secret token. The other two headers of a signature come
with every request, so it is the signature alone that tells a signed one.
"""

from collections.abc import Sequence
from typing import Final

from posthouse.core.signature import SIGNATURE_HEADER
from posthouse.providers.preset import Again, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, time_ms, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Alone, StandardWebhooks, Token, Unit

_SIGNED: Final = StandardWebhooks()
_TOKEN: Final = Token(header="X-Gitlab-Token")
_SIGNING_TOKENS: Final = ("whsec_", "whpk_")


class _SignatureOrToken(Alone, frozen=True):
    """A signature where there is one and a key to check it with, a token otherwise; neither stands in for the other."""

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """See :meth:`posthouse.providers.preset.Scheme.verify`."""
        signing = [secret for secret in secrets if secret.startswith(_SIGNING_TOKENS)]
        tokens = [secret for secret in secrets if not secret.startswith(_SIGNING_TOKENS)]
        if signing and (received.every(SIGNATURE_HEADER) or not tokens):
            _SIGNED.verify(received, signing, now_s=now_s, fetched=fetched)
        else:
            _TOKEN.verify(received, tokens, now_s=now_s, fetched=fetched)


def _read(received: Received, content: bytes) -> Reading:
    event = decode(content)
    # System hooks have event_name alone; a hook with a template of its own may have neither: then its header speaks.
    kinds = (dig(event, ("object_kind",)), dig(event, ("event_name",)), received.header("X-Gitlab-Event"))
    kind = next((kind for kind in kinds if kind and isinstance(kind, str)), None)
    action, at = (dig(event, ("object_attributes", key)) for key in ("action", "updated_at"))
    # The two are the same, but only the first is signed. X-Gitlab-Event-UUID is no identity: hooks that set off one
    # another share it.
    identity = received.header("webhook-id") or received.header("Idempotency-Key")
    item = Item(
        type=type_of(kind, action if isinstance(action, str) else None, fallback="event"),
        data=content,
        identity=identity,
        occurred_at=time_ms(at, Unit.RFC3339) if isinstance(at, str) else None,
    )
    return Reading((item,), delivery=identity)


PRESET: Final = Preset(
    name="gitlab",
    title="GitLab",
    docs="https://docs.gitlab.com/user/project/integrations/webhooks/",
    secret_help=("The signing token (whsec_…) or the secret token of the webhook, in its settings."),
    scheme=_SignatureOrToken(),
    read=_read,
    # Four failures in a row disable the webhook for a while, forty for good; before 17.11 four answers of 4xx did so.
    sender=SenderRules(
        again=Again.LISTED,
        gives_up_after=4,
        known="it is assumed that errors are not retried: the documentation speaks only of timeouts",
    ),
)
