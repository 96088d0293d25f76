"""ConnectWise: its documented scheme, step by step (there is no library of its own)."""

import base64
import hashlib
import hmac
import json

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.received import Received, Unreadable
from posthouse.providers.senders.connectwise import PRESET

KEY = b'{"signing_key":"cw-test-signing-key"}'
URL = "https://api-na.myconnectwise.net/v4_6_release/system/callbackkey/index.rails?id=1"
ENTITY = '{"id":69,"summary":"Printer","recordType":"ServiceTicket","_info":{"lastUpdated":"2024-04-11T00:00:00Z"}}'


def body_of(url: object = URL, **changed: object) -> bytes:
    event = {"Action": "updated", "CompanyId": "acme_c", "Entity": ENTITY, "ID": 69, "Type": "ticket"}
    return json.dumps(event | {"Metadata": {"key_url": url}, "ProductInstanceId": "p-1"} | changed).encode()


def signed(body: bytes, key: bytes = b"cw-test-signing-key") -> Received:
    digest = hmac.new(hashlib.sha256(key).digest(), body, hashlib.sha256).digest()
    headers = (("X-Content-Signature", base64.b64encode(digest).decode()),)
    return Received.of("POST", "https://example.com/in/x?id=69&action=updated", headers, body, 0)


def refused(received: Received, *secrets: str, fetched: bytes | None = KEY) -> str:
    with pytest.raises(SignatureInvalid) as error:
        PRESET.scheme.verify(received, secrets, now_s=0, fetched=fetched)
    return error.value.reason


def test_what_it_signs_is_genuine_of_each_company_that_may_send() -> None:
    for secret in ("acme_c", "ACME_C", "p-1"):
        PRESET.scheme.verify(signed(body_of()), ["another", secret], now_s=0, fetched=KEY)


def test_the_known_answer() -> None:
    """Computed with openssl: SHA-256 of the key, then the HMAC of ``body``."""
    body = b'{"CompanyId":"a","Metadata":{"key_url":"https://na.myconnectwise.net/k"}}'
    signature = "isUKSUxeLSvbmiQzcGF4HCc6FGPqJI0Rs2rr3ludvJk="
    received = Received.of("POST", "https://example.com", (("x-content-signature", signature),), body, 0)
    PRESET.scheme.verify(received, ["a"], now_s=0, fetched=KEY)


def test_anything_else_is_not() -> None:
    good = signed(body_of())
    assert refused(good, "another") == "no_match"
    assert refused(good) == "no_match"
    assert refused(good, "acme_c", fetched=None) == "no_match"
    assert refused(good, "acme_c", fetched=b'{"signing_key":"other"}') == "no_match"
    changed = Received.of("POST", good.url, good.headers, good.body + b" ", 0)
    assert refused(changed, "acme_c") == "no_match"
    assert refused(Received.of("POST", good.url, (), good.body, 0), "acme_c") == "missing_header"
    short = Received.of("POST", good.url, (("x-content-signature", "c2hvcnQ="),), good.body, 0)
    assert refused(short, "acme_c") == "malformed_header"
    for document in (b"", b"null", b"[]", b"{}", b'{"signing_key":""}', b'{"signing_key":7}', b"\xff"):
        assert refused(good, "acme_c", fetched=document) == "malformed_secret"


def test_the_key_is_fetched_from_connectwise() -> None:
    needed = PRESET.scheme.needs(signed(body_of()))
    assert needed is not None
    assert needed.url == URL
    assert "api-*.myconnectwise.net" in needed.hosts


@pytest.mark.parametrize(
    "url",
    [
        None,
        7,
        "",
        "not a url",
        "https://[",
        URL.replace("https", "http"),
        "https://169.254.169.254/latest/meta-data",
        "https://evil.myconnectwise.net/key",
        "https://api-na.myconnectwise.net.evil.test/key",
        "https://evil.test/api-na.myconnectwise.net",
        "https://api-na.myconnectwise.net@evil.test/key",
        "https://evil.test\\@na.myconnectwise.net/key",
        "https://user:pass@na.myconnectwise.net/key",
        "https://na.myconnectwise.net:444/key",
        "https://na.myconnectwise.net./key",
        "https://na.myconnectwise.net/key#fragment",
        "https://na.myconnectwise.net/key\r\nHost: evil.test",
        "https://api-a.b.myconnectwise.net/key",
        "https://na.myconnectwise.net/" + "k" * 3_000,
    ],
)
def test_nothing_is_fetched_from_anywhere_else(url: object) -> None:
    with pytest.raises(SignatureInvalid) as error:
        PRESET.scheme.needs(signed(body_of(url)))
    assert error.value.reason == "malformed_header"


def test_nothing_is_fetched_for_a_request_without_a_signature() -> None:
    with pytest.raises(SignatureInvalid) as error:
        PRESET.scheme.needs(Received.of("POST", "https://example.com", (), body_of(), 0))
    assert error.value.reason == "missing_header"


def test_what_it_holds() -> None:
    body = body_of()
    (item,) = PRESET.read(signed(body), body).items
    assert (item.type, item.identity, item.occurred_at) == ("ticket.updated", None, 1_712_793_600_000)
    assert (item.ordering_key, item.data, item.contradiction) == ("ticket/69", body, None)
    gone = body_of(Action="deleted", Entity=None)
    (item,) = PRESET.read(signed(gone), gone).items
    assert (item.type, item.occurred_at, item.contradiction) == ("ticket.deleted", None, None)


@pytest.mark.parametrize(
    ("changed", "crossed"),
    [
        ({"Type": "schedule"}, True),
        ({"Entity": ENTITY.replace("ServiceTicket", "ProjectIssue")}, False),
        ({"Entity": "no JSON"}, False),
        ({"Type": "schedule", "Entity": '{"id":69}'}, False),
    ],
)
def test_an_envelope_may_contradict_its_entity(changed: dict[str, object], crossed: bool) -> None:
    body = body_of(**changed)
    (item,) = PRESET.read(signed(body), body).items
    assert (item.contradiction is not None) is crossed


def test_what_it_understands() -> None:
    assert PRESET.answers.overload == 429
    assert PRESET.sender.retries(PRESET.answers.overload)
    assert not PRESET.sender.retries(503)
    assert PRESET.sender.delays_s == (2, 4)


@pytest.mark.parametrize("body", [b"", b"\xff", b"[" * 100_000])
def test_odd_bodies_are_unreadable(body: bytes) -> None:
    with pytest.raises(Unreadable):
        PRESET.read(signed(body), body)
    assert refused(signed(body), "acme_c") == "malformed_header"


@pytest.mark.parametrize("body", [b"[]", b"null", b'{"Type":[],"ID":{},"Entity":"\\"deep","Metadata":7}'])
def test_odd_events_are_read(body: bytes) -> None:
    (item,) = PRESET.read(signed(body), body).items
    assert (item.type, item.ordering_key, item.contradiction) == ("event", None, None)
    assert refused(signed(body), "acme_c") == "malformed_header"
