"""Requests to sources as the ledger keeps them."""

import re
from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.core.errors import NotFound
from posthouse.core.head import head_of
from posthouse.core.ids import REQUEST, parse_id
from posthouse.core.inbound import InboundRequest, Source, Verdict
from posthouse.core.model import Environment
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.sources import source_of
from posthouse.store.protocol import InboundFacet, RequestQuery, RequestRecord

HIDDEN: Final = "***"  #: stands for the value of a header that nobody may see

#: Headers by which senders show tokens and passwords, whether or not they are those of the source.
_CREDENTIALS: Final = re.compile(r"authorization|cookie|secret|password|token|api-?key", re.IGNORECASE)


class RequestFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which requests are meant. None: any."""

    source_id: str | None = None
    tenant: str | None = None
    verdict: Verdict | None = None
    since: int | None = None
    until: int | None = None


class Requests:
    """Lists and shows requests to sources."""

    def __init__(self, inbound: InboundFacet, catalogue: Catalogue) -> None:
        self._inbound = inbound
        self._catalogue = catalogue

    async def page(
        self, environment: Environment, wanted: RequestFilter, *, after: int | None, limit: int
    ) -> list[RequestRecord]:
        """Up to ``limit`` requests without bodies and headers, newest first. Raises NotFound for the source."""
        source = None if wanted.source_id is None else source_of(self._catalogue, environment, wanted.source_id)
        return await self._inbound.requests(
            RequestQuery(
                environment=environment,
                tenant=wanted.tenant,
                source_key=None if source is None else source.key,
                verdict=wanted.verdict,
                since=wanted.since,
                until=wanted.until,
                after=after,
                limit=limit,
            )
        )

    async def get(self, environment: Environment, request_id: str) -> RequestRecord:
        """The request with this id, with its body, and its headers without what is secret. Raises NotFound."""
        key = parse_id(REQUEST, request_id)
        record = None if key is None else await self._inbound.request(key)
        source = None if record is None else self._catalogue.source(record.request.source_key)
        if record is None or source is None or source.environment is not environment:
            raise NotFound("There is no request with this id.")
        return msgspec.structs.replace(record, request=_without_secrets(record.request, source))


def _without_secrets(request: InboundRequest, source: Source) -> InboundRequest:
    shown = masked(request.headers, [secret.value for secret in source.secrets])
    return msgspec.structs.replace(request, head=head_of(shown))


def masked(headers: Sequence[tuple[str, str]], secrets: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """The headers with ``***`` for each value that is a credential by its name, or holds one of ``secrets``."""
    return tuple(
        (name, HIDDEN if _CREDENTIALS.search(name) or any(secret in value for secret in secrets) else value)
        for name, value in headers
    )
