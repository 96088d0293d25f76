"""Declared presets: what they do, and that nothing that can be written in JSON makes them fail otherwise than told."""

import json
from contextlib import suppress
from typing import Any

import msgspec
import pytest
import stripe
from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.providers.custom import CustomSpec, custom_preset, custom_spec
from posthouse.providers.preset import BODY_WINDOW_SECONDS, ID_WINDOW_SECONDS, Preset
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.schemes import Basic, Ed25519, Encoding, StandardWebhooks, Token, Unproven

NOW_S = 1_800_000_000
HMAC: dict[str, object] = {"kind": "hmac", "header": "X-Signature"}
LIKE_STRIPE: dict[str, Any] = {
    "name": "acme",
    "scheme": {
        "kind": "hmac",
        "header": "Stripe-Signature",
        "signature_key": "v1",
        "timestamp_key": "t",
        "signed": "{ts}.{body}",
        "tolerance_s": 300,
    },
    "type": ["header:X-Topic", "field:kind"],
    "identity": "field:id",
    "occurred_at": "field:at",
    "unit": "s",
    "sequence": "field:tags.-1.n",
    "stream": "field:shop",
    "ordering_key": "field:tags.0.n",
    "delivery": "header:X-Delivery",
    "items": "data.events",
    "heartbeat_when_empty": True,
    "answers": {"accepted": 202, "overload": 429, "body": "ok"},
    "sender": {"retried": [429, 503], "delays_s": [1, 60], "deadline_ms": 5000},
}
EVENT = b'{"id": 7,  "kind": "paid", "at": 1799999990, "shop": "s", "tags": [{"n": 4}, {"n": 5}]}'
BODY = b'{"data": {"events": [' + EVENT + b", {}]}}"


def preset(document: Any) -> Preset:
    return custom_preset(custom_spec(json.dumps(document).encode()))


def request(body: bytes, *headers: tuple[str, str]) -> Received:
    return Received.of("POST", "https://example.com/in/x", headers, body, NOW_S * 1_000)


def test_what_another_library_signs_is_genuine() -> None:
    scheme = preset(LIKE_STRIPE).scheme
    digest = stripe.WebhookSignature._compute_signature(f"{NOW_S}.{BODY.decode()}", "secret")
    signed = request(BODY, ("stripe-signature", f"t={NOW_S},v1={digest}"))
    scheme.verify(signed, ["another", "secret"], now_s=NOW_S)
    with pytest.raises(SignatureInvalid) as caught:
        scheme.verify(signed, ["another"], now_s=NOW_S)
    assert caught.value.reason == "no_match"


def test_what_it_reads() -> None:
    reading = preset(LIKE_STRIPE).read(request(BODY, ("X-Topic", "order"), ("X-Delivery", "d1")), BODY)
    first, second = reading.items
    assert (first.type, first.identity, first.occurred_at, first.data) == ("order.paid", "7", 1_799_999_990_000, EVENT)
    assert (first.sequence, first.stream, first.ordering_key, reading.delivery) == (5, "s", "4", "d1")
    assert (second.type, second.identity) == ("order", None)


def test_an_empty_list_is_a_heartbeat_if_it_is_said_to_be() -> None:
    body = b'{"data": {"events": []}}'
    assert preset(LIKE_STRIPE).read(request(body), body).is_heartbeat
    assert not preset({"scheme": HMAC, "items": ""}).read(request(b"[]"), b"[]").is_heartbeat


def test_what_it_answers_and_knows_of_its_sender() -> None:
    found = preset(LIKE_STRIPE)
    assert (found.answers.accepted, found.answers.overload, found.answers.body) == (202, 429, b"ok")
    assert found.sender.retries(429)
    assert not found.sender.retries(500)
    assert preset({"scheme": HMAC}).sender.retries(500)


@pytest.mark.parametrize(
    ("retried", "overload"), [(None, 503), ([], 503), ([429, 503], 503), ([404, 429], 429), ([409, 404], 404)]
)
def test_in_a_rush_it_answers_what_this_sender_retries(retried: list[int] | None, overload: int) -> None:
    assert preset({"scheme": HMAC, "sender": {"retried": retried}}).answers.overload == overload


def test_an_identity_stands_for_an_event_longer_than_its_content() -> None:
    assert preset(LIKE_STRIPE).window_seconds == ID_WINDOW_SECONDS
    assert preset({"scheme": HMAC}).window_seconds == BODY_WINDOW_SECONDS
    assert preset({"scheme": HMAC, "window_seconds": 60}).window_seconds == 60


@pytest.mark.parametrize(
    ("declared", "made"),
    [
        ({"kind": "token", "header": "X-Token", "prefix": "Bearer "}, Token(header="X-Token", prefix="Bearer ")),
        ({"kind": "basic"}, Basic()),
        (
            {"kind": "ed25519", "header": "X-S", "timestamp_header": "X-T", "separator": "|", "key": "base64"},
            Ed25519(header="X-S", timestamp_header="X-T", separator="|", key=Encoding.BASE64, tolerance_s=300),
        ),
        ({"kind": "standard-webhooks", "prefix": "svix"}, StandardWebhooks(prefix="svix")),
        ({"kind": "none"}, Unproven()),
    ],
)
def test_every_kind_of_scheme_can_be_declared(declared: dict[str, object], made: object) -> None:
    assert preset({"scheme": declared}).scheme == made


@pytest.mark.parametrize(
    ("path", "change"),
    [
        ("", []),
        ("scheme", {"scheme": 7}),
        ("scheme.kind", {"scheme": {}}),
        ("scheme.kind", {"scheme": {"kind": "md5"}}),
        ("scheme.header", {"scheme": {"kind": "hmac"}}),
        ("scheme.header", {"scheme": {"kind": "token", "header": "no header"}}),
        ("scheme.prefix", {"scheme": {"kind": "token", "header": "X-T", "prefix": "\n"}}),
        ("scheme.prefix", {"scheme": {"kind": "standard-webhooks", "prefix": ""}}),
        ("scheme.key", {"scheme": {"kind": "ed25519", "header": "S", "timestamp_header": "T", "key": "utf8"}}),
        ("scheme.algorithm", {"scheme": HMAC | {"algorithm": "md5"}}),
        ("scheme.encoding", {"scheme": HMAC | {"encoding": "utf8"}}),
        ("scheme.separator", {"scheme": HMAC | {"separator": ""}}),
        ("scheme.separator", {"scheme": HMAC | {"separator": "="}}),
        ("scheme.signed", {"scheme": HMAC | {"signed": "{ts}", "timestamp_header": "T"}}),
        ("scheme.signed", {"scheme": HMAC | {"signed": "{body}{nonce}"}}),
        ("scheme.signed", {"scheme": HMAC | {"signed": "{ts}{body}"}}),
        ("scheme.signed", {"scheme": HMAC | {"signed": "{id}{body}"}}),
        ("scheme.signed", {"scheme": HMAC | {"signed": "{body}\u00e9"}}),
        ("scheme.tolerance_s", {"scheme": HMAC | {"timestamp_header": "T", "tolerance_s": 5}}),
        ("scheme.timestamp_key", {"scheme": HMAC | {"timestamp_key": "t"}}),
        ("scheme.timestamp_header", {"scheme": LIKE_STRIPE["scheme"] | {"timestamp_header": "T"}}),
        ("scheme.prefix", {"scheme": LIKE_STRIPE["scheme"] | {"prefix": "v1="}}),
        ("scheme.extra", {"scheme": HMAC | {"extra": 1}}),
        ("extra", {"extra": 1}),
        ("name", {"name": "A"}),
        ("title", {"title": "x" * 513}),
        ("type", {"type": []}),
        ("type", {"type": "field:"}),
        ("type[1]", {"type": ["field:a", "cookie:b"]}),
        ("type[0]", {"type": [1]}),
        ("fallback", {"fallback": "a b"}),
        ("identity", {"identity": "id"}),
        ("identity", {"identity": "header:no name"}),
        ("occurred_at", {"occurred_at": "field:a..b"}),
        ("sequence", {"sequence": "field:" + ".".join("a" * 17)}),
        ("unit", {"unit": "hours"}),
        ("items", {"items": "a."}),
        ("heartbeat_when_empty", {"heartbeat_when_empty": True}),
        ("answers.accepted", {"answers": {"accepted": 500}}),
        ("answers.overload", {"answers": {"overload": 200}}),
        ("answers.overload", {"sender": {"retried": [429]}, "answers": {"overload": 503}}),
        ("answers.body", {"answers": {"accepted": 204, "body": "ok"}}),
        ("answers.retry_after_s", {"answers": {"retry_after_s": 0}}),
        ("sender.retried", {"sender": {"retried": [200]}, "answers": {"overload": 503}}),
        ("sender.delays_s", {"sender": {"delays_s": [-1]}}),
        ("sender.delays_s", {"sender": {"delays_s": [1] * 1_001}}),
        ("sender.delays_s[1]", {"sender": {"delays_s": [1, True]}}),
        ("sender.deadline_ms", {"sender": {"deadline_ms": 0}}),
        ("window_seconds", {"window_seconds": 0}),
    ],
)
def test_what_is_wrong_is_named_with_a_hint(path: str, change: Any) -> None:
    with pytest.raises(InvalidInput) as caught:
        preset({"scheme": HMAC} | change if isinstance(change, dict) else change)
    assert path in [error["path"] for error in caught.value.errors]
    assert caught.value.advice
    assert all(str(error["message"]).endswith(".") for error in caught.value.errors)


def test_all_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(InvalidInput) as caught:
        preset({"scheme": {"kind": "hmac", "header": ""}, "name": "", "identity": ""})
    assert [error["path"] for error in caught.value.errors] == ["name", "scheme.header", "identity"]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
WHERE = st.sampled_from(["field:a", "field:a.0", "field:-1", "field:0.b", "header:X-A", "field:id"])
HMACS = st.fixed_dictionaries(
    {"kind": st.just("hmac"), "header": st.just("X-A")},
    optional={
        "prefix": st.sampled_from(["", "v1="]),
        "signed": st.sampled_from(["{body}", "{url}{method} {body}"]),
        "algorithm": st.sampled_from(["sha1", "sha256", "sha384", "sha512"]),
        "encoding": st.sampled_from(["hex", "base64"]),
        "secret": st.sampled_from(["hex", "base64", "utf8", "whsec"]),
    },
)
TIMED: dict[str, object] = {"kind": "hmac", "header": "X-A", "signed": "{ts}.{body}", "tolerance_s": 60}
ED25519: dict[str, object] = {"kind": "ed25519", "header": "X-A", "timestamp_header": "X-A"}
SCHEMES = HMACS | st.sampled_from(
    [
        TIMED | {"timestamp_header": "X-A", "unit": "ms", "id_header": "X-A"},
        TIMED | {"timestamp_key": "t", "signature_key": "v1", "separator": ", "},
        TIMED | {"timestamp_header": "X-A", "unit": "rfc3339"},
        {"kind": "token", "header": "X-A"},
        {"kind": "basic"},
        ED25519,
        ED25519 | {"key": "base64", "encoding": "base64"},
        {"kind": "standard-webhooks", "prefix": "svix"},
        {"kind": "none"},
    ]
)
GOOD: st.SearchStrategy[dict[str, Any]] = st.fixed_dictionaries(
    {"scheme": SCHEMES},
    optional={
        "type": WHERE | st.lists(WHERE, min_size=1, max_size=4),
        **dict.fromkeys(("identity", "occurred_at", "sequence", "stream", "ordering_key", "delivery"), WHERE),
        "unit": st.sampled_from(["s", "ms", "rfc3339"]),
        "items": st.sampled_from(["", "a", "a.b"]),
        "answers": st.just({"accepted": 204, "overload": 429}),
        "sender": st.just({"retried": [429], "delays_s": [1]}),
    },
)


@st.composite
def spoiled(draw: st.DrawFn) -> dict[str, Any]:
    """A good declaration of which one field, at any depth, is something else."""
    found = draw(GOOD)
    place: dict[str, Any] = found
    for key in ("scheme", "answers", "sender"):
        if key in found and draw(st.booleans()):
            place = found[key] = dict(found[key])
    names = (
        st.sampled_from([field.name for field in msgspec.structs.fields(CustomSpec)])
        | st.sampled_from(sorted(place))
        | st.text()
    )
    place[draw(names)] = draw(JSON)
    return found


BODIES = st.binary(max_size=20) | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 9_000)


def accepted(document: bytes) -> Preset | None:
    """The preset of a document; None if it is refused as it should be. All else goes up."""
    try:
        return custom_preset(custom_spec(document))
    except InvalidInput as error:
        refusal = error
    assert refusal.errors
    assert all(set(problem) == {"path", "code", "message"} for problem in refusal.errors)
    assert refusal.message
    assert refusal.advice
    return None


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()) | st.just(b"[" * 9_000))
def test_no_document_fails_otherwise_than_as_invalid_input(document: bytes) -> None:
    assert accepted(document) is None


@given(GOOD.map(lambda value: json.dumps(value).encode()))
def test_what_is_good_is_taken(document: bytes) -> None:
    assert accepted(document) is not None


@given(
    (GOOD | spoiled()).map(lambda value: json.dumps(value).encode()),
    BODIES,
    st.lists(
        st.tuples(st.just("X-A"), st.sampled_from([str(NOW_S), "", "t=1,v1=00", "00"]) | st.text(max_size=9)),
        max_size=3,
    ),
    st.lists(st.text(max_size=9), max_size=2),
)
def test_a_preset_that_is_taken_never_fails_otherwise_than_as_told(
    document: bytes, body: bytes, headers: list[tuple[str, str]], secrets: list[str]
) -> None:
    found = accepted(document)
    if found is None:
        return
    received = request(body, *headers)
    with suppress(SignatureInvalid):
        found.scheme.verify(received, secrets, now_s=NOW_S)
    with suppress(Unreadable):
        assert all(item.type for item in found.read(received, body).items)
