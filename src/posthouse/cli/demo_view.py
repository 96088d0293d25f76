"""How a demonstration is shown: a board that changes on a terminal, lines elsewhere."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from posthouse.cli.wording import count
from posthouse.demo.board import Behaviour, Board, Reckoning

if TYPE_CHECKING:
    from rich.console import RenderableType

PLAIN_SECONDS: Final = 3.0  #: between two lines of progress
_WHAT: Final = {
    Behaviour.GOOD: "answers",
    Behaviour.FLAKY: "fails 30 %",
    Behaviour.HANGING: "hangs, then recovers",
}


class View(Protocol):
    """Where a demonstration is shown."""

    def show(self, board: Board) -> None:
        """Bring what is shown up to date."""
        ...

    def close(self) -> None:
        """Leave the last state standing. Idempotent."""
        ...


@contextmanager
def open_view(*, quiet: bool) -> Iterator[View]:
    """The view that suits standard output; none with ``quiet``."""
    if quiet or not sys.stdout.isatty():
        yield _NoView() if quiet else PlainView(sys.stdout)
        return
    view = _LiveView()
    try:
        yield view
    finally:
        view.close()


class _NoView:
    """Shows nothing: the result says what happened."""

    def show(self, board: Board) -> None:
        """Nothing to show."""

    def close(self) -> None:
        """Nothing to leave."""


class PlainView:
    """Every moment as a line, and the numbers every few seconds."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self._said = 0
        self._next_s = 0.0

    def show(self, board: Board) -> None:
        """Print what is new."""
        for moment in board.moments[self._said :]:
            self._print(moment.at_s, moment.text)
        self._said = len(board.moments)
        if board.now_s >= self._next_s:
            self._next_s = board.now_s + PLAIN_SECONDS
            self._print(board.now_s, numbers(board))

    def close(self) -> None:
        """Nothing to leave."""

    def _print(self, at_s: float, text: str) -> None:
        print(f"{at_s:6.1f} s  {text}", file=self._stream, flush=True)


def numbers(board: Board) -> str:
    """The board in one line."""
    parts = [f"{board.acknowledged:,}/{board.events_total:,} acknowledged"]
    for row in board.rows:
        waiting = row.books.get("waiting", 0) + row.books.get("retrying", 0)
        parts.append(f"{row.name} {row.tally.accepted:,} delivered {waiting:,} open")
    parts.append(f"imbalance {board.imbalance}")
    return ", ".join(parts)


class _LiveView:
    """A board that is drawn anew in place."""

    def __init__(self) -> None:
        from rich.live import Live  # noqa: PLC0415 - only a terminal needs it

        self._live = Live(auto_refresh=False, transient=False)
        self._live.start()

    def show(self, board: Board) -> None:
        """Draw it."""
        self._live.update(drawing(board), refresh=True)

    def close(self) -> None:
        """Stop drawing; the last drawing stays."""
        self._live.stop()


def drawing(board: Board) -> "RenderableType":
    """The whole board: progress, one row an endpoint, and what happened."""
    from rich.console import Group  # noqa: PLC0415 - only a terminal needs it
    from rich.progress_bar import ProgressBar  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    head = Table.grid(padding=(0, 2))
    state = Text("node up", "green") if board.node_up else Text("node DOWN", "bold red")
    head.add_row(
        state,
        ProgressBar(total=board.events_total, completed=board.acknowledged, width=30),
        f"{board.acknowledged:,} of {board.events_total:,} events acknowledged",
        f"{board.now_s:.0f} s",
    )
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("endpoint")
    for name in ("owed", "delivered", "waiting", "retrying", "verified", "refused", "held", "duplicates"):
        table.add_column(name, justify="right")
    for row in board.rows:
        books = [f"{row.books.get(name, 0):,}" for name in ("owed", "delivered", "waiting", "retrying")]
        tally = row.tally
        seen = [f"{n:,}" for n in (tally.verified, tally.refused, tally.held, tally.duplicates)]
        table.add_row(f"{row.name} ({_WHAT[row.behaviour]})", *books, *seen)
    bad = sum(row.tally.bad_signatures for row in board.rows)
    balance = Text(f"imbalance {board.imbalance}", "green" if board.imbalance == 0 else "bold red")
    balance.append(f"   bad signatures {bad}", "green" if bad == 0 else "bold red")
    moments = [Text.assemble((f"{m.at_s:6.1f} s  ", "dim"), m.text) for m in board.moments]
    return Group(head, Text(), table, balance, Text(), *moments)


def reckoning_lines(reckoning: Reckoning) -> list[str]:
    """The end of the story, for people."""
    return [
        "",
        f"acknowledged  {count(reckoning.acknowledged, 'event')}",
        f"owed          {count(reckoning.owed, 'delivery', 'deliveries')} to three endpoints",
        f"delivered     {reckoning.delivered:,}",
        f"lost          {reckoning.lost:,}",
        f"altered       {reckoning.altered:,} (bodies compared by hash)",
        f"signatures    {reckoning.verified:,} verified with standardwebhooks, {reckoning.bad_signatures:,} bad",
        f"duplicates    {_duplicates(reckoning)}",
        f"imbalance     {reckoning.imbalance:,} (audit, recounted from rows)",
        "",
        "The promise held: everything that was acknowledged has arrived."
        if reckoning.holds
        else "THE PROMISE WAS BROKEN.",
    ]


def _duplicates(reckoning: Reckoning) -> str:
    explained = reckoning.duplicates - reckoning.unexplained
    parts = []
    if explained:
        parts.append(f"{explained:,} answered just before the kill, sent once more after it")
    if reckoning.unexplained:
        parts.append(f"{reckoning.unexplained:,} for another reason")
    return f"{reckoning.duplicates:,}" + (f" ({'; '.join(parts)})" if parts else "")
