"""Trying a filter and a transformation on events that are there already. Nothing is stored, and nothing is sent."""

import asyncio
from collections.abc import AsyncIterator
from enum import StrEnum
from typing import Final

import msgspec

from posthouse.core import limits
from posthouse.core.errors import InvalidInput
from posthouse.core.model import Environment, Event
from posthouse.core.routing import EVERYTHING, Router, validate_pattern
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.filter import Filter, validate_filter
from posthouse.expressions.transform import Transform, validate_transform
from posthouse.gateway.endpoints import Endpoints
from posthouse.gateway.faults import Faults, between
from posthouse.store.protocol import EventQuery, LedgerFacet

_PAGE: Final = 25  #: events in memory at a time; each may be as large as an event may be
_STEPS_AT_ONCE: Final = limits.EXPRESSION_STEPS_MAX // 10  #: then others get their turn


class Outcome(StrEnum):
    """What came of one event. The codes are API."""

    MATCHED = "matched"  #: the filter is true (or there is none), and the transformation made something
    NOT_MATCHED = "not_matched"
    ERROR = "error"


class Trial(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody wants to try, in the words of the outside. What is not given is the endpoint's, if one is named."""

    filter: str | None = None
    transform: str | None = None  #: JSON text
    endpoint_id: str | None = None
    types: tuple[str, ...] = ()  #: event patterns; empty: every type
    tenant: str | None = None
    limit: int = 100


class Tried(msgspec.Struct, frozen=True):
    """What came of one event."""

    event_id: str
    type: str
    tenant: str
    accepted_at: int
    outcome: Outcome
    reason: str | None  #: of an error
    data: str | None  #: what the transformation made, as JSON text, cut off behind some characters
    is_cut: bool


class TrialResult(msgspec.Struct, frozen=True):
    """What came of all of them, newest event first."""

    tried: tuple[Tried, ...]
    scanned: int  #: events that were looked at, those of other types included


class FilterTest:
    """Evaluates filters and transformations over the newest events of an environment."""

    def __init__(self, ledger: LedgerFacet, endpoints: Endpoints) -> None:
        self._ledger = ledger
        self._endpoints = endpoints

    async def run(self, environment: Environment, trial: Trial) -> TrialResult:
        """Try it on the newest events that fit, at most ``trial.limit``.

        At most ``FILTER_TEST_SCANNED_MAX`` events are looked at for that. Raises NotFound and InvalidInput.
        """
        trial = self._completed(environment, trial)
        _check(trial)
        wanted = None if trial.filter is None else Filter(trial.filter)
        made = None if trial.transform is None else Transform(trial.transform)
        router = Router({0: trial.types or (EVERYTHING,)})
        tried: list[Tried] = []
        scanned = steps = 0
        async for event in self._events(environment, trial.tenant):
            scanned += 1
            if router.match(event.type):
                view = EventView.of(event)
                tried.append(_tried(event, view, wanted, made))
                steps += view.steps
            if len(tried) >= trial.limit or scanned >= limits.FILTER_TEST_SCANNED_MAX:
                break
            if steps > _STEPS_AT_ONCE:
                steps = 0
                await asyncio.sleep(0)
        return TrialResult(tuple(tried), scanned)

    def _completed(self, environment: Environment, trial: Trial) -> Trial:
        """The trial with what the endpoint says where it says nothing itself."""
        if trial.endpoint_id is None:
            return trial
        endpoint = self._endpoints.get(environment, trial.endpoint_id)
        if trial.tenant not in {None, endpoint.tenant}:
            raise InvalidInput.at("tenant", "other_tenant", "The endpoint belongs to another tenant.")
        rules = endpoint.rules
        return msgspec.structs.replace(
            trial,
            filter=rules.filter if trial.filter is None else trial.filter,
            transform=rules.transform if trial.transform is None else trial.transform,
            types=trial.types or endpoint.events,
            tenant=endpoint.tenant,
        )

    async def _events(self, environment: Environment, tenant: str | None) -> AsyncIterator[Event]:
        """Events, newest first."""
        after: int | None = None
        while True:
            query = EventQuery(environment=environment, tenant=tenant, after=after, limit=_PAGE)
            page = await self._ledger.events(query)
            for record in page:
                yield record.event
            if len(page) < _PAGE:
                return
            after = page[-1].event.key


def _check(trial: Trial) -> None:
    if trial.filter is None and trial.transform is None:
        message = "There is nothing to try: neither a filter nor a transformation."
        raise InvalidInput.at("filter", "missing", message, hint="Give one, or name an endpoint that has one.")
    faults = Faults()
    if trial.filter is not None:
        faults.check("filter", validate_filter, trial.filter)
    if trial.transform is not None:
        faults.check("transform", validate_transform, trial.transform)
    for position, pattern in enumerate(trial.types):
        faults.check(f"types[{position}]", validate_pattern, pattern)
    faults.check("limit", between(1, limits.FILTER_TEST_EVENTS_MAX, "events"), trial.limit)
    faults.raise_if_any()


def _tried(event: Event, view: EventView, wanted: Filter | None, made: Transform | None) -> Tried:
    outcome, reason, data = Outcome.MATCHED, None, None
    try:
        if wanted is not None and not wanted.matches(view):
            outcome = Outcome.NOT_MATCHED
        elif made is not None:
            data = made.apply(view).decode()
    except ExpressionError as error:
        outcome, reason = Outcome.ERROR, error.reason
    shown = None if data is None else data[: limits.FILTER_TEST_PREVIEW_CHARS_MAX]
    return Tried(event.id, event.type, event.tenant, event.accepted_at, outcome, reason, shown, shown != data)
