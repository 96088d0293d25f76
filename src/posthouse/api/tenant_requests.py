"""What the API takes to create and to change a tenant."""

from typing import Annotated, Any

from pydantic import ConfigDict, Field

from posthouse.api.requests import Body
from posthouse.core.rules import DEFAULT_TENANT_RULES, TenantRules
from posthouse.gateway.tenants import TenantChange

Weight = Annotated[
    int | None,
    Field(
        description="Its share of a busy node, against the weights of the others that have work: 1 to 1,000. null: 1."
    ),
]
Rate = Annotated[
    str | None,
    Field(description="Requests to all its endpoints together, at most, such as `100/s` or `5000/d`. null: no limit."),
]
InFlightMax = Annotated[
    int | None,
    Field(description="Requests on their way to all its endpoints at once, at most. null: the node's setting."),
]
FreshSeconds = Annotated[
    int | None,
    Field(description="An event that is older starts in the backlog lane. null: the node's setting."),
]


class TenantBody(Body):
    """A new tenant."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"id": "globex", "name": "Globex Corporation"},
                {"id": "initech", "weight": 10, "rate": "200/s", "in_flight_max": 64, "fresh_seconds": 60},
            ]
        }
    )

    id: str
    name: str | None = Field(default=None, description="Like the id if there is none.")
    weight: Weight = None
    rate: Rate = None
    in_flight_max: InFlightMax = None
    fresh_seconds: FreshSeconds = None

    def rules(self) -> TenantRules:
        """Its rules in the gateway's words."""
        return TenantRules(
            weight=DEFAULT_TENANT_RULES.weight if self.weight is None else self.weight,
            rate=self.rate,
            in_flight_max=self.in_flight_max,
            fresh_seconds=self.fresh_seconds,
        )


def _without_default(schema: dict[str, Any]) -> None:
    """A field that may be left out; its default is never looked at, so it is not shown either."""
    schema.pop("default", None)


class TenantChangeBody(Body):
    """What is to change about a tenant; fields that are left out stay."""

    model_config = ConfigDict(json_schema_extra={"examples": [{"weight": 10}, {"rate": "50/s", "fresh_seconds": None}]})

    name: str = Field(default="", json_schema_extra=_without_default)
    weight: Weight = Field(default=None, json_schema_extra=_without_default)
    rate: Rate = Field(default=None, json_schema_extra=_without_default)
    in_flight_max: InFlightMax = Field(default=None, json_schema_extra=_without_default)
    fresh_seconds: FreshSeconds = Field(default=None, json_schema_extra=_without_default)

    def change(self) -> TenantChange:
        """The same in the gateway's words."""
        return TenantChange(**self.model_dump(exclude_unset=True))
