"""The gateway: every use-case over one store, made once and put together here."""

from collections.abc import Callable, Sequence

from posthouse.core.address import AddressPolicy
from posthouse.core.failpoints import Reach, pass_by
from posthouse.core.ports import Clock, Entropy
from posthouse.gateway.backlog import Backlog
from posthouse.gateway.books import Books
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.deliveries import Deliveries
from posthouse.gateway.endpoints import Endpoints
from posthouse.gateway.events import Events
from posthouse.gateway.filter_test import FilterTest
from posthouse.gateway.handshakes import Handshakes
from posthouse.gateway.hints import Hints, InboxHints
from posthouse.gateway.incidents import Incidents
from posthouse.gateway.intake import IntakeBatcher
from posthouse.gateway.jobs import Jobs
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.keys import Keys
from posthouse.gateway.nodes import Nodes, Watcher
from posthouse.gateway.outbox import Outbox
from posthouse.gateway.principal import Authenticator
from posthouse.gateway.publish import Publisher
from posthouse.gateway.quarantine import Quarantine
from posthouse.gateway.receive import Receiver
from posthouse.gateway.refused import RefusedRoom
from posthouse.gateway.repeats import KeyedLocks
from posthouse.gateway.requests import Requests
from posthouse.gateway.routes import EventRouter
from posthouse.gateway.sources import Sources
from posthouse.gateway.target_check import Resolve, TargetCheck
from posthouse.gateway.tenants import Tenants
from posthouse.store.protocol import OutboxSource, Store
from posthouse.telemetry import Metrics


class Gateway:
    """What can be done with a store.

    Args:
        store: open.
        catalogue: of that store; whoever starts the gateway refreshes it first.
        hints: hears what became durable; the engine.
        inbox: hears which requests to sources became durable, which sources changed, and what left quarantine.
        metrics: counts what is accepted.
        clock: what time it is.
        entropy: what secrets and keys are made of.
        new_key: makes identities.
        policy: which addresses endpoints may lead to.
        resolve: looks up the host of a URL when an endpoint is saved.
        room: how many live deliveries more can be taken before accepting paces itself.
        router: where events go.
        refused: the room that refused requests to sources may take.
        outboxes: what is drained; whoever starts the gateway starts that too.
        watcher: knows which nodes live.
        accepts: whether events that are published here are taken.
        reach: hears which boundary an accepted event has come to.
    """

    def __init__(
        self,
        store: Store,
        catalogue: Catalogue,
        hints: Hints,
        inbox: InboxHints,
        *,
        metrics: Metrics,
        clock: Clock,
        entropy: Entropy,
        new_key: KeySource,
        policy: AddressPolicy,
        resolve: Resolve,
        room: Callable[[], int],
        router: EventRouter,
        refused: RefusedRoom,
        outboxes: Sequence[OutboxSource] = (),
        watcher: Watcher | None = None,
        accepts: bool = True,
        reach: Reach = pass_by,
    ) -> None:
        self.catalogue = catalogue
        catalogue.tell(hints, inbox)
        self.authenticator = Authenticator(catalogue)
        self.intake = IntakeBatcher(store.intake, hints, metrics, room=room, reach=reach)
        self.publisher = Publisher(catalogue, router, self.intake, clock, new_key, accepts=accepts, reach=reach)
        self.outbox = Outbox(outboxes, self.publisher, self.intake, clock, metrics)
        self.tenants = Tenants(store.catalogue, catalogue, hints, clock)
        locks = KeyedLocks()
        self.endpoints = Endpoints(
            store,
            catalogue,
            hints,
            self.tenants,
            TargetCheck(policy, resolve),
            intake=self.intake,
            clock=clock,
            entropy=entropy,
            new_key=new_key,
            locks=locks,
        )
        self.handshakes = Handshakes(store.catalogue, catalogue, hints, locks)
        self.sources = Sources(
            store.catalogue, catalogue, inbox, self.tenants, clock=clock, entropy=entropy, new_key=new_key
        )
        self.receiver = Receiver(
            store.inbound, refused, inbox, metrics, new_key=new_key, agree=self.sources.agree, reach=reach
        )
        self.requests = Requests(store.inbound, catalogue)
        self.quarantine = Quarantine(store.inbound, catalogue, inbox, clock)
        self.incidents = Incidents(store.inbound, catalogue)
        self.events = Events(store.ledger, store.inbound, catalogue)
        self.deliveries = Deliveries(store, catalogue, hints, self.events, clock)
        self.jobs = Jobs(store, catalogue, hints, self.events, clock=clock, new_key=new_key)
        self.filter_test = FilterTest(store.ledger, self.endpoints)
        self.keys = Keys(store.catalogue, catalogue, clock, entropy, new_key)
        self.backlog = Backlog(store.ledger, catalogue)
        self.nodes = Nodes(store.ownership, watcher)
        self.books = Books(store.ledger, store.inbound)
