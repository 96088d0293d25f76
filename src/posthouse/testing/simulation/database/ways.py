"""How each question to a store reaches a database: on which connection, and as what.

The same as in :mod:`posthouse.store.postgres`; a test compares the names with the protocol.
"""

from collections.abc import Mapping
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, NamedTuple


class Kind(Enum):
    """As what it is sent."""

    SINGLE = "single"  #: one statement that is a transaction of its own
    TRANSACTION = "transaction"  #: between BEGIN and COMMIT
    QUICK = "quick"  #: a short question
    LONG = "long"  #: a look in a snapshot
    AUDIT = "audit"  #: one that may take minutes


class Way(NamedTuple):
    """How it is sent, and on which connection lane if it writes."""

    kind: Kind
    lane: str = ""
    gathers: bool = False  #: what comes before it starts goes with it


class Operation(NamedTuple):
    """A call of a method of a store."""

    facet: str
    method: str
    args: tuple[Any, ...]
    named: dict[str, Any]

    @property
    def name(self) -> str:
        """As it is named in reports."""
        return f"{self.facet}.{self.method}"


class Said(NamedTuple):
    """What became of an operation that the server came to the end of."""

    value: Any = None
    error: Exception | None = None

    def take(self) -> Any:
        """The value; raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


_MISC: Final = Way(Kind.TRANSACTION, "misc")
_PULSE: Final = Way(Kind.TRANSACTION, "pulse")
_QUICK: Final = Way(Kind.QUICK)
_LONG: Final = Way(Kind.LONG)
_AUDIT: Final = Way(Kind.AUDIT)

WAYS: Final[Mapping[tuple[str, str], Way]] = MappingProxyType(
    {
        ("intake", "accept"): Way(Kind.SINGLE, "intake", gathers=True),
        ("work", "settle"): Way(Kind.SINGLE, "settle", gathers=True),
        ("inbound", "take"): Way(Kind.SINGLE, "inbound", gathers=True),
        ("inbound", "pass_on"): Way(Kind.TRANSACTION, "inbound"),
        **{("ownership", method): _PULSE for method in ("join", "beat", "acquire", "release")},
        **{("ownership", method): _PULSE for method in ("calm", "leave", "bury")},
        ("admin", "probe"): Way(Kind.SINGLE, "pulse"),
        ("catalogue", "recall"): Way(Kind.SINGLE, "misc"),
        **{("work", method): _MISC for method in ("supersede", "retry", "retime", "discard", "discard_endpoint")},
        **{("work", method): _MISC for method in ("reorder", "put_health")},
        **{("inbound", method): _MISC for method in ("postpone", "restore_dedupe", "prune_dedupe", "resolve")},
        **{("inbound", method): _MISC for method in ("put_rhythms", "open_incident", "close_incident")},
        **{("catalogue", method): _MISC for method in ("put_endpoint", "set_endpoint_state", "put_source")},
        **{("catalogue", method): _MISC for method in ("put_tenant", "put_api_key")},
        **{("jobs", method): _MISC for method in ("add", "change", "count", "work")},
        **{("feed", method): _MISC for method in ("acknowledge", "remove", "forget")},
        **{("admin", method): _MISC for method in ("make_room", "retain")},
        **{("work", method): _QUICK for method in ("survey", "fetch", "health")},
        **{("inbound", method): _QUICK for method in ("waiting", "fetch", "expired", "quarantined_bytes")},
        **{("inbound", method): _QUICK for method in ("origin", "rhythms")},
        **{("inbound", method): _LONG for method in ("quarantine", "requests", "request", "incidents")},
        ("inbound", "audit"): _AUDIT,
        ("catalogue", "load"): _LONG,
        ("catalogue", "changes"): _LONG,
        ("catalogue", "endpoint"): _QUICK,
        **{("ledger", method): _LONG for method in ("events", "find_events", "deliveries", "waiting")},
        **{("ledger", method): _QUICK for method in ("delivery", "attempts")},
        ("ledger", "audit"): _AUDIT,
        ("jobs", "job"): _QUICK,
        ("jobs", "jobs"): _QUICK,
        ("ownership", "owners"): _QUICK,
        ("ownership", "nodes"): _QUICK,
        **{("feed", method): _LONG for method in ("read", "lag")},
        **{("feed", method): _QUICK for method in ("start", "end", "consumers", "consumer")},
        **{("admin", method): _QUICK for method in ("key_floor", "stats", "retained_from")},
    }
)
