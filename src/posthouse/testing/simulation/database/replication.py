"""When a commit of the simulated server is durable on its standby too, and which ones a failover forgets.

A transaction is visible, and answered, only after the standby has it. If the wait is cut short (the server says so
in a WARNING), it is visible and durable on one machine only, until the standby has caught up; a failover meanwhile
forgets it, or some of the last of them.
"""

import asyncio
from collections.abc import Awaitable, Callable
from contextvars import Context, copy_context
from dataclasses import dataclass
from random import Random
from typing import Any, Final, TypeVar

from posthouse.testing.simulation.loop import SimLoop
from posthouse.testing.simulation.offload import SimOffload

T = TypeVar("T")

_USUAL: Final = (0.000_2, 0.003)  #: seconds until a standby that is well has it
_CANCEL: Final = (0.05, 0.6)  #: seconds after which a wait is cut short, where somebody does so
_IMAGES_MAX: Final = 8  #: of what is on one machine only; beyond that every other one is left out


@dataclass(slots=True, eq=False)
class _Commit:
    """A transaction that waits for the standby."""

    call: Callable[[], Any]
    future: "asyncio.Future[Any]"
    context: Context  #: of the server's life


class Replication:
    """Runs the blocking calls of the server's engine, and lets each COMMIT wait for the standby.

    Args:
        loop: the loop.
        inner: runs everything else.
        chance: its own.
        image: the whole database as it is committed.

    Attributes:
        warned: the latest commit is on one machine only.
        on_commit: hears of each commit before it waits.
    """

    def __init__(self, loop: SimLoop, inner: SimOffload, chance: Random, image: Callable[[], bytes]) -> None:
        self.warned = False
        self.on_commit: Callable[[], None] | None = None
        self._loop = loop
        self._inner = inner
        self._chance = chance
        self._image = image
        self._away = False
        self._cancels = False
        self._waiting: _Commit | None = None
        self._images: list[bytes] = []  # before the first commit that only this machine has, and after some of them

    def __call__(self, call: Callable[[], T], /) -> Awaitable[T]:
        """The result of ``call()``: an :class:`posthouse.store.sqlite.offload.Offload`."""
        if getattr(call, "__name__", "") != "_commit":
            return self._inner(call)
        commit = _Commit(call, self._loop.create_future(), copy_context())
        self._waiting = commit
        self._send()
        if self.on_commit is not None:
            self.on_commit()
        return commit.future

    def lose_standby(self, *, cancels: bool) -> None:
        """The standby is away: nothing is confirmed. ``cancels``: who waits is cut short after a while."""
        self._away, self._cancels = True, cancels
        self._send()

    def find_standby(self) -> None:
        """It is back, and has everything."""
        self._away = False
        self._images.clear()
        self._send()

    @property
    def forgettable(self) -> int:
        """How many states there are that a failover may go back to."""
        return len(self._images)

    def restart(self) -> None:
        """The server ends: what it had written before it waited is there again, unconfirmed; chance says whether."""
        commit, self._waiting = self._waiting, None
        if commit is not None and self._chance.random() < 0.5:
            self._commit_alone(commit) if self._away else commit.call()

    def fail_over(self) -> bytes | None:
        """The server is lost; the database as its standby has it, or None if that is as it is here."""
        commit, self._waiting = self._waiting, None
        if commit is not None and not self._away and self._chance.random() < 0.5:
            commit.call()  # it has come that far; only the answer has not
        images, self._images = self._images, []
        if not images:
            return None
        return images[int(len(images) * self._chance.random() ** 2)]  # rather the earlier ones

    # -- inside ---------------------------------------------------------------------------------

    def _send(self) -> None:
        commit = self._waiting
        if commit is None or (self._away and not self._cancels):
            return
        ready = self._cancel if self._away else self._confirm
        after = self._chance.uniform(*(_CANCEL if self._away else _USUAL))
        self._loop.call_later(after, ready, commit, context=commit.context)

    def _confirm(self, commit: _Commit) -> None:
        if commit is self._waiting and not self._away:
            self._images.clear()
            self.warned = False
            self._run(commit, commit.call)

    def _cancel(self, commit: _Commit) -> None:
        if commit is self._waiting and self._away:
            self.warned = True
            self._run(commit, lambda: self._commit_alone(commit))

    def _run(self, commit: _Commit, call: Callable[[], Any]) -> None:
        self._waiting = None
        try:
            call()
        except Exception as error:  # noqa: BLE001 - it belongs to the one who awaits it
            commit.future.set_exception(error)
        else:
            commit.future.set_result(None)

    def _commit_alone(self, commit: _Commit) -> None:
        images = self._images
        if not images:
            images.append(self._image())
        commit.call()
        images.append(self._image())
        if len(images) > _IMAGES_MAX:
            del images[1:-1:2]
