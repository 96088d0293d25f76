"""What the API serves: the gateway's use-cases, handed over by the composition root."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from posthouse.api.publishing import Publishing
from posthouse.gateway.books import Books
from posthouse.gateway.deliveries import Deliveries
from posthouse.gateway.endpoints import Endpoints
from posthouse.gateway.events import Events
from posthouse.gateway.keys import Keys
from posthouse.gateway.principal import Authenticator
from posthouse.gateway.tenants import Tenants


@dataclass(frozen=True, slots=True, kw_only=True)
class UseCases:
    """Everything that a route can call."""

    publisher: Publishing
    authenticator: Authenticator
    endpoints: Endpoints
    deliveries: Deliveries
    events: Events
    keys: Keys
    tenants: Tenants
    books: Books
    readiness: Callable[[], Awaitable[bytes]]  #: ``health.Readiness``
    metrics: Callable[[], bytes]  #: the Prometheus text exposition
