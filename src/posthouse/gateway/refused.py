"""How much room refused requests take: they are kept too, within a bound for each source."""

from posthouse.core.limits import QUARANTINE_BYTES_MAX
from posthouse.store.protocol import InboundFacet


class RefusedRoom:
    """Counts the bodies of refused requests in quarantine, by source."""

    def __init__(self, store: InboundFacet) -> None:
        self._store = store
        self._bytes: dict[int, int] = {}
        self.full: set[int] = set()  #: keys of sources of which something was not kept for want of room

    async def measure(self) -> None:
        """Ask the store. Raises StoreUnavailable."""
        self._bytes = await self._store.quarantined_bytes()
        self.full = {key for key in self.full if self._bytes.get(key, 0) >= QUARANTINE_BYTES_MAX}

    def take(self, source_key: int, size: int) -> bool:
        """Whether ``size`` bytes more of a source can be kept; then they are counted."""
        total = self._bytes.get(source_key, 0) + size
        if total > QUARANTINE_BYTES_MAX:
            self.full.add(source_key)
            return False
        self._bytes[source_key] = total
        return True
