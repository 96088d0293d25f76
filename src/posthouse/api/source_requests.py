"""What the API takes to create, change and pause a source."""

from typing import Annotated, Any, Final, Literal

import msgspec
from pydantic import ConfigDict, Field

from posthouse.api.requests import Body
from posthouse.core import limits
from posthouse.core.inbound import DEFAULT_SOURCE_RULES, WhilePaused
from posthouse.core.publishing import DEFAULT_TENANT
from posthouse.gateway.source_input import SourceChange, SourceSpec

WhilePausedName = Annotated[
    Literal["hold", "refuse"],
    Field(
        description="What becomes of requests while it is paused. `hold`: kept, acknowledged, passed on when it is "
        "resumed. `refuse`: answered with the code that this sender retries; nothing is kept."
    ),
]
FreshSeconds = Annotated[
    int | None,
    Field(description="An event that is older starts in the backlog lane. null: its tenant's rule, or the node's."),
]
HeartbeatSeconds = Annotated[
    int | None,
    Field(
        description="The rhythm in which something is expected: twice as long without a request is silence. "
        "null: the provider's heartbeat, or what is learnt. 0: nothing is expected."
    ),
]
BodyBytesMax = Annotated[
    int | None, Field(description=f"Of one request, as it comes. null: {limits.SOURCE_BODY_BYTES_DEFAULT:,}.")
]
KeyHosts = Annotated[
    list[str] | None,
    Field(
        description="Hosts besides the provider's from which its keys may be fetched, such as `*.example.com`. "
        "null: none."
    ),
]
Custom = Annotated[
    dict[str, Any] | None,
    Field(description="Of the provider `custom`: what its sender does. See the page on receiving."),
]

_CUSTOM_EXAMPLE: Final[dict[str, Any]] = {
    "name": "ledger",
    "provider": "custom",
    "secrets": ["a-secret-that-both-know"],
    "custom": {
        "scheme": {"kind": "hmac", "header": "X-Signature"},
        "type": "field:event",
        "identity": "field:id",
        "occurred_at": "field:created_at",
    },
}


class SourceBody(Body):
    """A new source."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {"name": "payments", "provider": "gocardless"},
                {
                    "name": "shop",
                    "provider": "stripe",
                    "tenant": "acme",
                    "secrets": ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
                    "description": "Orders of the shop",
                    "fresh_seconds": 600,
                    "heartbeat_seconds": 3_600,
                    "body_bytes_max": 262_144,
                    "while_paused": "refuse",
                },
                _CUSTOM_EXAMPLE,
            ]
        }
    )

    name: str = Field(description="What people call it.")
    provider: str = Field(description="Name of a provider, or `custom`.")
    tenant: str = Field(default=DEFAULT_TENANT, description="Whose events they are; made if it is new.")
    secrets: list[str] = Field(
        default=[],
        description="Newest first, each as the provider shows it. Many show theirs only when they know the URL: "
        "then rotate to it.",
    )
    description: str = ""
    fresh_seconds: FreshSeconds = None
    heartbeat_seconds: HeartbeatSeconds = None
    body_bytes_max: BodyBytesMax = None
    while_paused: WhilePausedName = "hold"
    key_hosts: KeyHosts = None
    custom: Custom = None

    def spec(self) -> SourceSpec:
        """The same in the gateway's words."""
        return SourceSpec(**_fields(self.model_dump()))


def _left_out(default: object) -> Any:
    """A field that may be left out; its default is never looked at, so it is not shown either."""
    return Field(default, json_schema_extra=_without_default)


def _without_default(schema: dict[str, Any]) -> None:
    schema.pop("default", None)


class SourceChangeBody(Body):
    """What is to change about a source; fields that are left out stay."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "payments, new"}, {"fresh_seconds": 60, "heartbeat_seconds": None}]}
    )

    name: str = _left_out("")
    description: str = _left_out("")
    fresh_seconds: FreshSeconds = _left_out(None)
    heartbeat_seconds: HeartbeatSeconds = _left_out(None)
    body_bytes_max: BodyBytesMax = _left_out(None)
    while_paused: WhilePausedName = _left_out("hold")
    key_hosts: KeyHosts = _left_out(None)
    custom: Custom = _left_out(None)

    def change(self) -> SourceChange:
        """The same in the gateway's words."""
        return SourceChange(**_fields(self.model_dump(exclude_unset=True)))


class PauseSourceBody(Body):
    """How to pause a source."""

    model_config = ConfigDict(json_schema_extra={"examples": [{}, {"while_paused": "refuse"}]})

    while_paused: Literal["hold", "refuse"] | None = Field(
        default=None, description="What becomes of requests meanwhile. null: as it is set."
    )


class RotateSourceSecretBody(Body):
    """Another secret, or the first one."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"secret": "the-new-one"}, {"secret": "leaked-before", "overlap_ms": 0}]}
    )

    secret: str = Field(description="As the provider shows it.")
    overlap_ms: int = Field(
        default=limits.SECRET_OVERLAP_MS_DEFAULT,
        ge=0,
        le=limits.SECRET_OVERLAP_MS_MAX,
        description="How long the secrets before it count too.",
    )


def _fields(fields: dict[str, Any]) -> dict[str, Any]:
    """JSON arrays, objects and names as the values that the gateway holds; null as what it stands for."""
    for name in ("key_hosts", "secrets"):
        if fields.get(name) is not None:
            fields[name] = tuple(fields[name])
    if "while_paused" in fields:
        fields["while_paused"] = WhilePaused(fields["while_paused"])
    if "custom" in fields:
        custom = fields.pop("custom")
        fields["declaration"] = None if custom is None else msgspec.json.encode(custom).decode()
    for name in ("body_bytes_max", "key_hosts"):
        if name in fields and fields[name] is None:
            fields[name] = getattr(DEFAULT_SOURCE_RULES, name)
    return fields
