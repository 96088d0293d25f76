"""Incidents: what may be wrong with what comes in."""

from posthouse.core.inbound import Incident, IncidentKind
from posthouse.core.model import Environment
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.sources import source_of
from posthouse.store.protocol import InboundFacet, IncidentQuery


class Incidents:
    """Lists incidents."""

    def __init__(self, inbound: InboundFacet, catalogue: Catalogue) -> None:
        self._inbound = inbound
        self._catalogue = catalogue

    async def page(
        self,
        environment: Environment,
        *,
        source_id: str | None,
        tenant: str | None,
        kind: IncidentKind | None,
        is_open: bool | None,
        after: int | None,
        limit: int,
    ) -> list[Incident]:
        """Up to ``limit`` incidents, newest first, from the one behind the key ``after`` on. Raises NotFound."""
        source = None if source_id is None else source_of(self._catalogue, environment, source_id)
        return await self._inbound.incidents(
            IncidentQuery(
                environment=environment,
                tenant=tenant,
                source_key=None if source is None else source.key,
                kind=kind,
                is_open=is_open,
                after=after,
                limit=limit,
            )
        )
