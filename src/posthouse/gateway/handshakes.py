"""Handshakes of endpoints: what a receiver agreed to is kept with its endpoint.

The handshake itself is a request, and so the engine's: no call of the API waits for somebody else's server. All that
has to outlive a node is that it is done. That is one of the endpoint's rules (``greeted``), written once for each URL.
It could not be told from the deliveries: an endpoint that nothing was owed to yet would be greeted by every new node.
"""

import msgspec

from posthouse.core.model import Endpoint
from posthouse.formats.greeting import is_unmet, mark_of
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deciding import decided
from posthouse.gateway.hints import Hints
from posthouse.gateway.repeats import KeyedLocks
from posthouse.store.protocol import CatalogueFacet


class Handshakes:
    """Keeps which endpoints have answered. ``locks``: those of whoever else writes endpoints, by their keys."""

    def __init__(self, facet: CatalogueFacet, catalogue: Catalogue, hints: Hints, locks: KeyedLocks) -> None:
        self._facet = facet
        self._catalogue = catalogue
        self._hints = hints
        self._locks = locks

    async def agreed(self, endpoint: Endpoint) -> bool:
        """The receiver answered the handshake that was made for ``endpoint``; whether that counts.

        It does not if the endpoint has another URL, format or secret by now, is deleted, or has agreed already. Raises
        StoreUnavailable.
        """
        async with self._locks.of(endpoint.key):
            return await decided(self._catalogue, lambda: self._agreed(endpoint))

    async def _agreed(self, endpoint: Endpoint) -> bool:
        current = self._catalogue.endpoint(endpoint.key)
        if current is None or not is_unmet(current) or _offer(current) != _offer(endpoint):
            return False
        rules = msgspec.structs.replace(current.rules, greeted=mark_of(current))
        greeted = msgspec.structs.replace(current, rules=rules)
        version = await self._facet.put_endpoint(greeted, seen=current.revision)
        self._hints.endpoint_changed(self._catalogue.apply_endpoint(greeted, version))
        return True


def _offer(endpoint: Endpoint) -> tuple[str, str, tuple[str, ...]]:
    """What a handshake is about."""
    return endpoint.url, endpoint.rules.format, tuple(secret.value for secret in endpoint.secrets[:1])
