"""A reader of the feed: goes on from page to page through whatever happens to the node, and never looks back."""

import asyncio
from collections.abc import Callable
from typing import Final
from urllib.parse import urlencode

from posthouse.testing.simulation.api_client import ApiClient
from posthouse.testing.simulation.plan import Plan, generator
from posthouse.testing.simulation.records import FeedPageRecord, Outcome, Records

_PATIENCE: Final = 8.0
_LIMITS: Final = (1, 3, 50, 1_000)
_PAUSE_MAX: Final = 4.0


class FeedReader:
    """Reads all of the feed, from its first event on.

    Args:
        plan: whose chance it has.
        api: sends and writes down.
        records: get each page that was answered, and each refusal of a cursor that was good.
        over: whether the history is over.
    """

    def __init__(self, plan: Plan, api: ApiClient, records: Records, over: Callable[[], bool]) -> None:
        self._api = api
        self._records = records
        self._over = over
        self._chance = generator(plan.seed, "feed")
        self._cursor: str | None = None
        self._loop = asyncio.get_running_loop()

    async def run(self) -> None:
        """Read until the history is over."""
        while not self._over():
            if not await self._read(wait=self._chance.choice((0, 0, 3))):
                await asyncio.sleep(self._chance.uniform(0.05, _PAUSE_MAX))

    async def finish(self) -> None:
        """Read to the end, if the node answers."""
        while await self._read(wait=0):
            pass

    async def _read(self, *, wait: int) -> bool:
        """One page; whether there is more at once."""
        given = {"limit": self._chance.choice(_LIMITS), "wait": wait, "cursor": self._cursor}
        query = urlencode({name: value for name, value in given.items() if value is not None})
        call = await self._api.ask("GET", f"/v1/feed?{query}", patience=_PATIENCE)
        if call.code == "feed_cursor_gone":
            self._records.find("I18 feed", f"a cursor of the feed was refused: {call.answer['detail']}", call.ended_at)
            self._cursor = call.answer["errors"][0]["cursor"]
        if call.outcome is not Outcome.DONE:
            return False
        page = call.answer
        events = [(event["tenant"], event["id"]) for event in page["data"]]
        self._records.feed.append(FeedPageRecord(call.sent_at, self._loop.time(), events, page["more"]))
        self._records.counts["events on the feed"] += len(events)
        self._cursor = page["next_cursor"]
        return bool(page["more"])
