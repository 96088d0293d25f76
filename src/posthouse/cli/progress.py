"""Progress of work that takes more than a second: a bar on a terminal, a line now and then elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from posthouse.cli.wording import byte_count, count

PLAIN_SECONDS: Final = 5.0  #: between two lines where there is no terminal


@contextmanager
def bulk_progress(bytes_total: int | None, *, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """What to call after each batch with the lines and bytes of that batch. Writes to stderr only."""
    if quiet:
        yield lambda _lines, _bytes: None
    elif sys.stderr.isatty():
        with _bar(bytes_total) as advance:
            yield advance
    else:
        yield _PlainProgress(bytes_total)


@contextmanager
def _bar(bytes_total: int | None) -> Iterator[Callable[[int, int], None]]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn  # noqa: PLC0415

    columns = (
        TextColumn("{task.fields[events]:,} events"),
        BarColumn(),
        TaskProgressColumn(),
        TextColumn("{task.fields[rate]:,.0f}/s"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    started = time.monotonic()
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("publish", total=bytes_total, events=0, rate=0.0)
        events = 0

        def advance(lines: int, bytes_read: int) -> None:
            nonlocal events
            events += lines
            rate = events / max(time.monotonic() - started, 1e-3)
            progress.update(task, advance=bytes_read, events=events, rate=rate)

        yield advance


class _PlainProgress:
    """One line every few seconds."""

    def __init__(self, bytes_total: int | None) -> None:
        self._bytes_total = bytes_total
        self._events = 0
        self._bytes = 0
        self._started = self._said = time.monotonic()

    def __call__(self, lines: int, bytes_read: int) -> None:
        self._events += lines
        self._bytes += bytes_read
        now = time.monotonic()
        if now - self._said < PLAIN_SECONDS:
            return
        self._said = now
        rate = self._events / (now - self._started)
        share = f", {min(self._bytes / self._bytes_total, 1):.0%} of the file" if self._bytes_total else ""
        text = f"{count(self._events, 'line')}, {byte_count(self._bytes)}{share}, {rate:,.0f}/s"
        print(text, file=sys.stderr, flush=True)


@contextmanager
def copy_progress(*, quiet: bool) -> Iterator[Callable[[str, int, int], None]]:
    """What to call with what is being copied, how much of it is done and how much there is. Writes to stderr only."""
    if quiet:
        yield lambda _what, _done, _total: None
    elif sys.stderr.isatty():
        with _copy_bar() as tell:
            yield tell
    else:
        yield _PlainCopy()


@contextmanager
def _copy_bar() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("begin", total=None)

        def tell(what: str, done: int, total: int) -> None:
            progress.update(task, description=what, completed=done, total=total or None)

        yield tell


class _PlainCopy:
    """One line every few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._said < PLAIN_SECONDS:
            return
        self._said = now
        share = f", {min(done / total, 1):.0%}" if total else ""
        print(f"{what}{share}", file=sys.stderr, flush=True)
