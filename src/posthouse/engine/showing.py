"""What is shown of deliveries and endpoints: what this node knows of its own, and what rows say of the others'."""

from collections.abc import Callable
from contextlib import suppress

from posthouse.core.errors import StoreUnavailable
from posthouse.core.health import disables_at
from posthouse.core.model import SLOTS, Health, Lane, slot_of
from posthouse.core.ports import Clock
from posthouse.core.waiting import Hold
from posthouse.engine.board import Board
from posthouse.engine.ownership import Leases
from posthouse.engine.settler import Settler
from posthouse.engine.wakes import NEVER
from posthouse.engine.warden import Warden
from posthouse.engine.watchdog import Queue
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.hints import Condition, Holding
from posthouse.store.protocol import WorkFacet


class Showing:
    """Answers what holds a delivery, and how an endpoint is. Of endpoints of other nodes it tells what is stored.

    ``is_stuck(queue)`` is the sweep's word.
    """

    def __init__(
        self,
        store: WorkFacet,
        catalogue: Catalogue,
        *,
        board: Board,
        leases: Leases,
        settler: Settler,
        warden: Warden,
        is_stuck: Callable[[Queue], bool],
        clock: Clock,
    ) -> None:
        self._store = store
        self._catalogue = catalogue
        self._board = board
        self._leases = leases
        self._settler = settler
        self._warden = warden
        self._is_stuck = is_stuck
        self._clock = clock
        self._elsewhere: dict[int, Health] = {}  # endpoints of other nodes that are not well

    async def look(self) -> None:
        """Read how the endpoints of other nodes are. Where the store does not answer, what was known of them stays."""
        others = set(range(SLOTS)) - self._leases.epochs.keys()
        with suppress(StoreUnavailable):
            found = await self._store.health(others) if others else []
            self._elsewhere = {health.endpoint_key: health for health in found}

    def holding(self, event_key: int, endpoint_key: int, lane: Lane) -> Holding | None:
        """What holds this open delivery, as far as this node knows."""
        slot = slot_of(endpoint_key)
        if slot not in self._leases.epochs or not self._leases.is_valid:
            return self._held_elsewhere(endpoint_key, self._leases.owner_of(slot))
        desk = self._board.find(endpoint_key)
        is_settling = (endpoint_key, event_key) in self._settler.deliveries()
        if is_settling or (desk is not None and desk.is_sending(event_key)):
            return Holding(Hold.SETTLING if is_settling else Hold.IN_FLIGHT)
        holder = None if desk is None else self._board.turns.holder(desk, lane)
        if holder is not None:
            if holder.until == NEVER:
                return Holding(holder.hold)
            wait_ms = max(0.0, (holder.until - self._clock.monotonic()) * 1_000)
            return Holding(holder.hold, self._clock.now_ms() + round(wait_ms))
        if self._is_stuck((endpoint_key, lane)):
            return Holding(Hold.STUCK)
        return None if lane is Lane.LIVE or not self._board.turns.has_live else Holding(Hold.LANE)

    def _held_elsewhere(self, endpoint_key: int, owner: str | None) -> Holding:
        if owner is None:
            return Holding(Hold.NO_OWNER)
        health = self._elsewhere.get(endpoint_key)
        if health is None:
            return Holding(Hold.ELSEWHERE, node=owner)
        return Holding(Hold.RECOVERING if health.opened_at is None else Hold.BREAKER_OPEN, node=owner)

    def condition(self, endpoint_key: int) -> Condition:
        """How the endpoint is."""
        slot = slot_of(endpoint_key)
        owner = self._leases.owner_of(slot)
        if self._leases.epoch_of(slot) is None:
            return self._condition_elsewhere(endpoint_key, owner)
        desk = self._board.find(endpoint_key)
        return Condition(node=owner) if desk is None else self._warden.condition(desk, owner)

    def _condition_elsewhere(self, endpoint_key: int, owner: str | None) -> Condition:
        health, endpoint = self._elsewhere.get(endpoint_key), self._catalogue.endpoint(endpoint_key)
        if health is None or endpoint is None:
            return Condition(node=owner)
        return Condition(
            state="recovering" if health.opened_at is None else "down",
            failing_since=health.failing_since,
            disables_at=disables_at(health.failing_since, endpoint.rules.disable_after_days),
            node=owner,
        )
