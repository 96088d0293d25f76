"""The rules that somebody set for an endpoint or a tenant: how fast, in which order, in which shape.

A rule that is not set has its default. They are stored as one JSON document, so that a new rule is no migration.
"""

from enum import StrEnum
from typing import Final

import msgspec

from posthouse.core.limits import BATCH_WAIT_MS_DEFAULT, DISABLE_AFTER_DAYS_DEFAULT, FIFO_BLOCK_SECONDS_DEFAULT

#: Why a delivery was settled by a rule of its endpoint, and not by an answer.
FILTERED: Final = "filtered"  #: discarded: the filter says that the endpoint does not want the event
SUPERSEDED: Final = "superseded"  #: discarded: a newer event of its ordering key takes its place
FILTER_ERROR: Final = "filter_error"  #: exhausted: the filter cannot be evaluated for the event
TRANSFORM_ERROR: Final = "transform_error"  #: exhausted: the transformation cannot be evaluated for the event


class Order(StrEnum):
    """In which order the deliveries of one endpoint leave, as far as their events have an ordering key."""

    NONE = "none"  #: each as soon as it can
    FIFO = "fifo"  #: of one key: each only after all that were accepted before it are settled
    LATEST = "latest"  #: of one key: one at a time, and what a newer event supersedes is discarded


class Payload(StrEnum):
    """What stands in the ``data`` of the body."""

    FULL = "full"  #: the publisher's data
    THIN = "thin"  #: the event's id only; the receiver fetches the rest


class Format(StrEnum):
    """In whose shape requests are. A receiver that knows that system's webhooks needs to learn nothing else."""

    STANDARD = "standard-webhooks"
    CLOUDEVENTS_BINARY = "cloudevents-binary"
    CLOUDEVENTS_STRUCTURED = "cloudevents-structured"
    CLOUDEVENTS_BATCH = "cloudevents-batch"
    RAW = "raw"  #: the data alone
    GOCARDLESS = "gocardless"
    ASANA = "asana"
    BOLDPENGUIN = "boldpenguin"
    PROCORE = "procore"


class Batch(msgspec.Struct, frozen=True, omit_defaults=True):
    """Several events in one request."""

    max_events: int
    max_wait_ms: int = BATCH_WAIT_MS_DEFAULT  #: a batch that is not full leaves when its oldest event waited so long


class Rules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rules of one endpoint."""

    rate: str | None = None  #: requests, as core.rate writes it (``100/s``); None: no limit
    in_flight_max: int | None = None  #: requests on their way at once; None: the node's setting
    order: Order = Order.NONE
    #: A poison rule: so many seconds of its retry schedule a failing event blocks its key (FIFO), then it is parked.
    block_seconds: int = FIFO_BLOCK_SECONDS_DEFAULT
    payload: Payload = Payload.FULL
    format: Format = Format.STANDARD
    batch: Batch | None = None  #: None: one event, one request
    success: str = ""  #: statuses that count as success, as core.success writes it (``200-299,409``); empty: 2xx
    #: Keys of the sources whose events it wants, and no others; empty: of all of them, and what is published.
    sources: tuple[int, ...] = ()
    filter: str | None = None  #: a CEL expression; events for which it is false are not owed
    #: A JSON object of field names and CEL expressions (objects nest): what stands in ``data`` instead. None: as it is.
    transform: str | None = None
    #: Days without one success after which the endpoint is disabled; None: never.
    disable_after_days: int | None = DISABLE_AFTER_DAYS_DEFAULT
    #: Set by no user: which receiver has answered the handshake of the format, as formats.greeting names it.
    greeted: str = ""


class TenantRules(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The rules of one tenant."""

    weight: int = 1  #: its share of a busy node, against the weights of the others that have work
    rate: str | None = None  #: requests to all its endpoints together; None: no limit
    in_flight_max: int | None = None  #: requests on their way to all its endpoints at once; None: the node's setting
    fresh_seconds: int | None = None  #: an older event starts in the backlog lane; None: the node's setting


DEFAULT_RULES: Final = Rules()
DEFAULT_TENANT_RULES: Final = TenantRules()
