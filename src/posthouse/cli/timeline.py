"""A delivery's attempts as a picture made of characters. Pure: from the API's document to lines."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from posthouse.cli.wording import clock_time, count, duration, from_now, instant, milliseconds, moment

BAR_CELLS: Final = 40  #: of the longest attempt; all others are drawn to the same scale
_ELLIPSIS_AFTER: Final = 3  #: attempts shown at the start of a long list …
ATTEMPTS_SHOWN: Final = 12  #: … of which at most so many are drawn


class Phase(NamedTuple):
    """One part of an exchange, and how it is drawn."""

    field: str
    name: str
    glyph: str
    ascii: str
    colour: str


PHASES: Final = (
    Phase("dns_us", "dns", "·", ".", "magenta"),
    Phase("connect_us", "connect", "░", ":", "blue"),
    Phase("tls_us", "tls", "▒", "%", "cyan"),
    Phase("first_byte_us", "first byte", "▓", "=", "yellow"),
    Phase("rest_us", "rest", "█", "#", "green"),
)


class Span(NamedTuple):
    """A piece of a line in one colour (a rich style, or empty)."""

    text: str
    colour: str = ""


Line = list[Span]


def timeline(delivery: Mapping[str, Any], *, now: datetime, unicode: bool = True) -> list[Line]:
    """The lines for ``GET /v1/deliveries/{id}``: every attempt, the waits between them, and what comes next."""
    attempts: Sequence[Mapping[str, Any]] = delivery["attempts"]
    lines: list[Line] = []
    scale_us = max((phases_us(a)["total_us"] for a in attempts), default=0)
    width = len(str(len(attempts)))
    shown = _shown(attempts)
    for place, attempt in enumerate(shown):
        if attempt is None:
            hidden = len(attempts) - len(shown) + 1
            lines.append([Span(f"{'':>{width}}  … {count(hidden, 'attempt')} not drawn; --json has all", "dim")])
            continue
        before = shown[place - 1] if place else None
        if before is not None:
            lines.append([Span(f"{'':>{width}}  {'│' if unicode else '|'} {_gap(before, attempt)} later", "dim")])
        lines.append(_head(attempt, width))
        lines.append(_bar(attempt, width, scale_us, unicode=unicode))
    if attempts:
        lines += [[], _legend(attempts, unicode=unicode)]
    lines += [[], [Span(outlook(delivery, now=now), "bold")]]
    return lines


def outlook(delivery: Mapping[str, Any], *, now: datetime) -> str:
    """What comes next, in one sentence with its reason."""
    if delivery["settled_at"] is not None:
        why = f", because: {delivery['reason']}" if delivery.get("reason") else ""
        return f"{delivery['status']} at {moment(delivery['settled_at'])}{why}."
    wait = delivery.get("waits_for") or {}
    because = f", because: {str(wait['message']).rstrip('.')}" if wait.get("message") else ""
    match wait.get("code"):
        case "in_flight":
            return f"An attempt is on its way now{because}."
        case "endpoint_paused" | "endpoint_disabled" | "parked":
            return f"No attempt is planned{because}."
        case "order" | "breaker_open" | "recovering":  # its own time does not count meanwhile
            return f"Waiting{because}."
        case _:
            due = delivery["next_attempt_at"]
            return f"Next attempt {from_now(due, now)}{because}." if due else f"Waiting{because}."


def phases_us(attempt: Mapping[str, Any]) -> dict[str, int]:
    """Microseconds by phase; ``rest_us`` is what came after the first byte, or after the last known phase."""
    timings = attempt["timings"]
    found = {phase.field: timings.get(phase.field) or 0 for phase in PHASES}
    found["total_us"] = timings["total_us"] or sum(found.values())
    found["rest_us"] = max(0, found["total_us"] - sum(found[phase.field] for phase in PHASES))
    return found


def bar_cells(parts_us: Sequence[int], scale_us: int, cells: int = BAR_CELLS) -> list[int]:
    """How many cells each part gets, on a scale where ``scale_us`` fills all of them.

    Every part that is not zero gets one cell at least; the ends of the parts lie where their times say,
    as far as that allows.
    """
    found = []
    passed_us = drawn = 0
    for part in parts_us:
        passed_us += part
        end = round(passed_us * cells / scale_us) if scale_us else 0
        size = max(end - drawn, 1) if part else 0
        found.append(size)
        drawn += size
    return found


def _shown(attempts: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any] | None]:
    """The attempts to draw; None stands for those left out in the middle."""
    if len(attempts) <= ATTEMPTS_SHOWN:
        return list(attempts)
    tail = ATTEMPTS_SHOWN - _ELLIPSIS_AFTER
    return [*attempts[:_ELLIPSIS_AFTER], None, *attempts[-tail:]]


def _head(attempt: Mapping[str, Any], width: int) -> Line:
    good = attempt["outcome"] == "success"
    status = attempt["response_status"]
    parts = [attempt["outcome"].replace("_", " ")]
    if status is not None:
        parts.append(str(status))
    line = [
        Span(f"{attempt['number']:>{width}}  ", "bold"),
        Span(f"{clock_time(attempt['started_at'])}  "),
        Span(f"{' '.join(parts):<18}", "green" if good else "red"),
        Span(f"  {milliseconds(attempt['timings']['total_us'] / 1_000):>9}"),
    ]
    if attempt.get("peer"):
        line.append(Span(f"  {attempt['peer']}{' (kept alive)' if attempt.get('reused') else ''}", "dim"))
    if attempt.get("error"):
        line.append(Span(f"  {attempt['error']}", "dim"))
    return line


def _bar(attempt: Mapping[str, Any], width: int, scale_us: int, *, unicode: bool) -> Line:
    times = phases_us(attempt)
    sizes = bar_cells([times[phase.field] for phase in PHASES], scale_us)
    line = [Span(f"{'':>{width}}  ")]
    for phase, size in zip(PHASES, sizes, strict=True):
        if size:
            line.append(Span((phase.glyph if unicode else phase.ascii) * size, phase.colour))
    named = [f"{phase.name} {milliseconds(times[phase.field] / 1_000)}" for phase in PHASES if times[phase.field]]
    line.append(Span(f"  {', '.join(named)}", "dim"))
    return line


def _legend(attempts: Sequence[Mapping[str, Any]], *, unicode: bool) -> Line:
    line = []
    for phase in PHASES:
        if any(phases_us(attempt)[phase.field] for attempt in attempts):
            line += [Span(phase.glyph if unicode else phase.ascii, phase.colour), Span(f" {phase.name}   ", "dim")]
    return line


def _gap(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    first, second = instant(before["started_at"]), instant(after["started_at"])
    assert first is not None
    assert second is not None
    ended = first + timedelta(microseconds=before["timings"]["total_us"])
    return duration(max((second - ended) / timedelta(seconds=1), 0.0))
