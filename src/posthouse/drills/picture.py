"""The picture of a drill: what was accepted, delivered and waiting over time, and what happened when. Pure.

A recording becomes the text of an SVG file that needs nothing else: it has its own colours for light
and dark pages, and says its numbers on hovering.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from itertools import groupby
from math import floor, log10
from typing import Final, NamedTuple
from xml.sax.saxutils import escape

import msgspec

from posthouse.drills.recording import Kind, Mark, Recording, Sample

WIDTH: Final = 960
HEIGHT: Final = 600


class Caption(msgspec.Struct, frozen=True, kw_only=True):
    """The words around the picture."""

    number: str
    title: str
    passed: bool
    details: str  #: one line under the title
    footer: str


class Panel(NamedTuple):
    """A rectangle with a time axis from left to right and an axis of counts from bottom to top."""

    left: float
    right: float
    top: float
    bottom: float
    seconds: float  #: at the right edge; above 0
    most: float  #: at the top edge; above 0

    def x(self, at_s: float) -> float:
        """Where a time is, inside the panel."""
        return self.left + (self.right - self.left) * min(max(at_s / self.seconds, 0.0), 1.0)

    def y(self, count: float) -> float:
        """Where a count is, inside the panel."""
        return self.bottom - (self.bottom - self.top) * min(max(count / self.most, 0.0), 1.0)


_LEFT, _RIGHT = 76.0, 932.0
_UPPER: Final = (158.0, 382.0)  #: top and bottom of the panel of sums
_LOWER: Final = (420.0, 524.0)  #: of the panel of what waits
_LABEL_ROWS: Final = (150.0, 136.0, 122.0)  #: baselines of the marks' labels, the lowest first
_LABEL_GAP: Final = 10.0
_LABEL_INDENT: Final = 9.0  #: for the head of the mark before the text
_LEGEND_GAP: Final = 26.0
_CHAR_WIDTH: Final = 6.1  #: of a label, about
_MANY: Final = 20  #: more marks of a kind are drawn lightly, and not all of them are named
_HEADROOM: Final = 1.06  #: free space above the highest value
_TICKS_X: Final = 10
_MINUTES_FROM: Final = 240.0  #: seconds from which on the time axis counts minutes

_STYLE: Final = """
  text { font: 12px system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", sans-serif; fill: #3b4252; }
  .page { fill: #ffffff; } .title { font-size: 19px; font-weight: 650; fill: #1b2030; }
  .number { font-size: 13px; font-weight: 700; fill: #ffffff; } .badge { fill: #3d5a98; }
  .verdict { font-size: 13px; font-weight: 700; fill: #ffffff; letter-spacing: .06em; }
  .passed { fill: #1a7f4b; } .failed { fill: #c02b3c; }
  .soft { fill: #6b7385; } .tick { font-size: 11px; fill: #6b7385; font-variant-numeric: tabular-nums; }
  .grid { stroke: #e6e9f0; } .axis { stroke: #aab1c2; } .panel { fill: #fafbfd; }
  .accepted { stroke: #9dbbf5; stroke-width: 7; } .delivered { stroke: #1d4fb8; stroke-width: 2; }
  .waiting { stroke: #c7791a; stroke-width: 1.5; } .heap { fill: #f2b45c; fill-opacity: .35; }
  .series { fill: none; stroke-linejoin: round; stroke-linecap: round; }
  .mark { stroke-width: 1.25; stroke-dasharray: 4 3; }
  .many { stroke-dasharray: none; stroke-opacity: .3; } .head { stroke-width: 1.6; }
  .label { font-size: 11px; font-weight: 600; }
  .fault { stroke: #c02b3c; } .alarm { stroke: #a06400; } .recovery { stroke: #1a7f4b; } .note { stroke: #6b7385; }
  .fault-fill { fill: #c02b3c; } .alarm-fill { fill: #a06400; }
  .recovery-fill { fill: #1a7f4b; } .note-fill { fill: #6b7385; }
  .band { fill-opacity: .10; }
  @media (prefers-color-scheme: dark) {
    text { fill: #c9d1e0; } .page { fill: #12161f; } .title { fill: #f0f3fa; } .soft, .tick { fill: #8e98ad; }
    .grid { stroke: #252c3a; } .axis { stroke: #4a5468; } .panel { fill: #171c27; } .badge { fill: #4a6bb0; }
    .accepted { stroke: #2f4f8f; } .delivered { stroke: #8fb4ff; } .waiting { stroke: #f0a848; }
    .heap { fill: #c98a2e; } .fault { stroke: #ff7b86; } .alarm { stroke: #ffc45c; } .recovery { stroke: #5fd39a; }
    .note { stroke: #8e98ad; } .fault-fill { fill: #ff7b86; } .alarm-fill { fill: #ffc45c; }
    .recovery-fill { fill: #5fd39a; } .note-fill { fill: #8e98ad; } .band { fill-opacity: .16; }
    .number, .verdict { fill: #ffffff; } .passed { fill: #1f8f55; } .failed { fill: #c93a4a; }
  }
"""

#: The head of a mark, so that kinds differ without colour too; drawn around 0,0.
_HEADS: Final = {
    Kind.FAULT: "M-3-3L3 3M3-3L-3 3",
    Kind.ALARM: "M0-4L4.5 3.5L-4.5 3.5Z",
    Kind.RECOVERY: "M-4 0L-1 3L4-3.5",
    Kind.NOTE: "M0-3.5L3.5 0L0 3.5L-3.5 0Z",
}


def draw(recording: Recording, caption: Caption) -> str:
    """The picture as the text of an SVG file."""
    seconds = recording.seconds or 1.0
    samples = recording.samples
    sums = max((max(sample.accepted, sample.delivered) for sample in samples), default=0) or 1
    waiting = max((sample.waiting for sample in samples), default=0) or 1
    upper = Panel(_LEFT, _RIGHT, *_UPPER, seconds, sums * _HEADROOM)
    lower = Panel(_LEFT, _RIGHT, *_LOWER, seconds, waiting * _HEADROOM)
    size = f'viewBox="0 0 {WIDTH} {HEIGHT}" width="{WIDTH}" height="{HEIGHT}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} role="img" aria-labelledby="title">',
        f'<title id="title">{escape(f"{caption.number}: {caption.title}")}</title>',
        f"<style>{_STYLE}</style>",
        f'<rect class="page" width="{WIDTH}" height="{HEIGHT}" rx="10"/>',
        *_head(caption),
        *_legend({mark.kind for mark in recording.marks}),
        *_frame(upper, "deliveries so far"),
        *_frame(lower, "waiting now", ticks_max=3),
        *_time_axis(upper, lower),
        *_bands(recording.marks, upper, lower),
        *_lines(samples, upper, lower),
        *_marks(recording.marks, upper, lower),
        _text(_LEFT, HEIGHT - 16, caption.footer, "soft"),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _head(caption: Caption) -> Iterator[str]:
    verdict, colour = ("PASS", "passed") if caption.passed else ("FAIL", "failed")
    yield '<rect class="badge" x="28" y="24" width="48" height="26" rx="6"/>'
    yield _text(52, 42, caption.number, "number", anchor="middle")
    yield _text(90, 43, caption.title, "title")
    yield f'<rect class="{colour}" x="868" y="24" width="64" height="26" rx="13"/>'
    yield _text(900, 42, verdict, "verdict", anchor="middle")
    yield _text(90, 66, caption.details, "soft")


def _legend(kinds: Collection[Kind]) -> Iterator[str]:
    x = 90.0
    for name in ("accepted", "delivered", "waiting"):
        yield f'<path class="series {name}" d="M{x:.0f} 90h20"/>'
        yield _text(x + 30, 94, name)
        x += 30 + _CHAR_WIDTH * len(name) + _LEGEND_GAP
    for kind in Kind:
        if kind in kinds:
            yield _shape(kind, x + 4, 90)
            yield _text(x + 14, 94, kind.value)
            x += 14 + _CHAR_WIDTH * len(kind.value) + _LEGEND_GAP


def _frame(panel: Panel, name: str, *, ticks_max: int = 5) -> Iterator[str]:
    width, height = panel.right - panel.left, panel.bottom - panel.top
    yield f'<rect class="panel" x="{panel.left}" y="{panel.top}" width="{width}" height="{height}"/>'
    for count in ticks(panel.most, ticks_max):
        y = panel.y(count)
        yield f'<path class="grid" d="M{panel.left} {y:.1f}H{panel.right}"/>'
        yield _text(panel.left - 8, y + 4, f"{count:,.0f}", "tick", anchor="end")
    yield f'<path class="axis" d="M{panel.left} {panel.bottom}H{panel.right}"/>'
    middle = (panel.top + panel.bottom) / 2
    yield f'<g transform="translate(18 {middle:.1f}) rotate(-90)">{_text(0, 0, name, "soft", anchor="middle")}</g>'


def _time_axis(upper: Panel, lower: Panel) -> Iterator[str]:
    unit, size = ("min", 60.0) if lower.seconds >= _MINUTES_FROM else ("s", 1.0)
    for tick in ticks(lower.seconds / size, _TICKS_X):
        x = lower.x(tick * size)
        yield f'<path class="grid" d="M{x:.1f} {upper.top}V{upper.bottom}M{x:.1f} {lower.top}V{lower.bottom}"/>'
        yield _text(x, lower.bottom + 18, f"{tick:g}", "tick", anchor="middle")
    yield _text(lower.right, lower.bottom + 36, f"time since the first event, {unit}", "soft", anchor="end")


def _lines(samples: Sequence[Sample], upper: Panel, lower: Panel) -> Iterator[str]:
    if not samples:
        return
    accepted = _points(samples, upper, lambda group: group[-1].accepted)
    delivered = _points(samples, upper, lambda group: group[-1].delivered)
    waiting = _points(samples, lower, lambda group: max(sample.waiting for sample in group))
    first, last = waiting[0][0], waiting[-1][0]
    yield f'<path class="series accepted" d="{_path(accepted)}"/>'
    yield f'<path class="series delivered" d="{_path(delivered)}"/>'
    yield f'<path class="heap" d="{_path(waiting)}L{last:.1f} {lower.bottom}L{first:.1f} {lower.bottom}Z"/>'
    yield f'<path class="series waiting" d="{_path(waiting)}"/>'


def _points(
    samples: Sequence[Sample], panel: Panel, count_of: Callable[[list[Sample]], int]
) -> list[tuple[float, float]]:
    """One point for each column of pixels that has samples."""
    columns = groupby(samples, key=lambda sample: floor(panel.x(sample.at_s)))
    return [(panel.x(group[-1].at_s), panel.y(count_of(group))) for _, each in columns if (group := list(each))]


def _path(points: Sequence[tuple[float, float]]) -> str:
    (x, y), *rest = points
    rest = rest or [(x, y)]  # a line of one point is a dot
    return f"M{x:.1f} {y:.1f}" + "".join(f"L{x:.1f} {y:.1f}" for x, y in rest)


def _bands(marks: Sequence[Mark], upper: Panel, lower: Panel) -> Iterator[str]:
    """What lasted for a while, behind the lines."""
    for mark in marks:
        if mark.until_s is None:
            continue
        x, width = upper.x(mark.at_s), upper.x(mark.until_s) - upper.x(mark.at_s)
        for panel in (upper, lower):
            yield (
                f'<rect class="band {mark.kind}-fill" x="{x:.1f}" y="{panel.top}" width="{width:.1f}" '
                f'height="{panel.bottom - panel.top}"/>'
            )


def _marks(marks: Sequence[Mark], upper: Panel, lower: Panel) -> Iterator[str]:
    numbers = Counter(mark.kind for mark in marks)
    for mark in marks:
        x = upper.x(mark.at_s)
        classes = f"mark {mark.kind}" + (" many" if numbers[mark.kind] > _MANY else "")
        line = f"M{x:.1f} {upper.top}V{upper.bottom}M{x:.1f} {lower.top}V{lower.bottom}"
        words = escape(f"{mark.text}, at {mark.at_s:.1f} s")
        yield f'<path class="{classes}" d="{line}"><title>{words}</title></path>'
    for label in placed(marks, upper):
        kind = label.mark.kind
        indent = -_LABEL_INDENT if label.anchor == "end" else _LABEL_INDENT
        yield _shape(kind, label.x, label.y - 4)
        yield _text(label.x + indent, label.y, label.mark.text, f"label {kind}-fill", anchor=label.anchor)


class Label(NamedTuple):
    """Where the words of a mark stand."""

    mark: Mark
    x: float
    y: float
    anchor: str  #: which end of the words is at ``x``


def placed(marks: Sequence[Mark], panel: Panel) -> Iterator[Label]:
    """The labels for which there is room above the panel. Of many faults some are named, after all that is rarer."""
    faults = [mark for mark in marks if mark.kind is Kind.FAULT]
    named = faults[:: 1 + len(faults) // _MANY]
    rarer = [mark for mark in marks if mark.kind is not Kind.FAULT]
    taken: list[list[tuple[float, float]]] = [[] for _ in _LABEL_ROWS]
    for mark in (*rarer, *named):
        width = _LABEL_INDENT + _CHAR_WIDTH * len(mark.text)
        x = panel.x(mark.at_s)
        anchor = "end" if x + width > panel.right else "start"
        begins = x - width if anchor == "end" else x
        for row, spans in zip(_LABEL_ROWS, taken, strict=True):
            if all(begins + width + _LABEL_GAP < left or right + _LABEL_GAP < begins for left, right in spans):
                spans.append((begins, begins + width))
                yield Label(mark, x, row, anchor)
                break


def ticks(most: float, count: int) -> list[float]:
    """Round numbers from 0 to ``most``, about ``count`` of them."""
    rough = most / max(count, 1)
    power = 10.0 ** floor(log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [step * number for number in range(floor(most / step + 1e-9) + 1)]


def _shape(kind: Kind, x: float, y: float) -> str:
    return f'<path class="series head {kind}" transform="translate({x:.1f} {y:.1f})" d="{_HEADS[kind]}"/>'


def _text(x: float, y: float, text: str, classes: str = "", *, anchor: str = "start") -> str:
    return f'<text class="{classes}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(text)}</text>'
