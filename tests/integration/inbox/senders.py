"""What senders post, signed as they sign it."""

import base64
import hashlib
import hmac
import json
from typing import Any

SECRET = "a secret that both sides know"
COMPANY = "acme_c"
KEY_URL = "https://na.myconnectwise.net/v4_6_release/callbackkey/1"
SIGNING_KEY = "the key of this callback"

Post = tuple[bytes, dict[str, str]]


def github(data: Any, *, event: str = "issues", delivery: str = "d-1", secret: str = SECRET) -> Post:
    """One event of GitHub. ``data`` in bytes is sent as it is."""
    body = data if isinstance(data, bytes) else json.dumps(data).encode()
    signature = hmac.digest(secret.encode(), body, "sha256").hex()
    headers = {"X-Hub-Signature-256": f"sha256={signature}", "X-GitHub-Event": event, "X-GitHub-Delivery": delivery}
    return body, headers


def issue(number: int = 1) -> dict[str, Any]:
    """The payload of an issue that was opened."""
    return {"action": "opened", "issue": {"number": number}}


def gocardless(*ids: str, secret: str = SECRET) -> Post:
    """A webhook with these events."""
    events = [{"id": id_, "resource_type": "payments", "action": "paid", "links": {"payment": id_}} for id_ in ids]
    body = json.dumps({"events": events, "meta": {"webhook_id": "WB1"}}).encode()
    return body, {"Webhook-Signature": hmac.digest(secret.encode(), body, "sha256").hex()}


def boldpenguin(data: Any, *, event: str = "question_set:completed", secret: str = SECRET) -> Post:
    """One event of Bold Penguin, which has no id."""
    body = json.dumps(data).encode()
    return body, {"X-Emperor-Event": event, "X-Signature": hmac.digest(secret.encode(), body, "sha256").hex()}


def cornerstone(*offsets: int, at: str = "2027-01-15T08:00:00Z", secret: str = SECRET) -> Post:
    """Records of one subscription with these offsets."""
    records = [
        {
            "value": {
                "headers": {"messageId": f"m-{n}"},
                "lmsEventsCase": "TrainingCompleted",
                "trainingCompleted": {},
            },
            "offset": n,
            "timestamp": at,
        }
        for n in offsets
    ]
    body = json.dumps({"records": records, "subscriptionId": "s-1", "attemptNumber": 1}).encode()
    return body, {"x-api-key": secret}


def connectwise(
    number: int = 1,
    *,
    kind: str = "ticket",
    key_url: str = KEY_URL,
    key: str = SIGNING_KEY,
    company: str = COMPANY,
    is_ticket: bool | None = None,
) -> Post:
    """A callback, whose key stands at ``key_url``. ``is_ticket``: what it holds, if not what it says."""
    holds_ticket = kind == "ticket" if is_ticket is None else is_ticket
    entity = {"id": number, "recordType": "ServiceTicket"} if holds_ticket else {"id": number}
    event = {"Action": "updated", "CompanyId": company, "Entity": json.dumps(entity), "ID": number, "Type": kind}
    body = json.dumps({**event, "Metadata": {"key_url": key_url}}).encode()
    digest = hmac.digest(hashlib.sha256(key.encode()).digest(), body, "sha256")
    return body, {"x-content-signature": base64.b64encode(digest).decode()}
