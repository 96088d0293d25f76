"""How a drill is shown: its course, its progress, its verdict and its picture."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from posthouse import __version__
from posthouse.cli.output import Output
from posthouse.cli.wording import count, duration
from posthouse.drills.drill import Drill
from posthouse.drills.picture import Caption, draw
from posthouse.drills.plan import Look
from posthouse.drills.report import Report, Then

PLAIN_SECONDS: Final = 3.0  #: between two lines where there is no terminal


def course_lines(drill: Drill) -> list[str]:
    """What is about to happen."""
    lines = [f"{drill.number}  {drill.title}", ""]
    parts = {"given": drill.given(), "when": drill.when(), "without": drill.left_out()}
    for name, texts in parts.items():
        lines += [f"{name if number == 0 else '':<8} {text}" for number, text in enumerate(texts)]
    return [*lines, ""]


# -- while it runs --------------------------------------------------------------------------


@contextmanager
def open_view(*, quiet: bool) -> Iterator[Callable[[Look], None]]:
    """What to call with each look: a bar on a terminal, a line now and then elsewhere. Writes to stderr only."""
    if quiet:
        yield lambda _look: None
    elif sys.stderr.isatty():
        with _bar() as show:
            yield show
    else:
        yield _PlainView()


@contextmanager
def _bar() -> Iterator[Callable[[Look], None]]:
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn  # noqa: PLC0415

    columns = (
        BarColumn(bar_width=24),
        TaskProgressColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.fields[numbers]}"),
        TextColumn("[dim]{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("", total=1.0, numbers="")

        def show(look: Look) -> None:
            progress.update(task, completed=look.share, description=look.doing, numbers=numbers(look))

        yield show


class _PlainView:
    """One line every few seconds."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, look: Look) -> None:
        now = time.monotonic()
        if now - self._said >= PLAIN_SECONDS:
            self._said = now
            print(f"{look.now_s:6.1f} s  {numbers(look)}  {look.doing}", file=sys.stderr, flush=True)


def numbers(look: Look) -> str:
    """The look in three numbers."""
    return f"{look.accepted:,} accepted  {look.delivered:,} delivered  {look.waiting:,} waiting"


# -- at the end -----------------------------------------------------------------------------


def print_report(out: Output, report: Report, *, picture: Path | None, replay: str) -> None:
    """Print every rule with what was measured, the verdict, and where to look further."""
    _print_judged(out, rule_lines(report.findings.then))
    if report.findings.places:
        out.line()
        first = report.findings.places[0]
        columns = [f"#{name}" if isinstance(value, int) else name for name, value in first.items()]
        out.table(columns, (list(place.values()) for place in report.findings.places))
    out.line()
    _print_judged(out, [verdict(report)])
    out.line(f"picture  {picture}" if picture is not None else "picture  add --picture FILE.svg to draw the run")
    out.line(f"again    {replay}")


def rule_lines(then: list[Then]) -> list[str]:
    """One line a rule: whether it held, what it says, what was measured, and the bound."""
    texts = [(each.text, _number(each.measured, each.unit), each) for each in then]
    wide = max((len(text) for text, _, _ in texts), default=0)
    high = max((len(measured) for _, measured, _ in texts), default=0)
    return [
        f"{'then' if number == 0 else '':<8} {'pass' if each.holds else 'FAIL'}  {text:<{wide}}  {measured:>{high}}  "
        f"{each.relation} {_number(each.bound, each.unit)}"
        for number, (text, measured, each) in enumerate(texts)
    ]


def verdict(report: Report) -> str:
    """The whole drill in one line."""
    broken = sum(not then.holds for then in report.findings.then)
    what = f"FAIL: {count(broken, 'rule was', 'rules were')} broken" if broken else "PASS: every rule was kept"
    return f"{what}; it took {duration(report.seconds)}."


def draw_picture(report: Report, replay: str) -> str:
    """The picture of the run, as SVG."""
    details = [f"scale {report.scale:g}", f"seed {report.seed}", duration(report.seconds)]
    details += [_told(then) for then in report.findings.then if not then.holds] or [
        count(len(report.findings.then), "rule") + " kept"
    ]
    caption = Caption(
        number=report.number,
        title=report.title,
        passed=report.passed,
        details="  ·  ".join(details),
        footer=f"Posthouse {__version__}  ·  {replay}",
    )
    return draw(report.recording, caption)


def _told(then: Then) -> str:
    return (
        f"{then.text}: {_number(then.measured, then.unit)} instead of {then.relation} {_number(then.bound, then.unit)}"
    )


def _number(value: float, unit: str) -> str:
    text = f"{value:,.0f}" if value == round(value) else f"{value:,.2f}".rstrip("0")
    return f"{text} {unit}".rstrip()


def _print_judged(out: Output, lines: list[str]) -> None:
    """Print lines that say pass or FAIL; in colours on a terminal."""
    if not sys.stdout.isatty():
        out.line("\n".join(lines))
        return
    from rich.console import Console  # noqa: PLC0415 - only a terminal needs it
    from rich.text import Text  # noqa: PLC0415

    for line in lines:
        text = Text(line)
        text.highlight_regex(r"\b(pass|PASS)\b", "green")
        text.highlight_regex(r"\bFAIL\b", "bold red")
        Console(highlight=False).print(text, soft_wrap=True)
