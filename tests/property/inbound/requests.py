"""Requests that anybody may send: what senders send, whole and broken, and anything else."""

import gzip
import json
from typing import Any, NamedTuple

from hypothesis import strategies as st

Headers = tuple[tuple[str, str], ...]


class Post(NamedTuple):
    """A request; a header is there once or several times."""

    method: str
    url: str
    headers: Headers
    body: bytes


#: Names of fields and headers that presets look at, and values that some of them take.
FIELDS = (
    "type", "event", "events", "data", "id", "created", "created_at", "timestamp", "records", "value", "offset",
    "Type", "Action", "ID", "Entity", "Metadata", "key_url", "notificationItems", "NotificationRequestItem", "action",
    "issue", "resource_type", "subscriptionId", "attemptNumber", "headers", "messageId", "recordType", "challenge",
    "lmsEventsCase", "trainingCompleted", "Message", "MessageId", "TopicArn", "SigningCertURL", "SubscribeURL", "token",
    "event_type", "payload", "object", "entry", "webhook_id", "list_folder", "subscription", "sequence", "plainToken",
)  # fmt: skip
NAMES = (
    "x-hub-signature-256", "x-github-event", "x-github-delivery", "webhook-signature", "webhook-id", "content-type",
    "webhook-timestamp", "x-signature", "x-emperor-event", "x-api-key", "x-hook-secret", "x-hook-signature",
    "x-gitlab-event",
    "x-content-signature", "authorization", "content-encoding", "stripe-signature", "svix-id", "svix-timestamp",
    "svix-signature", "twitch-eventsub-message-type", "twitch-eventsub-message-id", "x-amz-sns-message-type", "cookie",
    "x-shopify-topic", "x-shopify-hmac-sha256", "x-twilio-signature", "plaid-verification", "x-slack-signature",
    "x-slack-request-timestamp", "x-zm-signature", "x-zm-request-timestamp", "x-signature-ed25519",
    "x-signature-timestamp", "x-twilio-email-event-webhook-signature", "paypal-cert-url", "paypal-transmission-sig",
    "transfer-coding", "x-wc-webhook-topic", "x-wc-webhook-delivery-id", "x-vercel-signature", "typeform-signature",
)  # fmt: skip
TEXTS = (
    "", "1", "a", "push", "issues", "ping", "ticket", "updated", "sha256=00", "t=1,v1=00", "Bearer x", "gzip",
    "deflate",
    "1800000000", "2027-01-15T08:00:00Z", "9999-99-99T99:99:99Z", "https://169.254.169.254/", "https://[", "AA==",
    "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/json; charset=utf-16",
    "Notification", "SubscriptionConfirmation", "webhook_callback_verification", "url_verification",
    "endpoint.url_validation",
    "a.b.c", "eyJhbGciOiJub25lIn0.e30.", "\x00", "\x7f", "é", "\u00ad", "a b", "x" * 300,
)  # fmt: skip

texts = st.sampled_from(TEXTS) | st.text(st.characters(max_codepoint=0xFF), max_size=12)
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | texts
    | st.text(max_size=8)
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(FIELDS), inner, max_size=5),
    max_leaves=15,
)
documents = st.dictionaries(st.sampled_from(FIELDS), values, max_size=6) | st.lists(values, max_size=4)


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")


@st.composite
def _spoilt(draw: st.DrawFn) -> bytes:
    """JSON with a few bytes changed."""
    raw = _json(draw(documents))
    place = draw(st.integers(0, len(raw)))
    return raw[:place] + draw(st.binary(max_size=3)) + raw[place + draw(st.integers(0, 3)) :]


bodies = (
    documents.map(_json)
    | documents.map(_json)
    | _spoilt()
    | st.binary(max_size=40)
    | st.sampled_from(
        [
            b"",
            b"null",
            b"[1e999]",
            b"[" * 3_000,
            b'{"id":"\\ud800"}',
            b'{"type":"a","type":"b"}',
            b'{"id":' + b"1" * 5_000 + b"}",
            b"payload=%7B%7D",
            b"payload",
            b"payload=",
            b"a=1&a=2&=&%",
            b"--x\r\n\r\n",
            gzip.compress(b'{"type":"a"}'),
            gzip.compress(b"\0" * 3_000_000),
        ]
    )
)
headers = st.lists(st.tuples(st.sampled_from(NAMES), texts), max_size=5).map(tuple)
queries = st.sampled_from(["", "?", "?hub.mode=subscribe&hub.challenge=1&hub.verify_token=x", "?a=%00", "?%", "/b?x#y"])


def posts() -> st.SearchStrategy[Post]:
    """Requests as they are stored."""
    urls = st.builds("https://node.test/in/x{}".format, queries)
    return st.builds(Post, st.sampled_from(["POST", "PUT", "GET"]), urls, headers, bodies)
