"""Nodes as the API shows them."""

from typing import Literal, Self

from pydantic import Field

from posthouse.api.views import Timestamp, View
from posthouse.core.envelope import rfc3339
from posthouse.gateway.nodes import NodeDetail


class NodeView(View):
    """A node on the register."""

    name: str = Field(description="Of one life of one process: after a restart it is another node.")
    role: Literal["all", "engine", "edge"] = Field(
        description="What it does. A node that starts or stops is an `edge` meanwhile: it takes no slots."
    )
    version: str
    host: str = Field(description="The machine that it runs on.")
    process_id: int
    url: str | None = Field(description="Where its API listens, if that is known.")
    joined_at: Timestamp = Field(description="By its own clock.")
    state: Literal["alive", "dead", "unknown"] = Field(
        description="As the node that answers sees it; `dead`: nothing was heard of it for as long as a lease lasts."
    )
    last_beat_seconds: float | None = Field(
        description="For how long the node that answers has seen no new beat of it; a node beats every two seconds."
    )
    slots: int = Field(description="How many of the 256 slots of endpoints it owns.")
    is_this: bool = Field(description="It is the node that answers.")

    @classmethod
    def of(cls, detail: NodeDetail) -> Self:
        """The view of ``detail``."""
        record = detail.record
        return cls(
            name=record.name,
            role=record.role.value,
            version=record.version,
            host=record.host,
            process_id=record.process_id,
            url=record.url,
            joined_at=rfc3339(record.joined_at),
            state="unknown" if detail.lives is None else "alive" if detail.lives else "dead",
            last_beat_seconds=None if detail.silent_seconds is None else round(detail.silent_seconds, 3),
            slots=record.slots,
            is_this=detail.is_this,
        )
