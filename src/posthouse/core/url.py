"""The URL of an endpoint, read so strictly that no two programs can read it differently."""

import re
from collections.abc import Mapping
from ipaddress import IPv6Address, ip_address
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import URL_CHARS_MAX

DEFAULT_PORTS: Final[Mapping[str, int]] = MappingProxyType({"http": 80, "https": 443})

_PORT_MAX: Final = 65_535
_HOST_CHARS_MAX: Final = 253
_NOT_VISIBLE: Final = re.compile(r"[\x00-\x20\x7f]")
_PARTS: Final = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)([/?].*)?")
_AUTHORITY: Final = re.compile(r"(\[[^\[\]]*\]|[^\[\]:]*)(?::(.*))?")
_PORT: Final = re.compile(r"[1-9][0-9]{0,4}")
_LABEL: Final = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME: Final = re.compile(rf"{_LABEL}(?:\.{_LABEL})*")
#: A last label of digits, or 0x and hexadecimal digits: the URL standard then takes the host for an IPv4 address.
_NUMERIC: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")


class Target(msgspec.Struct, frozen=True, gc=False):
    """Where a URL leads."""

    scheme: str  #: ``http`` or ``https``
    host: str  #: a lower-case name without trailing dot, or an address in its canonical form without brackets
    port: int  #: 1..65535, the scheme's default if the URL has none
    path: str  #: with the query, as sent in the request line; starts with ``/``
    is_address: bool  #: whether ``host`` is an address and not a name


def literal_address(target: Target) -> str | None:
    """The address that the URL names, or None if it names a host that must be resolved."""
    return target.host if target.is_address else None


def parse_target(url: str) -> Target:
    """Read the URL of an endpoint.

    Raises:
        InvalidInput: with one error at ``url``, for everything that some parser might read otherwise:
            other schemes, credentials, fragments, backslashes, whitespace, control characters and
            characters outside ASCII, percent signs in the host, numbers that only some resolvers take
            for addresses, zone ids, ports outside 1..65535.
    """
    _check_characters(url)
    if "#" in url:
        raise _refused("url_fragment", "A URL to deliver to has no fragment.", "Remove '#' and what follows it.")
    parts = _PARTS.fullmatch(url)
    if parts is None or parts[1].lower() not in DEFAULT_PORTS:
        raise _refused("url_scheme", "The URL does not start with http:// or https://.", "Use an https:// URL.")
    scheme, authority, path = parts[1].lower(), parts[2], parts[3] or "/"
    if "@" in authority:
        raise _refused(
            "url_credentials",
            "The URL holds a user name or password.",
            "Send credentials in one of the endpoint's headers.",
        )
    if "%" in authority:
        raise _refused("url_host", "The host holds a percent sign.", "Write the host name or address plainly.")
    split = _AUTHORITY.fullmatch(authority)
    if split is None:
        raise _refused("url_host", "The host is not a name or an address.", "Put an IPv6 address into [brackets].")
    host, is_address = _parse_host(split[1].lower())
    port = DEFAULT_PORTS[scheme] if split[2] is None else _parse_port(split[2])
    return Target(scheme, host, port, path if path.startswith("/") else "/" + path, is_address)


def _check_characters(url: str) -> None:
    if not url:
        raise _refused("url_missing", "The URL is empty.", "Use an https:// URL.")
    if len(url) > URL_CHARS_MAX:
        raise _refused("url_too_long", f"The URL is longer than {URL_CHARS_MAX} characters.", "Use a shorter URL.")
    if not url.isascii():
        raise _refused(
            "url_not_ascii",
            "The URL holds a character outside ASCII.",
            "Write the host in Punycode (xn--…) and escape other characters with percent signs.",
        )
    if _NOT_VISIBLE.search(url) is not None:
        raise _refused(
            "url_characters", "The URL holds whitespace or a control character.", "Escape it with a percent sign."
        )
    if "\\" in url:
        raise _refused("url_characters", "The URL holds a backslash.", "Use / in the path, or escape it as %5C.")


def _parse_host(text: str) -> tuple[str, bool]:
    """The canonical host, and whether it is an address."""
    if not text:
        raise _refused("url_host", "The URL has no host.", "Use a URL such as https://example.com/webhooks.")
    if text.startswith("["):
        try:
            return str(IPv6Address(text[1:-1])), True
        except ValueError as error:
            raise _refused(
                "url_host", "What stands in brackets is not an IPv6 address.", "Check the address."
            ) from error
    name = text.removesuffix(".")
    if _NUMERIC.fullmatch(name.rpartition(".")[2]) is not None:
        if not _is_ipv4(text):
            raise _refused(
                "url_host",
                "The host is a number that is not a plain IPv4 address.",
                "Use four decimal numbers, as 192.0.2.1.",
            )
        return text, True
    if len(name) > _HOST_CHARS_MAX or _NAME.fullmatch(name) is None:
        raise _refused("url_host", "The host is not a valid name.", "Use letters, digits, hyphens and dots.")
    return name, False


def _is_ipv4(text: str) -> bool:
    try:
        return str(ip_address(text)) == text
    except ValueError:
        return False


def _parse_port(text: str) -> int:
    if _PORT.fullmatch(text) is None or int(text) > _PORT_MAX:
        raise _refused(
            "url_port", f"The port is not a number from 1 to {_PORT_MAX}.", "Leave the port out, or correct it."
        )
    return int(text)


def _refused(code: str, message: str, hint: str) -> InvalidInput:
    return InvalidInput.at("url", code, message, hint=hint)
