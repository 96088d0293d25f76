"""What the gateway tells the engine after a commit, and asks it. Hints only save time: the store holds the truth."""

from collections.abc import Sequence
from typing import Protocol

import msgspec

from posthouse.core.inbound import Source
from posthouse.core.jobs import JobFilter
from posthouse.core.model import Endpoint, Lane, Tenant
from posthouse.store.protocol import InboxItem, Work


class Holding(msgspec.Struct, frozen=True):
    """What holds a delivery that is due or whose endpoint is not well, as the node that works for it knows."""

    code: str  #: one of core.waiting.Hold
    until: int | None = None  #: when that changes by itself, Unix ms, if it is known
    node: str | None = None  #: which other node works for its endpoint, if another one does


class Condition(msgspec.Struct, frozen=True, kw_only=True):
    """How an endpoint is, as the node that works for it knows."""

    state: str = (
        "ok"  #: ``ok``, ``failing`` (its latest attempts failed), ``down`` (its breaker is open), ``recovering``
    )
    failing_since: int | None = None  #: Unix ms
    next_probe_at: int | None = None  #: Unix ms, if it is down
    disables_at: int | None = None  #: when a rule disables it unless it answers before, Unix ms
    rate_now: float | None = None  #: requests a second that it gets at most at present; None: no limit
    in_flight: int = 0  #: requests on their way to it, if this node works for it
    node: str | None = None  #: which node works for it; None: none that lives


class Hints(Protocol):
    """Implemented by the engine; losing a call delays work, it never loses any."""

    def accepted(self, work: Sequence[Work]) -> None:
        """These obligations are durable now."""
        ...

    def due(self, endpoint_key: int, lane: Lane) -> None:
        """The store may hold due work for this endpoint that no window knows."""
        ...

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """This is the endpoint as it is now (state, URL, secrets, rules, …)."""
        ...

    def tenant_changed(self, tenant: Tenant) -> None:
        """This is the tenant as it is now (its rules)."""
        ...

    def withdrawn(self, event_key: int, endpoint_key: int) -> None:
        """This delivery is no longer open, or it is parked."""
        ...

    def hold_backlog(self, holder: int, scope: JobFilter) -> None:
        """Send nothing from the backlog lanes of the endpoints in ``scope`` until ``release_backlog(holder)``."""
        ...

    def release_backlog(self, holder: int) -> None:
        """What ``hold_backlog`` held goes on. Idempotent."""
        ...

    def job_changed(self, job_key: int) -> None:
        """This job was made, resumed or changed."""
        ...

    def job_pace(self, job_key: int) -> float | None:
        """Deliveries a second that this job goes through at present; None: it does not run here, or has only begun."""
        ...

    def holding(self, event_key: int, endpoint_key: int, lane: Lane) -> Holding | None:
        """What holds this open delivery; None: nothing that this node knows of."""
        ...

    def condition(self, endpoint_key: int) -> Condition:
        """How this endpoint is."""
        ...


class InboxHints(Protocol):
    """Implemented by the inbox; losing a call delays work, it never loses any."""

    def arrived(self, items: Sequence[InboxItem]) -> None:
        """These requests are durable now, and wait to be passed on."""
        ...

    def source_changed(self, source: Source) -> None:
        """This is the source as it is now (state, secrets, rules)."""
        ...

    def returned(self, source_key: int) -> None:
        """The store may hold due items of this source that nobody in memory knows: they left quarantine."""
        ...
