"""What waits, by endpoint and lane: what there is to park, to drain or to promote."""

import msgspec

from posthouse.core.errors import NotFound
from posthouse.core.ids import ENDPOINT, parse_id
from posthouse.core.limits import PAGE_ITEMS_MAX
from posthouse.core.model import Endpoint, Environment
from posthouse.gateway.catalogue import Catalogue
from posthouse.store.protocol import LedgerFacet, Waiting


class EndpointBacklog(msgspec.Struct, frozen=True):
    """What waits for one endpoint."""

    endpoint: Endpoint
    waiting: Waiting


class Backlog:
    """Counts what waits, from rows."""

    def __init__(self, ledger: LedgerFacet, catalogue: Catalogue) -> None:
        self._ledger = ledger
        self._catalogue = catalogue

    async def page(
        self,
        environment: Environment,
        *,
        tenant: str | None = None,
        endpoint_id: str | None = None,
        after: int | None = None,
        limit: int,
    ) -> list[EndpointBacklog]:
        """Up to ``limit`` endpoints for which something waits, oldest first, from the one behind the key ``after`` on.

        Raises NotFound for an endpoint that does not exist.
        """
        place, until = after or 0, None
        if endpoint_id is not None:
            until = self._key_of(environment, endpoint_id)
            place = max(place, until - 1)
        found: list[EndpointBacklog] = []
        while len(found) < limit:
            part = await self._ledger.waiting(after=place, until=until, limit=PAGE_ITEMS_MAX)
            for waiting in part:
                endpoint = self._catalogue.endpoint(waiting.endpoint_key)
                if endpoint is None or endpoint.environment is not environment:
                    continue
                if tenant is None or endpoint.tenant == tenant:
                    found.append(EndpointBacklog(endpoint, waiting))
            if len(part) < PAGE_ITEMS_MAX:
                break
            place = part[-1].endpoint_key
        return found[:limit]

    def _key_of(self, environment: Environment, endpoint_id: str) -> int:
        key = parse_id(ENDPOINT, endpoint_id)
        endpoint = None if key is None else self._catalogue.endpoint(key)
        if endpoint is None or endpoint.environment is not environment:
            raise NotFound("There is no endpoint with this id.")
        return endpoint.key
