"""Autotask PSA: one queue for each webhook and type, in which an event that fails holds up those behind it."""

import asyncio
import base64
import hashlib
import hmac
import itertools
import json
import re
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, Final

from posthouse.core.time_format import rfc3339
from posthouse.drills.senders.books import Books, Event
from posthouse.drills.senders.dispatch import Dispatch, Manner, Parcel
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Request, Wire
from posthouse.providers.senders.autotask import PRESET

TYPES: Final = ("Ticket", "Company", "Contact", "TicketNote")
ACTIONS: Final = ("Create", "Update", "Delete")
_ESCAPED: Final = re.compile(r"""\\"|[&<>'`+]|[^\x00-\x7f]""")


class Autotask:
    """The webhooks of one Autotask.

    Args:
        url: of the receiver.
        secret: with which the webhooks were made.
        wire: to send through.
        pace: its time and chance.
        types: of what changes, in turn.
        webhooks: how many there are; each has its own queues, and is disabled by itself.
        escapes: sign the text as it was before the serializer made it more readable.
    """

    def __init__(
        self,
        url: str,
        secret: str,
        *,
        wire: Wire,
        pace: Pace,
        types: Sequence[str] = TYPES,
        webhooks: int = 1,
        escapes: bool = False,
    ) -> None:
        self.books = Books()
        self._url = url
        self._secret = secret.encode()
        self._pace = pace
        self._types = types
        self._escapes = escapes
        self._guids = [pace.identity() for _ in range(webhooks)]
        manner = Manner(rules=PRESET.sender)
        self._dispatches = {guid: Dispatch(manner, wire=wire, pace=pace, books=self.books) for guid in self._guids}
        self._sequence = {guid: itertools.count(1) for guid in self._guids}
        self._made = 0

    @property
    def disabled(self) -> list[str]:
        """The webhooks that Autotask has switched off, by their Guid."""
        return [guid for guid, dispatch in self._dispatches.items() if dispatch.gave_up]

    async def run(self, total: int, rate: float) -> None:
        """Send so many events; returns when each is delivered or lost."""
        queues: defaultdict[tuple[str, str], asyncio.Queue[Parcel | None]] = defaultdict(asyncio.Queue)
        async with asyncio.TaskGroup() as group:
            async for _ in self._pace.due(total, rate):
                guid, kind, parcel = self._make()
                if (guid, kind) not in queues:
                    group.create_task(self._work(queues[guid, kind], self._dispatches[guid]))
                queues[guid, kind].put_nowait(parcel)
            for queue in queues.values():
                queue.put_nowait(None)

    async def _work(self, queue: "asyncio.Queue[Parcel | None]", dispatch: Dispatch) -> None:
        while (parcel := await queue.get()) is not None:
            await dispatch.ship(parcel)

    def _make(self) -> tuple[str, str, Parcel]:
        """One thing changes: whose queue its event waits in."""
        guid = self._guids[self._made % len(self._guids)]
        kind = self._types[self._made // len(self._guids) % len(self._types)]
        self._made += 1
        action = self._pace.chance.choice(ACTIONS)
        said: dict[str, Any] = {
            "Action": action,
            "Guid": guid,
            "EntityType": kind,
            "Id": 100_000 + self._made,
            "Fields": {"Title": f"R&D <{kind}> Zoë's no. {self._made}"},
            "EventTime": rfc3339(self._pace.now_ms()),
            "SequenceNumber": next(self._sequence[guid]),
            "PersonId": 30_691_780,
        }
        text = json.dumps(said, ensure_ascii=False, separators=(",", ":"))
        identity = "/".join(str(said[key]) for key in ("Guid", "EntityType", "Id", "Action", "EventTime"))
        identity += f"/{said['SequenceNumber']}"
        event = Event(key=identity, type=f"{kind}.{action}", data=text.encode(), identity=identity)
        self.books.open(event.key, event.type)
        signed = _escaped(text) if self._escapes else text
        digest = hmac.new(self._secret, signed.encode(), hashlib.sha1).digest()
        headers = (
            ("Content-Type", "application/json"),
            ("X-Hook-Signature", "sha1=" + base64.b64encode(digest).decode()),
        )
        request = Request(self._url, headers, event.data)
        return guid, kind, Parcel((event,), lambda _: request)


def _escaped(text: str) -> str:
    """The JSON as Autotask's serializer makes it first. Outside of its strings it has none of these characters."""

    def write(found: re.Match[str]) -> str:
        units = found[0].removeprefix("\\").encode("utf-16-be").hex().upper()
        return "".join(f"\\u{units[at : at + 4]}" for at in range(0, len(units), 4))

    return _ESCAPED.sub(write, text)
