"""One life of a node, from its start to its stop or its sudden end."""

import asyncio
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, cast
from urllib.parse import urlencode

from posthouse.config import Config
from posthouse.core.address import AddressPolicy
from posthouse.core.failpoints import Failpoint
from posthouse.core.ports import Entropy
from posthouse.node import Node, Ports
from posthouse.serving.server import ApiServer
from posthouse.store.open import open_store
from posthouse.store.protocol import Store
from posthouse.testing.histories.still_loop import StillLoop
from posthouse.testing.histories.wire import Answer, Wire, read_answers
from posthouse.testing.manual_clock import ManualClock
from posthouse.transport.protocol import Transport

#: What a process that is killed leaves: the database and its log. The rest is made anew.
_LEFT_BEHIND: Final = ("posthouse.db", "posthouse.db-wal")


class Death:
    """Ends a life at the n-th boundary (``core.failpoints``) that it reaches, if it comes that far.

    What the process has written by then is copied; what it does afterwards leaves no trace.
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._left = -1
        self._image = directory
        #: Whether the life has ended.
        self.has_come = False
        #: What the caller had heard by then.
        self.heard: Callable[[], bytes] = bytes
        self.last_words = b""
        #: The boundary at which it ended, if it was one.
        self.at: Failpoint | None = None

    def __call__(self, failpoint: Failpoint) -> None:
        """A boundary is reached."""
        if self._left == 0 and not self.has_come:
            self.come(self._image)
            self.at = failpoint
        self._left -= 1

    def wait(self, image: Path, boundaries: int) -> None:
        """End the life behind so many boundaries; what it wrote goes to the new directory ``image``."""
        self._image = image
        self._left = boundaries

    def spare(self) -> None:
        """Let it live, if it does."""
        self._left = -1

    def come(self, image: Path) -> None:
        """End the life here."""
        image.mkdir()
        for name in _LEFT_BEHIND:
            if (self._directory / name).exists():
                shutil.copyfile(self._directory / name, image / name)
        self.has_come = True
        self.last_words = self.heard()


class Life:
    """A node with its store, server and one caller's connection, on a loop of its own.

    Args:
        directory: the store's.
        clock: the world's.
        entropy: the world's.
        transport: leads to the receivers.
        death: where to end, if at all.
        settings: of the node's configuration.

    Attributes:
        first_key: text of the first API key; of a new store only.
    """

    def __init__(
        self,
        directory: Path,
        *,
        clock: ManualClock,
        entropy: Entropy,
        transport: Transport,
        death: Death,
        **settings: Any,
    ) -> None:
        self.first_key: str | None = None
        self.death = death
        self._loop = StillLoop(clock)
        self._node, self._server = self._loop.run(self._begin(directory, clock, entropy, transport, settings))
        self._wire: Wire | None = None

    async def _begin(
        self, directory: Path, clock: ManualClock, entropy: Entropy, transport: Transport, settings: dict[str, Any]
    ) -> tuple[Node, ApiServer]:
        async def resolve(host: str) -> list[str]:
            raise OSError(host)

        store: Store = await open_store(
            directory, clock=clock, commit_interval_ms=0, offload=_elsewhere, reach=self.death
        )
        ports = Ports(
            clock=clock,
            entropy=entropy,
            store=store,
            transport=transport,
            policy=AddressPolicy(),
            resolve=resolve,
            reach=self.death,
        )
        node = Node(Config(**settings), ports, key_floor=await store.admin.key_floor())
        await node.start(keep_first_key=self._keep)
        server = ApiServer(node.app, clock)
        await server.start("127.0.0.1", 0)
        return node, server

    # -- what the world does with it --------------------------------------------------------------

    def ask(
        self,
        method: str,
        path: str,
        *,
        key: str,
        body: object = None,
        query: Mapping[str, object] | None = None,
        idempotency_key: str | None = None,
    ) -> Answer | None:
        """Ask the API on the connection that is kept alive; None if the life ended before it had answered."""
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        target = f"{path}?{urlencode(query)}" if query else path
        lines = [f"{method} {target} HTTP/1.1", "Host: posthouse", f"Authorization: Bearer {key}"]
        if body is not None:
            lines += ["Content-Type: application/json", f"Content-Length: {len(content)}"]
        if idempotency_key is not None:
            lines.append(f"Idempotency-Key: {idempotency_key}")
        wire = self._connected()
        before = len(wire.written)
        self.death.heard = lambda: bytes(wire.written[before:])
        wire.feed("\r\n".join([*lines, "", ""]).encode() + content)
        self._loop.settle()
        heard = self.death.last_words if self.death.has_come else self.death.heard()
        answers, rest = read_answers(heard)
        if self.death.has_come and not answers:
            return None
        assert (len(answers), rest) == (1, b""), f"{method} {target}: {heard!r}"
        return answers[0]

    def say(self, pieces: Sequence[bytes], *, hangs_up: bool = False) -> Wire:
        """Say anything on a connection of its own, each piece when the one before has done all it can.

        With ``hangs_up`` the caller closes its half at the end.
        """
        wire = self._loop.run(self._connect())
        for piece in pieces:
            wire.feed(piece)
            self._loop.settle()
        if hangs_up:
            wire.hang_up()
            self._loop.settle()
        return wire

    def settle(self) -> None:
        """Let happen whatever can happen now."""
        self._loop.settle()

    def stop(self, *, drain_seconds: float = 0, meanwhile: Callable[[], None] | None = None) -> None:
        """End as a process does that got a signal; ``meanwhile`` is called once it waits for receivers.

        A dead one leaves no trace.
        """
        ending = self._loop.create_task(self._end(drain_seconds))
        self._loop.settle()
        if meanwhile is not None:
            meanwhile()
            self._loop.settle()
        assert ending.done(), "a stop waits for something that cannot happen"
        ending.result()
        self._loop.close()

    # -- inside -----------------------------------------------------------------------------------

    async def _end(self, drain_seconds: float) -> None:
        await self._server.stop(grace_seconds=0)
        await self._node.stop(drain_seconds=drain_seconds)

    def _connected(self) -> Wire:
        if self._wire is None or self._wire.closed:
            self._wire = self._loop.run(self._connect())
        return self._wire

    async def _connect(self) -> Wire:
        assert self._loop.accept is not None
        return Wire(self._loop, cast("asyncio.Protocol", self._loop.accept()))

    def _keep(self, text: str) -> None:
        self.first_key = text


async def _elsewhere(call: Any) -> Any:
    """Run a blocking call of the store; others get their turn before and after it, as with a thread."""
    await asyncio.sleep(0)
    result = call()
    await asyncio.sleep(0)
    return result
