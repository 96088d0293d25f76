"""What this node makes due is told to its own engine, or to the node whose slot it is in. Hints only save time."""

from collections.abc import Callable, Sequence
from typing import Protocol

from posthouse.core.jobs import JobFilter
from posthouse.core.model import SLOTS, Endpoint, Lane, Tenant, slot_of
from posthouse.engine.ownership import Leases
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.hints import Condition, Hints, Holding
from posthouse.store.protocol import Hints as Told
from posthouse.store.protocol import HintsChannel, Work


class Own(Hints, Protocol):
    """The engine of this node."""

    def look_at(self, slots: set[int]) -> None:
        """Look into the store for all work of these slots, as far as they are this node's."""
        ...


class Relay:
    """Implements :class:`posthouse.gateway.hints.Hints`: what is this node's goes to its engine, the rest to others.

    What other nodes tell goes to the engine only, so that nothing goes round.
    """

    def __init__(self, own: Own, leases: Leases, catalogue: Catalogue, channel: HintsChannel | None) -> None:
        self._own = own
        self._leases = leases
        self._catalogue = catalogue
        self._channel = channel
        #: Hears of sources whose part of the inbox got something to pass on.
        self.returned: Callable[[int], None] = lambda _: None
        if channel is not None:
            channel.when_told(self.told)

    # -- what becomes durable here ---------------------------------------------------------------

    def accepted(self, work: Sequence[Work]) -> None:
        """These obligations are durable now."""
        self._own.accepted(work)
        if self._channel is None or len(self._leases.epochs) == SLOTS:
            return
        epochs = self._leases.epochs
        owed = {(item.obligation.endpoint_key, int(item.obligation.lane)) for item in work}
        others = frozenset((key, lane) for key, lane in owed if slot_of(key) not in epochs)
        if others:
            self._channel.tell(Told(work=others))

    def due(self, endpoint_key: int, lane: Lane) -> None:
        """The store may hold due work for this endpoint that no window knows."""
        if not self._is_elsewhere(endpoint_key):
            self._own.due(endpoint_key, lane)
        elif self._channel is not None and lane is not Lane.PARKED:
            self._channel.tell(Told(work=frozenset(((endpoint_key, int(lane)),))))

    def withdrawn(self, event_key: int, endpoint_key: int) -> None:
        """This delivery is no longer open, or it is parked."""
        self._own.withdrawn(event_key, endpoint_key)
        if self._channel is not None and self._is_elsewhere(endpoint_key):
            self._channel.tell(Told(withdrawn=frozenset(((event_key, endpoint_key),))))

    def endpoint_changed(self, endpoint: Endpoint) -> None:
        """This is the endpoint as it is now."""
        self._own.endpoint_changed(endpoint)
        self.catalogue_changed()

    def tenant_changed(self, tenant: Tenant) -> None:
        """This is the tenant as it is now."""
        self._own.tenant_changed(tenant)
        self.catalogue_changed()

    def catalogue_changed(self) -> None:
        """Let the others look what is new in the catalogue."""
        if self._channel is not None:
            self._channel.tell(Told(catalogue=True))

    def job_changed(self, job_key: int) -> None:
        """This job was made or changed."""
        self._own.job_changed(job_key)
        if self._channel is not None:
            self._channel.tell(Told(jobs=frozenset((job_key,))))

    def slots_freed(self) -> None:
        """Let the others take what this node gave up, or found without an owner that lives."""
        if self._channel is not None:
            self._channel.tell(Told(slots_free=True))

    # -- what concerns this node only -------------------------------------------------------------

    def hold_backlog(self, holder: int, scope: JobFilter) -> None:
        """Every node sees by itself which jobs hold the backlog of its endpoints."""
        self._own.hold_backlog(holder, scope)

    def release_backlog(self, holder: int) -> None:
        """What ``hold_backlog`` held goes on. Idempotent."""
        self._own.release_backlog(holder)

    def job_pace(self, job_key: int) -> float | None:
        """Deliveries a second that this job goes through here."""
        return self._own.job_pace(job_key)

    def holding(self, event_key: int, endpoint_key: int, lane: Lane) -> Holding | None:
        """What holds this open delivery."""
        return self._own.holding(event_key, endpoint_key, lane)

    def condition(self, endpoint_key: int) -> Condition:
        """How this endpoint is."""
        return self._own.condition(endpoint_key)

    # -- what others tell --------------------------------------------------------------------------

    def told(self, hints: Told) -> None:
        """Another node tells this."""
        if hints.slots_free:
            self._leases.hurry()
        if hints.catalogue:
            self._catalogue.behind.set()
        for event_key, endpoint_key in hints.withdrawn:
            self._own.withdrawn(event_key, endpoint_key)
        for endpoint_key, lane in hints.work:
            self._own.due(endpoint_key, Lane(lane))
        if hints.slots:
            self._own.look_at(set(hints.slots))
        for job_key in hints.jobs:
            self._own.job_changed(job_key)
        for source_key in hints.sources:
            self.returned(source_key)

    def _is_elsewhere(self, endpoint_key: int) -> bool:
        return slot_of(endpoint_key) not in self._leases.epochs
