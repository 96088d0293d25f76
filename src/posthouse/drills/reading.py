"""Reading deliveries from the API, in lists and one by one, each compared with what its receiver has seen.

All of it runs on the drill's background loop, where the receivers run too, so facts hold still while
they are looked at.
"""

import asyncio
import time
from collections.abc import Collection, Iterable
from typing import Final
from urllib.parse import urlencode

import msgspec

from posthouse.core.limits import PAGE_ITEMS_MAX
from posthouse.drills.honesty import Facts, Shown, ShownAlone, at_rest, fault_of
from posthouse.drills.line import Line
from posthouse.drills.plan import DrillFailed
from posthouse.drills.receivers import Inbox
from posthouse.sdk.client import segment

READERS: Final = 4  #: connections that read side by side
PAUSE_SECONDS: Final = 0.3  #: between two looks while things happen
SINGLES: Final = 20  #: deliveries that such a look asks for one by one, about
FAULTS_KEPT: Final = 20
OK: Final = 200


class _Page(msgspec.Struct):
    data: list[Shown]
    next_cursor: str | None


_decode_page: Final = msgspec.json.Decoder(_Page).decode
_decode_one: Final = msgspec.json.Decoder(ShownAlone).decode


class Reader:
    """Reads and compares.

    Args:
        url: the node.
        api_key: of the node.
        tenant: whose deliveries.
        inboxes: the receivers of all its endpoints.
    """

    def __init__(self, url: str, api_key: str, tenant: str, inboxes: Collection[Inbox]) -> None:
        self._url = url
        self._api_key = api_key
        self._tenant = tenant
        self._inboxes = {inbox.endpoint: inbox for inbox in inboxes}
        self._stopped = False
        self.paused: Collection[str] = ()  #: endpoints that are paused
        self.faults: list[str] = []  #: what was shown wrongly, the first few
        self.at_rest = 0  #: reads of a delivery to which nothing happened meanwhile
        self.wrong_at_rest = 0  #: of those, how many showed it wrongly
        self.in_motion = 0  #: reads of a delivery to which something happened
        self.wrong_in_motion = 0

    async def lists(self) -> dict[str, Shown]:
        """Read all deliveries from lists, and compare; what was shown, by id."""
        line = self._new_line()
        try:
            found, cursor = await self._page(line, None)
            while cursor is not None:
                more, cursor = await self._page(line, cursor)
                found |= more
        finally:
            line.close()
        return found

    async def singles(self, listed: Iterable[Shown]) -> dict[str, ShownAlone]:
        """Read these deliveries one by one, and compare; what was shown, by id."""
        found: dict[str, ShownAlone] = {}
        rest = iter(listed)

        async def work() -> None:
            line = self._new_line()
            try:
                for shown in rest:
                    before, asked_at = self._facts(shown), time.monotonic()
                    alone = _decode_one(await _answer(line, "GET", f"/v1/deliveries/{segment(shown.id)}"))
                    self._compare(alone, before, asked_at)
                    found[alone.id] = alone
            finally:
                line.close()

        await asyncio.gather(*(work() for _ in range(READERS)))
        return found

    async def retry(self, deliveries: Iterable[str]) -> None:
        """Ask for another attempt of each of these."""
        line = self._new_line()
        try:
            for delivery in deliveries:
                await _answer(line, "POST", f"/v1/deliveries/{segment(delivery)}/retry")
        finally:
            line.close()

    async def keep_reading(self) -> None:
        """Read the newest deliveries over and over until :meth:`stop`."""
        line = self._new_line()
        try:
            while not self._stopped:
                found, _ = await self._page(line, None)
                await self.singles(list(found.values())[:: max(1, len(found) // SINGLES)])
                await asyncio.sleep(PAUSE_SECONDS)
        finally:
            line.close()

    def stop(self) -> None:
        """End :meth:`keep_reading`."""
        self._stopped = True

    def _new_line(self) -> Line:
        return Line(self._url, self._api_key)

    async def _page(self, line: Line, cursor: str | None) -> tuple[dict[str, Shown], str | None]:
        """Read and compare one page; what it showed, and the cursor of the next one."""
        query = {"tenant": self._tenant, "limit": PAGE_ITEMS_MAX, **({} if cursor is None else {"cursor": cursor})}
        before = {
            endpoint: {event: Facts.of(seen) for event, seen in inbox.seen.items()}
            for endpoint, inbox in self._inboxes.items()
        }
        asked_at = time.monotonic()
        page = _decode_page(await _answer(line, "GET", f"/v1/deliveries?{urlencode(query)}"))
        for shown in page.data:
            self._compare(shown, before[shown.endpoint].get(shown.event, Facts()), asked_at)
        return {shown.id: shown for shown in page.data}, page.next_cursor

    def _compare(self, shown: Shown, before: Facts, asked_at: float) -> None:
        """Judge what was just shown."""
        after = self._facts(shown)
        rest = at_rest(before, after, asked_at=asked_at)
        fault = fault_of(shown, before, after, paused=shown.endpoint in self.paused, asked_at=asked_at)
        self.at_rest += rest
        self.in_motion += not rest
        if fault is not None:
            self.wrong_at_rest += rest
            self.wrong_in_motion += not rest
            if len(self.faults) < FAULTS_KEPT:
                self.faults.append(f"{shown.id}: {fault}")

    def _facts(self, shown: Shown) -> Facts:
        return Facts.of(self._inboxes[shown.endpoint].seen.get(shown.event))


async def _answer(line: Line, method: str, target: str) -> bytes:
    answer = await line.ask(method, target)
    if answer.status != OK:
        raise DrillFailed(f"{method} {target} was answered with {answer.status}: {answer.body[:300]!r}.")
    return answer.body
