"""ConnectWise PSA: callbacks that are sent again after four answers only; any other failure loses the event."""

import base64
import hashlib
import hmac
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

import msgspec

from posthouse.core.time_format import rfc3339
from posthouse.drills.senders.books import Books, Event
from posthouse.drills.senders.dispatch import Dispatch, Manner, Parcel, ship_all
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Request, Wire
from posthouse.providers.senders.connectwise import PRESET

TYPES: Final = ("ticket", "schedule", "company", "contact")
#: Which kind of entity a ticket is; entities of other types do not say.
RECORD_TYPES: Final[Mapping[str, str]] = MappingProxyType({"ticket": "ServiceTicket"})
KEY_HOST: Final = "api-na.myconnectwise.net"
KEY_PATH: Final = "/v4_6_release/apis/3.0/system/callbackkey/"
#: How ConnectWise names what it appends to the URL is not documented.
ID_PARAMETER: Final = "recordId"
ACTION_PARAMETER: Final = "action"
DELETED_SHARE: Final = 0.1  #: of the changes to what is there
_KEY_DIGITS: Final = 64


class SigningKey(msgspec.Struct, gc=False):
    """The key of one callback."""

    key: str
    made_at_s: float  #: seconds of the sender's time
    fetched: int = 0  #: how often somebody asked for it


class ConnectWise:
    """The callbacks of one company.

    Args:
        url: of the receiver.
        company: the company id in each callback: what a receiver has for a secret.
        wire: to send through.
        pace: its time and chance.
        types: of what changes, in turn.
        keys_at: where receivers find the keys: ``https://`` and a host.
        records: how many of each type there are; None: each change concerns a new one.
        id_parameter: of the query, for the record's id.
        action_parameter: of the query, for the action.
    """

    def __init__(
        self,
        url: str,
        company: str,
        *,
        wire: Wire,
        pace: Pace,
        types: Sequence[str] = TYPES,
        keys_at: str = f"https://{KEY_HOST}",
        records: int | None = None,
        id_parameter: str = ID_PARAMETER,
        action_parameter: str = ACTION_PARAMETER,
    ) -> None:
        self.books = Books()
        self.keys_at = keys_at
        self.keys: dict[str, SigningKey] = {}  #: by the last part of their URL
        self.entities: defaultdict[str, dict[int, dict[str, Any]]] = defaultdict(dict)  #: by type and id, as they are
        self._dispatch = Dispatch(Manner(rules=PRESET.sender), wire=wire, pace=pace, books=self.books)
        self._url = url
        self._company = company
        self._pace = pace
        self._types = types
        self._records = records
        self._parameters = (id_parameter, action_parameter)
        self._instance = pace.identity()
        self._made = 0

    @property
    def is_disabled(self) -> bool:
        """Whether ConnectWise has switched the callbacks off."""
        return self._dispatch.gave_up

    async def run(self, total: int, rate: float) -> None:
        """Send so many callbacks; returns when each is delivered or lost."""
        await ship_all(self._parcels(total, rate), self._dispatch.ship)

    async def _parcels(self, total: int, rate: float) -> AsyncIterator[Parcel]:
        async for _ in self._pace.due(total, rate):
            yield self.make()

    def make(self) -> Parcel:
        """One thing changes: its callback, which nobody sends yet."""
        kind = self._types[self._made % len(self._types)]
        number = self._made // len(self._types)
        self._made += 1
        record = 1 + (number if self._records is None else number % self._records)
        action, entity = self._change(kind, record)
        handle = self._pace.hex(32)
        signing = self.keys[handle] = SigningKey(self._pace.hex(_KEY_DIGITS), self._pace.elapsed_s())
        body = msgspec.json.encode(
            {
                "Action": action,
                "CompanyId": self._company,
                "Entity": None if entity is None else msgspec.json.encode(entity).decode(),
                "FromUrl": "simulated.myconnectwise.net",
                "ID": record,
                "MemberId": "simulated",
                "Metadata": {"key_url": f"{self.keys_at}{KEY_PATH}{handle}"},
                "ProductInstanceId": self._instance,
                "Type": kind,
            }
        )
        event = Event(key=hashlib.sha256(body).hexdigest(), type=f"{kind}.{action}", data=body)
        self.books.open(event.key, event.type)
        request = Request(self._addressed(record, action), _headers(signing.key, body), body)
        return Parcel((event,), lambda _: request, name=handle)

    def _change(self, kind: str, record: int) -> tuple[str, dict[str, Any] | None]:
        """What happens to a record, and what it is afterwards; None: it is gone."""
        found = self.entities[kind]
        action = "updated" if record in found else "added"
        if action == "updated" and self._pace.chance.random() < DELETED_SHARE:
            del found[record]
            return "deleted", None
        entity = found[record] = {
            "id": record,
            "summary": f"{kind} {record}, change {self._made}",
            "company": {"id": 1 + record % 7, "identifier": self._company},
            "_info": {"lastUpdated": rfc3339(self._pace.now_ms())},
        }
        if kind in RECORD_TYPES:
            entity["recordType"] = RECORD_TYPES[kind]
        return action, entity

    def _addressed(self, record: int, action: str) -> str:
        """The URL with what ConnectWise appends to it."""
        first, second = self._parameters
        joint = "&" if "?" in self._url else "?"
        return f"{self._url}{joint}{first}={record}&{second}={action}"


def _headers(key: str, body: bytes) -> tuple[tuple[str, str], ...]:
    """The key itself is not used: its digest is."""
    digest = hmac.new(hashlib.sha256(key.encode()).digest(), body, hashlib.sha256).digest()
    return (("Content-Type", "application/json"), ("x-content-signature", base64.b64encode(digest).decode()))
