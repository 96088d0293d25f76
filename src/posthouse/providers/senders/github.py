"""GitHub: repositories, organizations and apps.

GitHub signs the body and no header, so ``X-GitHub-Event`` is only as good as the body that fits it: an event whose
body lacks what every event of its kind has is read with a contradiction.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from posthouse.providers.forms import form_fields
from posthouse.providers.preset import Again, Item, Preset, Reading, SenderRules
from posthouse.providers.reading import decode, dig, type_of
from posthouse.providers.received import Received
from posthouse.providers.schemes import Hmac

_FORM: Final = b"payload="  # no JSON begins so

#: What every event of a kind has in its body.
_SUBJECTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "check_run": "check_run",
        "check_suite": "check_suite",
        "commit_comment": "comment",
        "create": "ref_type",
        "delete": "ref_type",
        "deployment": "deployment",
        "deployment_status": "deployment_status",
        "discussion": "discussion",
        "fork": "forkee",
        "issue_comment": "comment",
        "issues": "issue",
        "label": "label",
        "merge_group": "merge_group",
        "milestone": "milestone",
        "ping": "hook_id",
        "pull_request": "pull_request",
        "pull_request_review": "review",
        "pull_request_review_comment": "comment",
        "push": "commits",
        "release": "release",
        "status": "sha",
        "workflow_job": "workflow_job",
        "workflow_run": "workflow_run",
    }
)


def _payload(content: bytes) -> bytes:
    """The JSON of a body, which stands in a form where the webhook's content type is not JSON."""
    if not content.startswith(_FORM):
        return content
    return dict(form_fields(content))["payload"].encode()


def _contradiction(kind: str | None, event: Any) -> str | None:
    subject = _SUBJECTS.get(kind or "")
    if subject is None or (isinstance(event, Mapping) and subject in event):
        return None
    return f"Every {kind} event has the field {subject}, and this one has none."


def _read(received: Received, content: bytes) -> Reading:
    data = _payload(content)
    event = decode(data)
    kind, delivery = received.header("X-GitHub-Event"), received.header("X-GitHub-Delivery")
    action = dig(event, ("action",))
    item = Item(
        type=type_of(kind or "event", action if isinstance(action, str) else None, fallback="event"),
        data=data,
        identity=delivery,
        contradiction=_contradiction(kind, event),
    )
    return Reading((item,), delivery=delivery)


PRESET: Final = Preset(
    name="github",
    title="GitHub",
    docs="https://docs.github.com/en/webhooks/using-webhooks/validating-webhook-deliveries",
    secret_help=("The text in the field Secret of the webhook or app settings, as it was typed in."),
    scheme=Hmac(header="X-Hub-Signature-256", prefix="sha256="),
    read=_read,
    # It sends nothing again by itself. What was missed can be asked for through its API for three days.
    sender=SenderRules(again=Again.LISTED, retries_timeouts=False),
)
