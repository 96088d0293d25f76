"""What the API answers: one model per resource, and how each is made from the gateway's values."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Generic, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field

from posthouse.core.envelope import rfc3339
from posthouse.core.ids import API_KEY, ENDPOINT, REQUEST, SOURCE, make_id
from posthouse.core.limits import OUTBOX_COUNTED_MAX
from posthouse.core.model import ApiKey, Environment, Scope, Tenant
from posthouse.gateway.books import Audit, Balance
from posthouse.gateway.events import EventDetail
from posthouse.gateway.keys import IssuedKey
from posthouse.store.protocol import EventRecord, Origin, OutboxSource, OutboxStatus, SourceBooks

T = TypeVar("T")

Timestamp = Annotated[str, Field(json_schema_extra={"format": "date-time"}, examples=["2026-11-22T08:30:00.000Z"])]


class View(BaseModel):
    """A part of an answer."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Page(View, Generic[T]):
    """One page of a list."""

    data: list[T]
    next_cursor: str | None = Field(description="Pass it as `cursor` to get the next page; null on the last one.")


class PublishedView(View):
    """An event that is durable now."""

    id: str
    deliveries: int = Field(description="How many endpoints the event is owed to.")
    duplicate: bool = Field(description="True: the event was there before, and nothing was stored for it now.")


class PublishedTestView(PublishedView):
    """A test event that is durable now."""

    delivery: str = Field(description="Id of the one delivery that it owes.")


class PublishedBatchView(View):
    """Events that are durable now, in the order of the request."""

    events: list[PublishedView]


class EventView(View):
    """An event."""

    id: str
    type: str
    tenant: str
    accepted_at: Timestamp
    occurred_at: Timestamp | None
    ordering_key: str | None
    deliveries: int = Field(description="How many endpoints the event is owed to.")

    @classmethod
    def of(cls, record: EventRecord) -> Self:
        """The view of ``record``, without its data."""
        return cls.model_validate(_event_fields(record))


class StatusCounts(View):
    """The deliveries of an event by status."""

    waiting: int
    retrying: int
    delivered: int
    exhausted: int
    discarded: int


class OriginView(View):
    """Where an event came from that came in through a source."""

    source: str
    request: str
    position: int = Field(description="Of the event in that request, from 0.")
    repeats: int = Field(description="How often it came again. A repetition is delivered to nobody.")
    possible_duplicate: Literal["unchecked"] | None = Field(
        description="`unchecked`: it may have come before; that could not be found out when it came."
    )

    @classmethod
    def of(cls, origin: Origin) -> Self:
        """The view of ``origin``."""
        return cls(
            source=make_id(SOURCE, origin.source_key),
            request=make_id(REQUEST, origin.request_key),
            position=origin.position,
            repeats=origin.repeats,
            possible_duplicate="unchecked" if origin.unchecked else None,
        )


class EventDetailView(EventView):
    """An event with its data and what became of its deliveries."""

    delivery_counts: StatusCounts
    origin: OriginView | None = Field(description="null: it was published.")
    data: object = Field(description="The publisher's JSON, byte for byte.")

    @classmethod
    def encode(cls, detail: EventDetail) -> bytes:
        """The answer as JSON; the data is copied into it untouched."""
        counts = {state.value: n for state, n in detail.counts.items()}
        origin = None if detail.origin is None else OriginView.of(detail.origin)
        fields = {**_event_fields(detail.record), "delivery_counts": counts, "origin": origin, "data": None}
        view = cls.model_validate(fields)
        head = view.model_dump_json(exclude={"data"}).encode()
        return head[:-1] + b',"data":' + detail.record.event.data + b"}"


class OutboxView(View):
    """What stands in an outbox."""

    place: Literal["store", "elsewhere"] = Field(description="`store`: in the database of the node's store.")
    source: str = Field(description="Names this outbox for ever.")
    waiting: int = Field(description=f"Rows that are not taken yet, counted up to {OUTBOX_COUNTED_MAX}.")
    oldest_at: Timestamp | None = Field(description="When the first of them was published.")
    doubts: int = Field(description="Rows that cannot be events and were put aside, counted as far.")

    @classmethod
    def of(cls, source: OutboxSource, status: OutboxStatus) -> Self:
        """The view of ``status``."""
        return cls(
            place="store" if source.is_own else "elsewhere",
            source=status.source,
            waiting=status.waiting,
            oldest_at=None if status.oldest_at is None else rfc3339(status.oldest_at),
            doubts=status.doubts,
        )


class KeyView(View):
    """An API key, recognisable by its first characters."""

    id: str
    prefix: str
    environment: Environment
    scope: Scope
    name: str
    created_at: Timestamp

    @classmethod
    def of(cls, api_key: ApiKey) -> Self:
        """The view of ``api_key``."""
        return cls.model_validate(_key_fields(api_key))


class KeyWithSecretView(KeyView):
    """An API key with its text."""

    secret: str | None = Field(
        description="The key's text, shown once; only its SHA-256 is stored. null: a repeat of the request.",
        examples=["ph_live_0Zk2v1cB7nGqX4tYw8sPjR5hLmD3fEaU6iKoV9yTbCx"],
    )

    @classmethod
    def issued(cls, issued: IssuedKey) -> Self:
        """The view of a key that was just made."""
        return cls.model_validate({**_key_fields(issued.api_key), "secret": issued.secret})


class TenantView(View):
    """A tenant."""

    id: str
    name: str
    weight: int = Field(description="Its share of a busy node, against the weights of the others that have work.")
    rate: str | None = Field(description="Requests to all its endpoints together, at most. null: no limit.")
    in_flight_max: int | None = Field(
        description="Requests on their way to all its endpoints at once, at most. null: the node's setting."
    )
    fresh_seconds: int | None = Field(
        description="An event that is older starts in the backlog lane. null: the node's setting."
    )
    created_at: Timestamp

    @classmethod
    def of(cls, tenant: Tenant) -> Self:
        """The view of ``tenant``."""
        rules = tenant.rules
        return cls(
            id=tenant.id,
            name=tenant.name,
            weight=rules.weight,
            rate=rules.rate,
            in_flight_max=rules.in_flight_max,
            fresh_seconds=rules.fresh_seconds,
            created_at=rfc3339(tenant.created_at),
        )


class BalanceView(View):
    """Books: what is owed and what became of it."""

    owed: int
    delivered: int
    waiting: int
    retrying: int
    exhausted: int
    discarded: int
    discarded_by_reason: dict[str, int]
    imbalance: int = Field(
        description="Deliveries that are missing or counted twice, summed over endpoints without a sign; all together, "
        "what is wrong in the books of sources is in it too. 0 is right."
    )


class TenantBalanceView(BalanceView):
    """The books of a tenant."""

    tenant: str


class EndpointBalanceView(TenantBalanceView):
    """The books of an endpoint."""

    endpoint: str


class SourceBooksView(View):
    """The books of a source."""

    source: str
    tenant: str
    received: int = Field(description="Requests that are kept.")
    waiting: int = Field(description="Of these: in the inbox.")
    read: int = Field(description="Of these: passed on.")
    quarantined: int = Field(description="Of these: in quarantine, or given up there.")
    events: int = Field(description="That were found in them and are new.")
    duplicates: int = Field(description="That were found in them and had come before.")
    doubted: int = Field(description="Events that are in quarantine, or were given up there.")
    imbalance: int = Field(description="Requests and events that are missing or counted twice. 0 is right.")

    @classmethod
    def of(cls, books: SourceBooks) -> Self:
        """The view of ``books``."""
        return cls(
            source=make_id(SOURCE, books.source_key),
            tenant=books.tenant,
            received=books.received,
            waiting=books.waiting,
            read=books.read,
            quarantined=books.quarantined,
            events=books.events,
            duplicates=books.duplicates,
            doubted=books.doubted,
            imbalance=books.imbalance,
        )


class AuditView(BalanceView):
    """The books, recounted from rows: all together, per tenant and per endpoint; and those of sources."""

    tenants: list[TenantBalanceView]
    endpoints: list[EndpointBalanceView]
    sources: list[SourceBooksView]

    @classmethod
    def of(cls, audit: Audit) -> Self:
        """The view of ``audit``."""
        return cls.model_validate(
            {
                **_balance_fields(audit.total),
                "imbalance": audit.imbalance,
                "tenants": [
                    {**_balance_fields(balance), "tenant": tenant} for tenant, balance in audit.tenants.items()
                ],
                "endpoints": [
                    {**_balance_fields(balance), "tenant": tenant, "endpoint": make_id(ENDPOINT, key)}
                    for (tenant, key), balance in audit.endpoints.items()
                ],
                "sources": [SourceBooksView.of(books) for books in audit.sources],
            }
        )


def page(items: Sequence[T], next_cursor: str | None) -> Page[T]:
    """One page of views."""
    return Page[T](data=list(items), next_cursor=next_cursor)


def time_text(ms: int | None) -> str | None:
    """A time as the API shows it; None stays None."""
    return None if ms is None else rfc3339(ms)


def _event_fields(record: EventRecord) -> Mapping[str, object]:
    event = record.event
    return {
        "id": event.id,
        "type": event.type,
        "tenant": event.tenant,
        "accepted_at": rfc3339(event.accepted_at),
        "occurred_at": time_text(event.occurred_at),
        "ordering_key": event.ordering_key,
        "deliveries": record.owed,
    }


def _key_fields(api_key: ApiKey) -> Mapping[str, object]:
    return {
        "id": make_id(API_KEY, api_key.key),
        "prefix": api_key.prefix,
        "environment": api_key.environment,
        "scope": api_key.scope,
        "name": api_key.name,
        "created_at": rfc3339(api_key.created_at),
    }


def _balance_fields(balance: Balance) -> Mapping[str, object]:
    return {
        "owed": balance.owed,
        "delivered": balance.delivered,
        "waiting": balance.waiting,
        "retrying": balance.retrying,
        "exhausted": balance.exhausted,
        "discarded": sum(balance.discarded.values()),
        "discarded_by_reason": dict(sorted(balance.discarded.items())),
        "imbalance": balance.imbalance,
    }
