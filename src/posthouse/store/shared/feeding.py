"""What both engines do alike for the feed: where a position stands, and which events of a walk make a page.

A *commit* is a row of `feed_commits`: the events that one transaction accepted, or a part of them. An engine reads the
commits from the position's own on, of which there are a bounded number of events; then what decides whether an event is
wanted; then the events of the page.
"""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from posthouse.core.ids import first_key_at, time_of
from posthouse.core.model import Event
from posthouse.core.routing import Router
from posthouse.store.protocol.feed import (
    FEED_START,
    FeedEvent,
    FeedGone,
    FeedLag,
    FeedPage,
    FeedPosition,
    FeedQuery,
    Lost,
)

WALK_COMMITS: Final = 1_000  #: that one read looks at
WALK_EVENTS: Final = 10_000  #: in them; the last commit may go beyond it
PAGE_BYTES: Final = 4 * 1024 * 1024  #: of data on one page, unless a single event has more
SEARCH_COMMITS: Final = 100_000  #: that are looked through for a fresh position, from the last one back
#: A clock may be behind, and accepting takes a while: what was accepted so long before a position may stand behind it.
MARGIN_MS: Final = 5 * 60_000
COMMIT_EVENTS: Final = 1_000  #: of one row, where an engine writes in parts

_WANTED: Final = 0


class Commit(NamedTuple):
    """A row of `feed_commits`."""

    place: int
    first_key: int
    keys: Sequence[int]


class Floor(NamedTuple):
    """The last commit that was let go; zeros if none was."""

    place: int
    first_key: int
    last_key: int
    size: int


class Step(NamedTuple):
    """An event of a walk and the position behind it."""

    key: int
    position: FeedPosition


class Walk(NamedTuple):
    """Events behind a position, in the order of the feed, and the position behind all of them."""

    steps: list[Step]
    end: FeedPosition


class Head(NamedTuple):
    """What says whether an event is wanted; those of other tenants have none."""

    key: int
    type: str
    size: int  #: bytes of its data


def start_of(floor: Floor) -> FeedPosition:
    """The position before everything that is kept."""
    return FeedPosition(floor.place, floor.first_key, floor.size)


def last_of(sizes: Iterable[tuple[int, int]], events: int) -> int | None:
    """The place of the last of the commits (place, size) that it takes to have so many events."""
    last = None
    for place, size in sizes:
        if events <= 0:
            break
        last = place
        events -= size
    return last


def walk_from(position: FeedPosition, commits: Sequence[Commit], floor: Floor) -> Walk | Lost:
    """What follows a position.

    Args:
        position: where to go on.
        commits: from the position's own on, or from where it would stand.
        floor: the last one that was let go.
    """
    if position == FEED_START or position == start_of(floor):
        if position < start_of(floor):
            return Lost.EXPIRED
        return _walk(commits, 0, position)
    if position < start_of(floor):
        return Lost.EXPIRED
    if not commits:
        return Lost.UNKNOWN
    own = commits[0]
    if (own.place, own.first_key) != (position.place, position.first_key) or position.taken > len(own.keys):
        return Lost.UNKNOWN
    return _walk(commits, position.taken, position)


def _walk(commits: Sequence[Commit], taken: int, position: FeedPosition) -> Walk:
    steps: list[Step] = []
    for commit in commits:
        place, first_key, keys = commit
        steps.extend(
            Step(key, FeedPosition(place, first_key, count)) for count, key in enumerate(keys[taken:], taken + 1)
        )
        taken = 0
    return Walk(steps, steps[-1].position if steps else position)


def gone(reason: Lost, position: FeedPosition, found: FeedPosition | None, floor: Floor, *, now_key: int) -> FeedGone:
    """What somebody is told whose position cannot be read on from.

    Args:
        reason: why.
        position: the one that was given.
        found: behind the last commit that is :func:`surely_seen`, if there is one.
        floor: the last one that was let go.
        now_key: the greatest key of the feed.
    """
    since = time_of(position.first_key)
    fresh = start_of(floor)
    if reason is Lost.EXPIRED:
        return FeedGone(reason, fresh, since, time_of(floor.last_key))
    if found is not None and found > fresh:
        fresh = found
    return FeedGone(reason, fresh, min(since, time_of(now_key)), time_of(fresh.first_key))


def surely_seen(position: FeedPosition) -> int:
    """The key below which all events were committed before a position, in whatever store it was made."""
    return first_key_at(time_of(position.first_key) - MARGIN_MS)


class Choice(NamedTuple):
    """Which events of a walk make a page."""

    steps: list[Step]
    end: FeedPosition
    is_cut: bool  #: the page is full: more of the walk follows


def choose(query: FeedQuery, walk: Walk, heads: Iterable[Head], *, limit: int) -> Choice:
    """The first ``limit`` wanted events of a walk, and at most so many bytes of them."""
    wanted = Router({_WANTED: query.types})
    sizes = {head.key: head.size for head in heads if wanted.match(head.type)}
    chosen: list[Step] = []
    end, room = walk.end, PAGE_BYTES
    before: FeedPosition | None = None
    for step in walk.steps:
        size = sizes.get(step.key)
        if size is not None:
            if len(chosen) == limit or (chosen and size > room):
                assert before is not None, "something was chosen before"
                return Choice(chosen, before, is_cut=True)
            chosen.append(step)
            room -= size
        before = step.position
    return Choice(chosen, end, is_cut=False)


def page_of(choice: Choice, events: Iterable[Event], *, is_end: bool) -> FeedPage:
    """The page; what was dropped in this very moment is not on it."""
    found = {event.key: event for event in events}
    items = tuple(FeedEvent(found[step.key], step.position) for step in choice.steps if step.key in found)
    return FeedPage(items, choice.end, is_end=is_end and not choice.is_cut)


def lag_of(query: FeedQuery, walk: Walk, heads: Iterable[Head], *, is_end: bool) -> FeedLag:
    """How many wanted events a walk has."""
    wanted = Router({_WANTED: query.types})
    keys = {head.key for head in heads if wanted.match(head.type)}
    first = next((step.key for step in walk.steps if step.key in keys), None)
    return FeedLag(len(keys), is_end, None if first is None else time_of(first))


def parts_of(keys: Iterable[int]) -> list[list[int]]:
    """Keys of one transaction, ascending, in the parts that make a row each."""
    ordered = sorted(keys)
    return [ordered[start : start + COMMIT_EVENTS] for start in range(0, len(ordered), COMMIT_EVENTS)]
