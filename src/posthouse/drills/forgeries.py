"""Requests of somebody who knows the URL of a source and no secret, and of somebody who heard a request pass by."""

import asyncio
import base64
import hashlib
import hmac
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Final, Self

import msgspec

from posthouse.core.signature import ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER, Signer
from posthouse.drills.senders.local_server import LOOPBACK
from posthouse.drills.senders.wire import Request

EVENT_TYPE: Final = "signed.event"  #: of :class:`Signed`
OLD_SECONDS: Final = 600  #: older than any timestamp may be
_GOCARDLESS_HEADER: Final = "Webhook-Signature"
_CALLBACK_HEADER: Final = "x-content-signature"


class Trap:
    """Listens where nobody may call, and counts who does. On the loop on which it is entered."""

    def __init__(self) -> None:
        self.port = 0
        self.connections = 0
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._caught, LOOPBACK, 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.close()

    async def _caught(self, _: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        writer.close()


def blocked_urls(trap: int, allowed: str) -> list[str]:
    """Addresses of keys that nobody may fetch.

    Args:
        trap: the port of a trap on this machine.
        allowed: host and port where keys do stand.
    """
    return [
        "http://169.254.169.254/latest/meta-data",
        "https://169.254.169.254/latest/meta-data",
        "https://[::ffff:169.254.169.254]/latest/meta-data",
        "https://2852039166/latest/meta-data",
        "https://metadata.google.internal/computeMetadata/v1",
        "file:///etc/passwd",
        f"http://{LOOPBACK}:{trap}/key",
        f"https://{LOOPBACK}:{trap}/key",
        f"https://localhost:{trap}/key",
        f"https://127.1:{trap}/key",
        f"https://2130706433:{trap}/key",
        f"https://0x7f000001:{trap}/key",
        f"https://[::ffff:{LOOPBACK}]:{trap}/key",
        f"https://{allowed}@{LOOPBACK}:{trap}/key",
        f"https://{LOOPBACK}:{trap}/{allowed}/key",
        f"https://{LOOPBACK}:{trap}/key?{allowed}",
        f"https://{LOOPBACK}:{trap}/key#{allowed}",
        f"https://{allowed}\\@{LOOPBACK}:{trap}/key",
        f"http://{allowed}/key",
        f"https://{allowed}.example.com/key",
        f"https://na.myconnectwise.net:{trap}/key",
        f"https://na.myconnectwise.net@{LOOPBACK}:{trap}/key",
        "https://na.myconnectwise.net.example.com/key",
    ]


def without_the_secret(genuine: Request) -> Iterator[Request]:
    """What somebody makes of a request of GoCardless who does not know the secret."""
    given = next(value for name, value in genuine.headers if name == _GOCARDLESS_HEADER)
    yield _signed(genuine, _digest(b"a guess", genuine.body))
    yield _signed(genuine, _digest(b"", genuine.body))
    yield _signed(genuine, hashlib.sha256(genuine.body).hexdigest())
    yield _signed(genuine, given[: len(given) // 2])
    yield _signed(genuine, "")
    yield _signed(genuine, "0" * len(given))
    yield _signed(genuine, None)
    yield msgspec.structs.replace(genuine, body=genuine.body + b" ")
    yield msgspec.structs.replace(genuine, body=genuine.body.replace(b'"action":"', b'"action":"x', 1))


def _signed(request: Request, signature: str | None) -> Request:
    kept = tuple(header for header in request.headers if header[0] != _GOCARDLESS_HEADER)
    added = () if signature is None else ((_GOCARDLESS_HEADER, signature),)
    return msgspec.structs.replace(request, headers=(*kept, *added))


def _digest(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


# -- a sender that signs an id and a time ----------------------------------------------------------


class Signed:
    """Requests of a sender that keeps to Standard Webhooks.

    Args:
        url: of the receiver.
        secret: ``whsec_…``.
    """

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._signer = Signer([secret])

    def request(self, number: int, *, age_s: int = 0, message_id: str | None = None) -> Request:
        """One event, genuine if it is of now."""
        body = msgspec.json.encode({"type": EVENT_TYPE, "number": number})
        headers = self._signer.headers(message_id or f"msg_{number}", int(time.time()) - age_s, body)
        return Request(self._url, (("Content-Type", "application/json"), *headers.items()), body)

    def replayed(self, heard: Request, number: int) -> Sequence[Request]:
        """What somebody makes of a request that passed by; each must be refused.

        ``number``: of an event that never was, from which a second one upwards may be taken.
        """
        old = self.request(number, age_s=OLD_SECONDS)
        early = self.request(number + 1, age_s=-OLD_SECONDS)
        other = self.request(number + 2).body
        return [
            old,
            early,
            _with(old, TIMESTAMP_HEADER, lambda _: str(int(time.time()))),
            _with(heard, ID_HEADER, lambda value: value + "x"),
            _with(heard, TIMESTAMP_HEADER, lambda value: str(int(value) + 1)),
            _with(heard, SIGNATURE_HEADER, lambda value: value.replace("v1,", "v1a,")),
            msgspec.structs.replace(heard, body=other),
        ]


def _with(request: Request, name: str, change: Callable[[str], str]) -> Request:
    headers = tuple((key, change(value) if key == name else value) for key, value in request.headers)
    return msgspec.structs.replace(request, headers=headers)


# -- a sender whose keys are fetched ---------------------------------------------------------------


def with_key_at(genuine: Request, key_url: str, key: str) -> Request:
    """The same callback of ConnectWise, whose key is said to stand there, signed with this key."""
    callback = msgspec.json.decode(genuine.body)
    callback["Metadata"]["key_url"] = key_url
    return with_key(msgspec.structs.replace(genuine, body=msgspec.json.encode(callback)), key)


def with_key(genuine: Request, key: str) -> Request:
    """The same callback of ConnectWise, signed with another key."""
    digest = hmac.new(hashlib.sha256(key.encode()).digest(), genuine.body, hashlib.sha256).digest()
    kept = tuple(header for header in genuine.headers if header[0] != _CALLBACK_HEADER)
    headers = (*kept, (_CALLBACK_HEADER, base64.b64encode(digest).decode()))
    return msgspec.structs.replace(genuine, headers=headers)
