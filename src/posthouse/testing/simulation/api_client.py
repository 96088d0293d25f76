"""A client of the node's API on the simulated network: sends one request at a time, and writes down what came of it."""

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

from posthouse.testing.simulation.http_client import Doors, NoAnswer
from posthouse.testing.simulation.records import Call, Outcome, Records

#: Problems after which nobody knows whether the request was done.
_UNCLEAR: Final = frozenset({"store_unavailable", "internal_error"})


class ApiClient:
    """Sends requests with the key that the node gave out.

    Args:
        doors: where to send.
        records: get every call.
        api_key: the key as it is now, or None while there is none yet.
    """

    def __init__(self, doors: Doors, records: Records, api_key: Callable[[], str | None]) -> None:
        self._doors = doors
        self._records = records
        self._api_key = api_key
        self._loop = asyncio.get_running_loop()

    def begin(self, method: str, path: str, body: bytes = b"", *, key: str | None = None) -> Call:
        """A call that is about to be sent."""
        call = Call(method, path, self._loop.time(), body, key, node=self._doors.choose())
        self._records.calls.append(call)
        return call

    async def finish(self, call: Call, *, patience: float) -> None:
        """Send it, and wait for its outcome, at most so many seconds."""
        call.patience = patience
        headers = [("Authorization", f"Bearer {self._api_key() or 'none'}")]
        if call.body:
            headers.append(("Content-Type", "application/json"))
        if call.key is not None:
            headers.append(("Idempotency-Key", call.key))
        try:
            answer = await self._doors[call.node].request(call.method, call.path, headers, call.body, patience)
        except NoAnswer as error:
            call.outcome = Outcome.UNKNOWN if error.sent else Outcome.UNSENT
        else:
            call.status = answer.status
            call.answer = json.loads(answer.body) if answer.body else None
            if 200 <= answer.status < 300:
                call.outcome = Outcome.DONE
            else:
                call.code = call.answer["code"]
                call.outcome = Outcome.UNKNOWN if call.code in _UNCLEAR else Outcome.REFUSED
        call.ended_at = self._loop.time()
        kind = call.path.split("?")[0].split("/")[2] if call.path.startswith("/v1/") else call.path
        self._records.counts[f"api {call.method} {kind} {call.status or call.outcome}"] += 1

    async def ask(
        self, method: str, path: str, document: Any = None, *, key: str | None = None, patience: float = 5.0
    ) -> Call:
        """Begin and finish."""
        call = self.begin(method, path, b"" if document is None else json.dumps(document).encode(), key=key)
        await self.finish(call, patience=patience)
        return call
