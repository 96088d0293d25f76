"""``/v1/filters``: trying filters and transformations."""

from collections import Counter
from typing import Any, Self

import msgspec
from fastapi import APIRouter
from pydantic import ConfigDict, Field

from posthouse.api.requests import Body
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.views import Timestamp, View
from posthouse.core import limits
from posthouse.core.envelope import rfc3339
from posthouse.gateway.filter_test import FilterTest, Outcome, Trial, TrialResult


class FilterTestBody(Body):
    """What to try, and on which events. What is left out is the endpoint's, if one is named."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"filter": "data.total > 100", "limit": 50},
                {"filter": "type.startsWith('order.')", "transform": {"order": "data.id"}, "types": ["order.*"]},
            ]
        }
    )

    filter: str | None = Field(default=None, description="CEL expression.")
    transform: dict[str, Any] | None = Field(default=None, description="Field names and CEL expressions; objects nest.")
    endpoint_id: str | None = Field(default=None, description="Takes its filter, transformation, patterns and tenant.")
    types: list[str] = Field(default=[], description="Event patterns; only events that fit are tried.")
    tenant: str | None = None
    limit: int = Field(default=100, ge=1, le=limits.FILTER_TEST_EVENTS_MAX, description="How many events, at most.")

    def trial(self) -> Trial:
        """The same in the gateway's words."""
        return Trial(
            filter=self.filter,
            transform=None if self.transform is None else msgspec.json.encode(self.transform).decode(),
            endpoint_id=self.endpoint_id,
            types=tuple(self.types),
            tenant=self.tenant,
            limit=self.limit,
        )


class TriedEventView(View):
    """What came of one event."""

    id: str
    type: str
    tenant: str
    accepted_at: Timestamp
    outcome: Outcome
    reason: str | None = Field(description="Of an error.")
    data: str | None = Field(
        description=f"What the transformation made, as JSON: {limits.FILTER_TEST_PREVIEW_CHARS_MAX} characters at most."
    )
    data_is_cut: bool


class FilterTestView(View):
    """What came of the newest events, newest first."""

    matched: int
    not_matched: int
    errors: int
    scanned: int = Field(description="Events that were looked at, those of other types included.")
    data: list[TriedEventView]

    @classmethod
    def of(cls, result: TrialResult) -> Self:
        """The view of ``result``."""
        counts = Counter(tried.outcome for tried in result.tried)
        return cls(
            matched=counts[Outcome.MATCHED],
            not_matched=counts[Outcome.NOT_MATCHED],
            errors=counts[Outcome.ERROR],
            scanned=result.scanned,
            data=[
                TriedEventView(
                    id=tried.event_id,
                    type=tried.type,
                    tenant=tried.tenant,
                    accepted_at=rfc3339(tried.accepted_at),
                    outcome=tried.outcome,
                    reason=tried.reason,
                    data=tried.data,
                    data_is_cut=tried.is_cut,
                )
                for tried in result.tried
            ],
        )


def filter_routes(filter_test: FilterTest) -> APIRouter:
    """The route that tries filters."""
    routes = APIRouter(prefix="/v1/filters", tags=["filters"])

    @routes.post("/test", summary="Try a filter and a transformation on the newest events")
    async def test_filter(
        caller: Caller, body: FilterTestBody, idempotency_key: IdempotencyKey = None
    ) -> FilterTestView:
        del idempotency_key  # nothing is stored
        return FilterTestView.of(await filter_test.run(caller.environment, body.trial()))

    return routes
