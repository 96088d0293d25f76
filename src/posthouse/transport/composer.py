"""Writes requests: a URL and headers become the bytes on the connection, and nothing else can.

Everything that frames a request is written here and by nobody else: a header can neither end early nor
name one of the framing headers, so one request can never be read as two.
"""

import re
from typing import Final

from posthouse.core.errors import InvalidInput
from posthouse.core.url import DEFAULT_PORTS, Target, parse_target
from posthouse.transport.link import Origin
from posthouse.transport.outcome import unsendable

#: Names that only this module writes, or that must not be sent at all.
RESERVED: Final = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)

_CACHED_MAX: Final = 4_096
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")  # a token of RFC 9110
_VALUE: Final = re.compile(r"[\t\x20-\x7e]*")


class Route:
    """Where a URL leads, ready for use.

    Attributes:
        target: scheme, host, port and path.
        origin: what connections are shared by.
        start: the request line behind the method, and the Host header.
    """

    __slots__ = ("origin", "start", "target")

    def __init__(self, target: Target) -> None:
        host = f"[{target.host}]" if ":" in target.host else target.host
        if target.port != DEFAULT_PORTS[target.scheme]:
            host = f"{host}:{target.port}"
        self.target = target
        self.origin: Origin = (target.scheme, target.host, target.port)
        self.start = f" {target.path} HTTP/1.1\r\nHost: {host}\r\n"


class Composer:
    """Composes requests; remembers the URLs and the sets of header names that it has seen, up to a bound.

    Args:
        user_agent: of requests whose headers name none.
    """

    def __init__(self, user_agent: str) -> None:
        self._defaults = {"User-Agent": user_agent, "Accept": "*/*", "Accept-Encoding": "identity"}
        self._routes: dict[str, Route] = {}
        self._templates: dict[tuple[str, ...], str] = {}

    def route(self, url: str) -> Route:
        """Where ``url`` leads. Raises Failed if it is not one that may be called."""
        route = self._routes.get(url)
        if route is None:
            try:
                route = Route(parse_target(url))
            except InvalidInput as error:
                raise unsendable(error.message) from None
            _make_room(self._routes)
            self._routes[url] = route
        return route

    def compose(self, route: Route, headers: dict[str, str], body: bytes, method: str = "POST") -> bytes:
        """The whole request. ``method`` is a token. Of names that differ in case only, the last one counts.

        Raises Failed if a name or value could be read as anything else than one header.
        """
        names = tuple(headers)
        template = self._templates.get(names)
        if template is None:
            template = self._template(names)
            _make_room(self._templates)
            self._templates[names] = template
        values = tuple(headers.values())
        text = "".join(values)
        if not (text.isascii() and text.isprintable()):
            _check_values(headers)
        head = f"{method}{route.start}{template % values}Content-Length: {len(body)}\r\n\r\n"
        return head.encode("ascii") + body

    def _template(self, names: tuple[str, ...]) -> str:
        """The header lines with a place for each value; a value that does not count is shown with no characters."""
        for name in names:
            if _NAME.fullmatch(name) is None:
                raise unsendable("a header has a name that is not valid.")
            if name.lower() in RESERVED:
                raise unsendable(f"the header {name} is not for the caller to set.")
        last = {name.lower(): name for name in names}
        lines = [f"{name.replace('%', '%%')}: %s\r\n" if last[name.lower()] == name else "%.0s" for name in names]
        lines += [
            f"{name}: {value.replace('%', '%%')}\r\n"
            for name, value in self._defaults.items()
            if name.lower() not in last
        ]
        return "".join(lines)


def _check_values(headers: dict[str, str]) -> None:
    for name, value in headers.items():
        if _VALUE.fullmatch(value) is None:
            raise unsendable(f"the header {name} holds a character that is not allowed in a header.")


def _make_room(cache: dict[str, Route] | dict[tuple[str, ...], str]) -> None:
    """Forget everything once the bound is reached: what is in use comes back at once."""
    if len(cache) >= _CACHED_MAX:
        cache.clear()
