"""What drills that break or deceive a node have in common: how senders are watched, and what is asked at the end."""

import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from posthouse.config import CONFIG_FILE
from posthouse.drills.ground import BOOKS_SECONDS, Ground
from posthouse.drills.http_client import Answer
from posthouse.drills.receivers import Inbox
from posthouse.drills.receiving import Entrance, SourceBooks
from posthouse.drills.report import Then
from posthouse.drills.senders.tls import Authority
from posthouse.drills.senders.wire import Failure, Request, Wire
from posthouse.sdk.client import segment

CA_FILE: Final = "simulated-authority.pem"  #: in the data directory
READ_SECONDS_MAX: Final = 120.0


class Exchange(NamedTuple):
    """One request of a sender, and what came of it."""

    began_at: float  #: monotonic
    ended_at: float
    result: int | Failure


class Watched:
    """A sender's wire, which remembers every request."""

    def __init__(self, wire: Wire) -> None:
        self.exchanges: list[Exchange] = []
        self._wire = wire

    async def send(self, request: Request, *, deadline_s: float, connect_s: float | None = None) -> Answer | Failure:
        """See :meth:`posthouse.drills.senders.wire.Wire.send`."""
        began_at = time.monotonic()
        got = await self._wire.send(request, deadline_s=deadline_s, connect_s=connect_s)
        result = got.status if isinstance(got, Answer) else got
        self.exchanges.append(Exchange(began_at, time.monotonic(), result))
        return got


def trust(ground: Ground, authority: Authority) -> None:
    """Start the drill's own node again with one more authority that it trusts, as its file of settings says."""
    node = ground.node
    node.stop()
    (node.data / CA_FILE).write_bytes(authority.pem)
    (node.data / CONFIG_FILE).write_text(f'ca_file = "{CA_FILE}"\n', "utf-8")
    node.start()


def all_source_books(ground: Ground) -> dict[str, SourceBooks]:
    """The books of each source that got anything, by its id, recounted by the node."""
    with ground.client() as client:
        audit = client.get("/v1/audit", {"tenant": ground.tenant})
    return {each["source"]: msgspec.convert(each, SourceBooks) for each in audit["sources"]}


def settle_entrances(ground: Ground) -> dict[str, SourceBooks]:
    """Wait until nothing waits to be read, and nothing to be delivered; the books of each source then, by its id."""
    deadline = time.monotonic() + READ_SECONDS_MAX
    while True:
        found = all_source_books(ground)
        is_settled = not sum(books.waiting for books in found.values()) and not ground.books().open
        if is_settled or time.monotonic() > deadline:
            return found
        ground.pause(BOOKS_SECONDS)


def contents(ground: Ground, inbox: Inbox) -> Counter[bytes]:
    """How many events with the same content, by its digest, were handled there."""
    return ground.background.call(lambda: Counter(seen.digest for seen in inbox.seen.values() if seen.answered))


def quarantined(ground: Ground, entrance: Entrance, *, resolved: bool = False) -> list[Mapping[str, Any]]:
    """What is in quarantine of a source, or has left it; newest first."""
    pages = ground.pages("/v1/quarantine", source=entrance.source, resolved=resolved)
    return [entry for page in pages for entry in page]


def reverify(ground: Ground, entrance: Entrance) -> int:
    """Check again all that was refused; how much of it was genuine."""
    changed, cursor = 0, None
    path = f"/v1/sources/{segment(entrance.source)}/reverify"
    with ground.client() as client:
        while True:
            step: Mapping[str, Any] = client.post(path, {"cursor": cursor})
            changed += int(step["changed"])
            cursor = step["next_cursor"]
            if cursor is None:
                return changed


def inbound_rules(ground: Ground, books: Iterable[SourceBooks], inboxes: Sequence[Inbox]) -> list[Then]:
    """What must hold at the end, whatever was sent."""
    books, delivering = list(books), ground.books()
    altered = ground.background.call(lambda: sum(inbox.forged + inbox.altered for inbox in inboxes))
    return [
        Then("requests that were kept and not read", sum(each.waiting for each in books), "=", 0),
        Then("difference in the books of sources", sum(each.imbalance for each in books), "=", 0),
        Then("deliveries that the node still owes", delivering.open, "=", 0),
        Then("difference in the node's books", delivering.imbalance, "=", 0),
        Then("deliveries that were altered, or whose signature is not valid", altered, "=", 0),
    ]
