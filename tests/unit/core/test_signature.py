import base64
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from posthouse.core import signature
from posthouse.core.ed25519 import SigningKey, verifies
from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.core.limits import SIGNATURES_READ_MAX
from posthouse.core.signature import Signer, generate_secret, generate_signing_key, public_key, validate_secret, verify

# The vector of the reference libraries: standard-webhooks/standard-webhooks, libraries/python/tests/test_webhooks.py.
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
ID = "msg_p5jXN8AQM9LWM0D4loKWxJek"
AT = 1_614_265_330
BODY = b'{"test": 2432232314}'
SIGNATURE = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="

HEADERS = {"webhook-id": ID, "webhook-timestamp": str(AT), "webhook-signature": SIGNATURE}
OTHER_SECRET = generate_secret(b"o" * 32)
SIGNING_KEY = generate_signing_key(b"k" * 32)


def reason_of(
    headers: Mapping[str, str] = HEADERS, *, secrets: tuple[str, ...] = (SECRET,), body: bytes = BODY, now_s: int = AT
) -> str | None:
    """Why the request is refused, or None if it is not."""
    try:
        verify(secrets, headers, body, now_s=now_s)
    except SignatureInvalid as error:
        return error.reason
    return None


# -- signing ----------------------------------------------------------------------------------


def test_the_official_vector() -> None:
    assert Signer([SECRET]).headers(ID, AT, BODY) == HEADERS
    assert reason_of() is None


def test_rfc_8032_vector_1() -> None:
    """Section 7.1, test 1: the empty message."""
    seed = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
    public = bytes.fromhex("d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a")
    expected = bytes.fromhex(
        "e5564300c360ac729086e2cc806e828a84877f1eb8e5d974d873e065224901555fb8821590a33bacc61e39701cf9b46bd25bf5f0595bbe24655141438e7a100b"
    )
    key = SigningKey(seed)
    assert key.public_bytes == public
    assert key.sign(b"") == expected
    assert verifies(public, expected, b"")
    assert not verifies(public, expected, b"x")
    assert not verifies(public, b"", b"")
    assert not verifies(b"short", expected, b"")


def test_the_reference_library_accepts_our_signatures() -> None:
    headers = Signer([SECRET]).headers("evt_1", int(time.time()), b'{"a":1}')
    assert Webhook(SECRET).verify(b'{"a":1}', headers) == {"a": 1}


def test_the_reference_library_accepts_either_secret_while_they_rotate() -> None:
    headers = Signer([OTHER_SECRET, SIGNING_KEY, SECRET]).headers("evt_1", int(time.time()), b"{}")
    for secret in (SECRET, OTHER_SECRET):
        Webhook(secret).verify(b"{}", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(generate_secret(b"n" * 24)).verify(b"{}", headers)


def test_signatures_of_the_reference_library_are_accepted() -> None:
    made = Webhook(SECRET).sign(ID, datetime.fromtimestamp(AT, UTC), BODY.decode())
    assert reason_of(HEADERS | {"webhook-signature": made}) is None


def test_one_signature_per_secret_hmac_first() -> None:
    made = Signer([SIGNING_KEY, OTHER_SECRET, SECRET]).headers(ID, AT, BODY)["webhook-signature"].split(" ")
    assert [entry.partition(",")[0] for entry in made] == ["v1", "v1", "v1a"]
    assert made[1] == SIGNATURE


@pytest.mark.parametrize("message_id", ["", "a.b", "a b", "a\r\nx: y", "ä", "x" * 257])
def test_an_id_that_could_move_the_borders_of_what_is_signed_is_refused(message_id: str) -> None:
    with pytest.raises(InvalidInput):
        Signer([SECRET]).headers(message_id, AT, BODY)
    with pytest.raises(InvalidInput):
        signature.validate_message_id(message_id)


def test_a_signer_needs_a_secret() -> None:
    with pytest.raises(InvalidInput):
        Signer([])
    with pytest.raises(InvalidInput):
        Signer([SECRET, "whsec_short"])


# -- secrets ----------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [24, 32, 64])
def test_a_made_secret_is_valid(size: int) -> None:
    secret = generate_secret(bytes(range(size)))
    validate_secret(secret)
    assert base64.b64decode(secret.removeprefix("whsec_")) == bytes(range(size))


@pytest.mark.parametrize("size", [0, 23, 65])
def test_a_secret_of_another_size_is_not_made(size: int) -> None:
    with pytest.raises(ValueError, match="24 to 64"):
        generate_secret(bytes(size))


def test_a_made_signing_key_has_a_public_key_that_verifies() -> None:
    validate_secret(SIGNING_KEY)
    assert len(base64.b64decode(SIGNING_KEY.removeprefix("whsk_"))) == 64
    headers = Signer([SIGNING_KEY]).headers(ID, AT, BODY)
    assert reason_of(headers, secrets=(public_key(SIGNING_KEY),)) is None
    assert reason_of(headers, secrets=(SIGNING_KEY,)) is None
    assert reason_of(headers, secrets=(public_key(generate_signing_key(b"x" * 32)),)) == "no_match"


def test_a_signing_key_may_be_its_seed_alone() -> None:
    seed_only = "whsk_" + base64.b64encode(b"k" * 32).decode()
    assert public_key(seed_only) == public_key(SIGNING_KEY)


def test_only_a_signing_key_has_a_public_key() -> None:
    with pytest.raises(InvalidInput):
        public_key(SECRET)


def test_base64_padding_may_be_left_out() -> None:
    padded = generate_secret(bytes(25))
    assert padded.endswith("=")
    assert Signer([padded]).headers(ID, AT, BODY) == Signer([padded.rstrip("=")]).headers(ID, AT, BODY)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "whsec_",
        "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "WHSEC_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsec_" + base64.b64encode(bytes(23)).decode(),
        "whsec_" + base64.b64encode(bytes(65)).decode(),
        "whsec_" + "A" * 10_000,
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLa!!",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\n",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaS",
        "whsec_----" + "A" * 40,
        "whsec_\u00e4" + "A" * 31,
        "whsk_" + base64.b64encode(bytes(31)).decode(),
        "whsk_" + base64.b64encode(bytes(64)).decode(),
        "whsk_",
        "whpk_" + base64.b64encode(bytes(32)).decode(),
    ],
)
def test_what_is_no_secret_to_sign_with_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        validate_secret(text)
    assert text[8:] not in caught.value.message or not text[8:]


# -- verifying --------------------------------------------------------------------------------


def test_header_names_are_read_in_any_case() -> None:
    assert reason_of({name.title(): value for name, value in HEADERS.items()}) is None
    assert reason_of({name.upper(): value for name, value in HEADERS.items()}) is None


@pytest.mark.parametrize("name", HEADERS)
def test_every_header_is_needed(name: str) -> None:
    assert reason_of({k: v for k, v in HEADERS.items() if k != name}) == "missing_header"
    assert reason_of(HEADERS | {name: ""}) == "missing_header"


@pytest.mark.parametrize("name", HEADERS)
def test_a_header_that_is_there_twice_with_two_values_is_refused(name: str) -> None:
    assert reason_of(HEADERS | {name.title(): "x"}) == "malformed_header"
    assert reason_of(HEADERS | {name.title(): HEADERS[name]}) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("webhook-id", "msg.1"),
        ("webhook-id", "msg 1"),
        ("webhook-id", "m\u00e4g"),
        ("webhook-id", "\udcff"),
        ("webhook-id", "x" * 300),
        ("webhook-timestamp", "now"),
        ("webhook-timestamp", "1614265330.5"),
        ("webhook-timestamp", "-1614265330"),
        ("webhook-timestamp", "+1614265330"),
        ("webhook-timestamp", "1_614_265_330"),
        ("webhook-timestamp", " 1614265330"),
        ("webhook-timestamp", "\u0661614265330"),
        ("webhook-timestamp", "1" * 5_000),
        ("webhook-signature", " "),
        ("webhook-signature", "garbage"),
        ("webhook-signature", SIGNATURE + " garbage"),
        ("webhook-signature", "\udcff\x00"),
        ("webhook-signature", " ".join([SIGNATURE] * (SIGNATURES_READ_MAX + 1))),
    ],
)
def test_a_malformed_header_is_named_so(name: str, value: str) -> None:
    assert reason_of(HEADERS | {name: value}) == "malformed_header"


@pytest.mark.parametrize(
    ("now_s", "reason"),
    [(AT, None), (AT + 300, None), (AT - 300, None), (AT + 301, "timestamp_too_old"), (AT - 301, "timestamp_too_new")],
)
def test_the_timestamp_may_be_off_by_five_minutes_either_way(now_s: int, reason: str | None) -> None:
    assert reason_of(now_s=now_s) == reason


def test_the_tolerance_can_be_set() -> None:
    verify([SECRET], HEADERS, BODY, now_s=AT + 3_600, tolerance_s=3_600)
    with pytest.raises(SignatureInvalid):
        verify([SECRET], HEADERS, BODY, now_s=AT + 1, tolerance_s=0)


@pytest.mark.parametrize(
    "value",
    [
        "v1,",
        "v1,!!!",
        "v1,\udcff",
        "v1a," + SIGNATURE[3:],
        "v2," + SIGNATURE[3:],
        "V1," + SIGNATURE[3:],
        SIGNATURE.rstrip("="),
        SIGNATURE.lower(),
        SIGNATURE + ",x",
        "v1a,!!!",
        "v1a,AAAA",
    ],
)
def test_other_signatures_do_not_match(value: str) -> None:
    assert reason_of(HEADERS | {"webhook-signature": value}) == "no_match"
    assert reason_of(HEADERS | {"webhook-signature": value}, secrets=(SECRET, SIGNING_KEY)) == "no_match"


def test_any_of_several_signatures_and_secrets_may_match() -> None:
    headers = HEADERS | {"webhook-signature": f"v2,zz  v1,AAAA v1a,BBBB {SIGNATURE}"}
    assert reason_of(headers, secrets=(OTHER_SECRET, SIGNING_KEY, SECRET)) is None
    assert reason_of(headers, secrets=(OTHER_SECRET, SIGNING_KEY)) == "no_match"
    assert reason_of(headers, secrets=()) == "no_match"


def test_a_public_key_is_no_hmac_secret() -> None:
    """A signature made with HMAC keyed by the public key, which everyone knows, does not pass."""
    public = public_key(SIGNING_KEY)
    forged = Signer(["whsec_" + public.removeprefix("whpk_")]).headers(ID, AT, BODY)
    as_v1a = forged | {"webhook-signature": forged["webhook-signature"].replace("v1,", "v1a,")}
    assert reason_of(forged, secrets=(public,)) == "no_match"
    assert reason_of(as_v1a, secrets=(public,)) == "no_match"


@pytest.mark.parametrize("secret", ["", "garbage", "whsec_!", "whpk_AAAA", "whsk_AAAA", "whpk_\udcff"])
def test_a_malformed_secret_is_named_so(secret: str) -> None:
    assert reason_of(secrets=(SECRET, secret)) == "malformed_secret"


def test_bodies_are_bytes_and_need_not_be_text() -> None:
    body = bytes(range(256))
    headers = Signer([SECRET]).headers(ID, AT, body)
    assert reason_of(headers, body=body) is None
    assert reason_of(headers, body=body[:-1]) == "no_match"


def test_signing_with_hmac_does_not_load_cryptography() -> None:
    """Importing it takes longer than all the rest of the core, and most installations never need it."""
    code = (
        "import sys; from posthouse.core.signature import Signer, generate_secret, verify\n"
        "secret = generate_secret(bytes(32)); headers = Signer([secret]).headers('a', 0, b'')\n"
        "verify([secret], headers, b'', now_s=0)\n"
        "sys.exit('cryptography' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
