"""What receivers ask a simulated ConnectWise: the keys of its callbacks, over https, and its lists."""

import re
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from posthouse.core.errors import InvalidInput
from posthouse.core.time_format import parse_rfc3339
from posthouse.drills.senders.connectwise import KEY_HOST, KEY_PATH, ConnectWise
from posthouse.drills.senders.local_server import LOOPBACK, NOT_FOUND, Call, LocalServer, Said
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.tls import Authority

PAGE_SIZE_DEFAULT: Final = 25
PAGE_SIZE_MAX: Final = 1_000
#: Where entities of a type are listed.
LISTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "/service/tickets": "ticket",
        "/schedule/entries": "schedule",
        "/company/companies": "company",
        "/company/contacts": "contact",
    }
)
_UPDATED: Final = re.compile(r"\(?\s*(?:_info/)?lastUpdated\s*(>=?)\s*\[([^\]]+)\]\s*\)?")


def key_server(
    sender: ConnectWise,
    authority: Authority,
    *,
    pace: Pace,
    host: str = LOOPBACK,
    port: int = 0,
    expires_s: float | None = None,
) -> LocalServer:
    """A server of this sender's keys, once it is entered.

    Args:
        sender: whose keys they are.
        authority: that vouches for the server, by the name of ConnectWise's own host too.
        pace: the sender's time.
        host: where it listens.
        port: 0 takes a free one.
        expires_s: for so long a key can be fetched, in the sender's time; None: for ever.
    """

    def answer(call: Call) -> Said:
        found = sender.keys.get(call.path.removeprefix(KEY_PATH)) if call.path.startswith(KEY_PATH) else None
        if found is None or (expires_s is not None and pace.elapsed_s() - found.made_at_s > expires_s):
            return NOT_FOUND
        found.fetched += 1
        return Said({"signing_key": found.key})

    return LocalServer(answer, host=host, port=port, tls=authority.server_context((host, "localhost", KEY_HOST)))


class ConnectWiseApi:
    """Answers lists as ConnectWise does; for a :class:`~posthouse.drills.senders.local_server.LocalServer`.

    Of ``conditions`` it knows one: ``(lastUpdated>[2024-04-11T00:00:00Z])``.
    """

    def __init__(self, sender: ConnectWise) -> None:
        self._sender = sender

    def __call__(self, call: Call) -> Said:
        """The answer to one call."""
        # The real lists stand below the release of the instance.
        path = next((path for path in LISTS if call.path.endswith(path)), None)
        if call.method != "GET" or path is None:
            return NOT_FOUND
        try:
            size, page = int(call.query.get("pageSize", PAGE_SIZE_DEFAULT)), int(call.query.get("page", 1))
            found = self._found(LISTS[path], call.query.get("conditions"))
        except (ValueError, InvalidInput):
            return _refused("The conditions or the page cannot be read.")
        if not 1 <= size <= PAGE_SIZE_MAX or page < 1:
            return _refused("The page is out of range.")
        shown = found[(page - 1) * size : page * size]
        more = page * size < len(found)
        link = (("Link", f'<{call.path}?pageSize={size}&page={page + 1}>; rel="next"'),) if more else ()
        return Said(shown, headers=link)

    def _found(self, kind: str, conditions: str | None) -> list[dict[str, Any]]:
        entities = [entity for _, entity in sorted(self._sender.entities[kind].items())]
        if conditions is None:
            return entities
        condition = _UPDATED.fullmatch(conditions.strip())
        if condition is None:
            raise ValueError(conditions)
        since = parse_rfc3339(condition[2])
        if condition[1] == ">":
            since += 1
        return [entity for entity in entities if parse_rfc3339(entity["_info"]["lastUpdated"]) >= since]


def _refused(text: str) -> Said:
    return Said({"code": "InvalidObject", "message": text}, HTTPStatus.BAD_REQUEST)
