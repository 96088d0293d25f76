"""The door for applications: one function for every sender."""

import hashlib
import hmac

import pytest

import posthouse
from posthouse.core.signature import Signer
from posthouse.providers.index import preset_named
from posthouse.sdk.verify import InvalidInput, SignatureInvalid, Unreadable, document, verify

NOW = 1_800_000_000
SECRET = "whsec_" + "A" * 32
BODY = b'{"type":"a.b","timestamp":"2027-01-15T08:00:00Z","data":{}}'


def test_it_is_where_the_readme_says() -> None:
    assert (posthouse.verify, posthouse.SignatureInvalid) == (verify, SignatureInvalid)
    with pytest.raises(AttributeError, match="nothing"):
        posthouse.nothing  # noqa: B018 - it is the point


def test_what_is_genuine_is_read() -> None:
    headers = Signer([SECRET]).headers("evt_1", NOW, BODY)
    for given in (headers, list(headers.items())):
        (item,) = verify("standard-webhooks", given, BODY, ["whsec_" + "B" * 32, SECRET], now=NOW).items
        assert (item.type, item.identity, item.data) == ("a.b", "evt_1", BODY)
    with pytest.raises(SignatureInvalid):
        verify("standard-webhooks", headers, BODY + b" ", SECRET, now=NOW)
    with pytest.raises(SignatureInvalid, match="timestamp"):
        verify("standard-webhooks", headers, BODY, SECRET)


def test_what_is_genuine_may_be_unreadable() -> None:
    signature = hmac.new(b"s", b"{", hashlib.sha256).hexdigest()
    with pytest.raises(Unreadable):
        verify("github", {"X-Hub-Signature-256": f"sha256={signature}"}, b"{", "s")


def test_a_preset_may_be_ones_own() -> None:
    assert document(preset_named("stripe"), {}, b"{}") is None
    with pytest.raises(InvalidInput, match="no preset"):
        verify("acme", {}, b"", "s")


def test_the_document_that_a_sender_signs_with_is_named() -> None:
    body = b'{"Metadata":{"key_url":"https://na.myconnectwise.net/key/1"}}'
    found = document("connectwise", {"x-content-signature": "A" * 43 + "="}, body)
    assert found is not None
    assert found.url == "https://na.myconnectwise.net/key/1"
    with pytest.raises(SignatureInvalid):
        document("connectwise", {"x-content-signature": "A" * 43 + "="}, body.replace(b"na.my", b"169.my"))
