"""Servers are verified, always; what is wrong with one is said."""

import datetime as dt
import ssl
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address
from pathlib import Path

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from posthouse.core.address import AddressPolicy
from posthouse.core.errors import ConfigurationError
from posthouse.system import SystemClock
from posthouse.testing.names import Names
from posthouse.testing.receiver import Answer, Close, Receiver
from posthouse.transport.client import AiohttpTransport
from posthouse.transport.protocol import Exchange, Failure, Request

Post = Callable[..., Coroutine[None, None, Exchange]]


def server_context(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


async def test_valid_certificate(post: Post, server_tls: ssl.SSLContext, names: Names) -> None:
    names.addresses["good.example"] = ("127.0.0.1",)
    async with Receiver(tls=server_tls) as receiver:
        for url in (receiver.url, f"https://good.example:{receiver.port}/", f"https://GOOD.example.:{receiver.port}/"):
            exchange = await post(url)
            assert exchange.failure is None, exchange.error
        assert exchange.reused, "the last two are one origin"


async def test_kept_connection_that_dies_gets_its_resend_behind_tls_too(post: Post, server_tls: ssl.SSLContext) -> None:
    async with Receiver(tls=server_tls) as receiver:
        receiver.play(Answer(), Close(), Answer(201))
        assert [(await post(receiver.url)).status for _ in range(2)] == [200, 201]


async def test_wrong_host(post: Post, server_tls: ssl.SSLContext, names: Names) -> None:
    names.addresses["other.example"] = ("127.0.0.1",)
    async with Receiver(tls=server_tls) as receiver:
        exchange = await post(f"https://other.example:{receiver.port}/")
    assert_refused_certificate(exchange, "not valid for 'other.example'")
    assert not receiver.requests


async def test_unknown_authority(post: Post) -> None:
    async with Receiver(tls=server_context(trustme.CA().issue_cert("127.0.0.1"))) as receiver:
        assert_refused_certificate(await post(receiver.url), "unable to get local issuer certificate")


async def test_own_authority_is_trusted_only_if_it_is_given(server_tls: ssl.SSLContext) -> None:
    transport = AiohttpTransport(AddressPolicy(["127.0.0.0/8"]), SystemClock())
    async with Receiver(tls=server_tls) as receiver:
        exchange = await transport.send(Request(receiver.url, {}, b"{}"))
    assert exchange.failure is Failure.TLS
    await transport.close()


async def test_expired(post: Post, authority: trustme.CA) -> None:
    past = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
    certificate = authority.issue_cert("127.0.0.1", not_before=past, not_after=past + dt.timedelta(days=1))
    async with Receiver(tls=server_context(certificate)) as receiver:
        assert_refused_certificate(await post(receiver.url), "certificate has expired")


async def test_self_signed(post: Post, tmp_path: Path) -> None:
    async with Receiver(tls=self_signed(tmp_path)) as receiver:
        assert_refused_certificate(await post(receiver.url), "self-signed certificate")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
async def test_old_tls_is_refused(post: Post, server_tls: ssl.SSLContext) -> None:
    server_tls.minimum_version = ssl.TLSVersion.TLSv1
    server_tls.maximum_version = ssl.TLSVersion.TLSv1_1
    server_tls.set_ciphers("ALL:@SECLEVEL=0")
    async with Receiver(tls=server_tls) as receiver:
        exchange = await post(receiver.url)
    assert exchange.failure is Failure.TLS


async def test_server_that_wants_a_certificate(post: Post, server_tls: ssl.SSLContext, authority: trustme.CA) -> None:
    """In TLS 1.3 the refusal comes after the handshake, in place of an answer."""
    server_tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(server_tls)
    async with Receiver(tls=server_tls) as receiver:
        exchange = await post(receiver.url)
    assert exchange.failure in {Failure.TLS, Failure.PROTOCOL}, exchange
    assert not receiver.requests


async def test_plain_port(post: Post, receiver: Receiver) -> None:
    port = receiver.port
    exchange = await post(f"https://127.0.0.1:{port}/", connect_timeout_ms=150)
    assert exchange.failure in {Failure.TLS, Failure.CONNECT_TIMEOUT}
    assert not receiver.requests
    await receiver.hung_up()


async def test_handshake_that_hangs(post: Post) -> None:
    async with Receiver(silent=True) as receiver:
        exchange = await post(f"https://127.0.0.1:{receiver.port}/", connect_timeout_ms=150)
        assert exchange.failure is Failure.CONNECT_TIMEOUT
        assert exchange.error == f"Connected to 127.0.0.1:{receiver.port}, but no TLS handshake within 150 ms."
        assert exchange.peer == f"127.0.0.1:{receiver.port}"
        assert exchange.timings.total_us < 3_150_000


async def test_plain_request_to_a_tls_port(post: Post, server_tls: ssl.SSLContext) -> None:
    async with Receiver(tls=server_tls) as receiver:
        exchange = await post(f"http://127.0.0.1:{receiver.port}/")
    assert exchange.failure is Failure.PROTOCOL


def test_file_without_certificates_is_a_configuration_error(tmp_path: Path) -> None:
    (tmp_path / "empty.pem").write_text("")
    for name in ("empty.pem", "missing.pem"):
        with pytest.raises(ConfigurationError, match=name):
            AiohttpTransport(AddressPolicy(), SystemClock(), ca_file=str(tmp_path / name))


def assert_refused_certificate(exchange: Exchange, reason: str) -> None:
    assert exchange.failure is Failure.TLS
    assert exchange.error is not None
    assert reason in exchange.error
    assert exchange.timings.tls_us is not None
    assert exchange.timings.first_byte_us is None


def self_signed(folder: Path) -> ssl.SSLContext:
    """A server whose certificate vouches for itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    path = folder / "self-signed.pem"
    path.write_bytes(
        certificate.public_bytes(Encoding.PEM) + key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
