"""Which part of each tenant this node has."""

from posthouse.core.model import SLOTS, EndpointState, Environment, slot_of
from posthouse.core.shares import WHOLE, Share
from posthouse.engine.membership import Membership
from posthouse.engine.ownership import Leases
from posthouse.gateway.catalogue import Catalogue


class Shares:
    """Counts a tenant's endpoints. Costs by them, so it is asked only for tenants with a rate or a cap."""

    def __init__(self, catalogue: Catalogue, membership: Membership, leases: Leases) -> None:
        self._catalogue = catalogue
        self._membership = membership
        self._leases = leases

    def of(self, environment: Environment, tenant: str) -> Share:
        """What of this tenant is this node's now."""
        epochs, taken = self._leases.epochs, self._leases.taken
        if len(epochs) == SLOTS and not taken:
            return WHOLE
        active = [e for e in self._catalogue.endpoints_of(environment, tenant) if e.state is EndpointState.ACTIVE]
        mine = [slot for slot in (slot_of(endpoint.key) for endpoint in active) if slot in epochs]
        taken_at = max((taken[slot] for slot in mine if slot in taken), default=None)
        return Share(len(mine), len(active), len(self._membership.workers), taken_at)
