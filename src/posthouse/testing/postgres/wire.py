"""A connection that answers as a test says."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any

import asyncpg

from posthouse.store.postgres.dial import Answer


class Held(Exception):
    """In a script: the answer comes when the test lets it come."""


class ScriptedWire:
    """A ``dial.Wire`` whose answers are scripted by statement; what has no script is answered with no rows.

    A script is what to raise, or what to answer: rows, or for a command its tag. ``warn`` adds a notice to the next
    answer. What is asked is noted in ``asked``, commands in capitals as they are.
    """

    def __init__(self, name: str = "test", pid: int = 1) -> None:
        self.name = name
        self.pid = pid
        self.local = ""
        self.lost = False
        self.asked: list[str] = []
        self.arguments: list[tuple[object, ...]] = []
        self.forgotten = 0
        self.held: asyncio.Future[None] | None = None  #: what is under way and waits for :meth:`let_go`
        self._scripts: dict[str, list[Any]] = {}
        self._notices: dict[str, list[str]] = {}
        self._warnings: list[str] = []
        self._told: list[Callable[[], None]] = []

    def script(self, name: str, *answers: Any) -> None:
        """What a statement or command is answered with, one after the other."""
        self._scripts.setdefault(name, []).extend(answers)

    def warn(self, name: str, notice: str) -> None:
        """A notice that comes with the next answer to it."""
        self._notices.setdefault(name, []).append(notice)

    def let_go(self) -> None:
        """Let the answer come that is held."""
        assert self.held is not None
        self.held.set_result(None)

    def break_off(self) -> None:
        """The connection ends, and what is under way with it."""
        self.lost = True
        if self.held is not None and not self.held.done():
            self.held.set_exception(asyncpg.ConnectionDoesNotExistError("closed in the middle of an operation"))
        for told in self._told:
            told()

    # -- what a lane sees -------------------------------------------------------------------------

    async def ask(self, name: str, args: Sequence[object]) -> Answer:
        """The scripted answer."""
        self.arguments.append(tuple(args))
        rows = await self._answer(name, [])
        return Answer(rows, f"SELECT {len(rows)}")

    async def command(self, text: str) -> str:
        """The scripted tag, or the command itself."""
        tag: str = await self._answer(text, text)
        return tag

    def warnings(self) -> list[str]:
        """Notices since it was asked last."""
        found, self._warnings = self._warnings, []
        return found

    def forget_statements(self) -> None:
        """Counted."""
        self.forgotten += 1

    def when_lost(self, told: Callable[[], None]) -> None:
        """Call ``told`` when the connection ends."""
        self._told.append(told)

    def terminate(self) -> None:
        """End it."""
        if not self.lost:
            self.asked.append("terminate")
            self.break_off()

    async def close(self) -> None:
        """End it politely."""
        self.asked.append("close")
        self.lost = True

    async def _answer(self, name: str, default: Any) -> Any:
        self.asked.append(name)
        scripted = self._scripts.get(name)
        answer = scripted.pop(0) if scripted else default
        if answer is Held:
            self.held = asyncio.get_running_loop().create_future()
            await self.held
            answer = default
        else:
            await asyncio.sleep(0)
        self._warnings.extend(self._notices.pop(name, []))
        if isinstance(answer, BaseException):
            if isinstance(answer, asyncpg.ConnectionDoesNotExistError | OSError):
                self.break_off()
            raise answer
        return answer
