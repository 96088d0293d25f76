"""What the API answers about requests to sources, the quarantine and incidents."""

from base64 import b64encode
from collections.abc import Mapping
from typing import Literal, Self

from pydantic import Field

from posthouse.api.views import Timestamp, View, time_text
from posthouse.core.envelope import rfc3339
from posthouse.core.ids import INCIDENT, REQUEST, SOURCE, make_id, quarantined_id
from posthouse.core.inbound import WHOLE, Incident, Quarantined
from posthouse.store.protocol import RequestRecord


class RequestView(View):
    """A request to a source."""

    id: str
    source: str
    received_at: Timestamp
    method: str
    url: str
    verdict: Literal["genuine", "unproven", "pending", "refused"] = Field(
        description="What was known of its sender when it was answered. `unproven`: senders of this kind prove "
        "nothing. `pending`: to check it a key had to be fetched."
    )
    status: int = Field(description="That it was answered with.")
    body_bytes: int
    waiting: bool = Field(description="It is in the inbox: kept, and not passed on yet.")
    read_at: Timestamp | None = Field(description="When its events were passed on.")
    events: int = Field(description="New ones that were found in it.")
    duplicates: int = Field(description="Events in it that had come before.")
    quarantined: int = Field(description="Its events that were put in quarantine, or 1 for the request itself.")
    is_heartbeat: bool = Field(description="It said only that its sender is alive.")
    delivery: str | None = Field(description="The sender's own id of it.")

    @classmethod
    def of(cls, record: RequestRecord) -> Self:
        """The view of ``record``."""
        return cls.model_validate(_request_fields(record))


class HeaderView(View):
    """A header as it came."""

    name: str
    value: str = Field(description="`***` in place of a credential.")


class FoundEventView(View):
    """An event that was found in a request."""

    position: int = Field(description="In the request, from 0.")
    event: str = Field(description="Id of the event; of one that had come before, the id of the first one.")
    duplicate: bool


class RequestDetailView(RequestView):
    """A request to a source, with all of it."""

    headers: list[HeaderView]
    body: str | None = Field(description="As it came. null: it is no UTF-8 text.")
    body_base64: str | None = Field(description="As it came, if it is no UTF-8 text.")
    found: list[FoundEventView]

    @classmethod
    def of(cls, record: RequestRecord) -> Self:
        """The view of ``record``, whose headers hold no secret any more."""
        body = record.request.body
        text = _text(body)
        return cls.model_validate(
            {
                **_request_fields(record),
                "headers": [{"name": name, "value": value} for name, value in record.request.headers],
                "body": text,
                "body_base64": b64encode(body).decode() if text is None else None,
                "found": [
                    {"position": position, "event": event_id, "duplicate": duplicate}
                    for position, _, event_id, duplicate in record.found
                ],
            }
        )


class QuarantinedView(View):
    """Something that is kept and not passed on: a request, or one event of it."""

    id: str
    request: str
    position: int | None = Field(description="Of the event in the request, from 0. null: the request as a whole.")
    source: str
    tenant: str
    objection: Literal["bad_signature", "no_secret", "key_unavailable", "unreadable", "type_contradiction"]
    detail: str
    type: str | None = Field(description="Of the event, as far as it was made out.")
    since: Timestamp
    acknowledged: bool = Field(
        description="Its sender was told that it is taken. Then it is kept until it is resolved."
    )
    resolution: Literal["released", "reverified", "rechecked", "discarded", "expired"] | None = Field(
        description="What became of it. null: it is in quarantine."
    )
    resolved_at: Timestamp | None

    @classmethod
    def of(cls, entry: Quarantined) -> Self:
        """The view of ``entry``."""
        return cls.model_validate(
            {
                "id": quarantined_id(entry.request_key, entry.position),
                "request": make_id(REQUEST, entry.request_key),
                "position": None if entry.position == WHOLE else entry.position,
                "source": make_id(SOURCE, entry.source_key),
                "tenant": entry.tenant,
                "objection": entry.objection.value,
                "detail": entry.detail,
                "type": entry.type,
                "since": rfc3339(entry.at),
                "acknowledged": entry.acknowledged,
                "resolution": None if entry.resolution is None else entry.resolution.value,
                "resolved_at": time_text(entry.resolved_at),
            }
        )


class StepView(View):
    """What one call did to the quarantine."""

    examined: int = Field(description="Entries that were looked at.")
    changed: int = Field(description="Of these: those that left quarantine, or would without `dry_run`.")
    next_cursor: str | None = Field(description="Pass it as `cursor` to go on; null when there is nothing behind.")


class IncidentView(View):
    """Something that may be wrong, since when, and until when."""

    id: str
    kind: Literal["source_silent", "sequence_gap", "dedupe_unavailable", "quarantine_full"]
    source: str
    tenant: str
    opened_at: Timestamp
    closed_at: Timestamp | None = Field(description="null: it is not over.")
    detail: str
    stream: str | None = Field(description="Of a gap: the stream of numbers.")
    first: int | None = Field(description="Of a gap: the first number that was missing.")
    last: int | None = Field(description="Of a gap: the last number that was missing.")
    missing: int | None = Field(description="Of a gap: how many of them are missing still.")

    @classmethod
    def of(cls, incident: Incident) -> Self:
        """The view of ``incident``."""
        return cls.model_validate(
            {
                "id": make_id(INCIDENT, incident.key),
                "kind": incident.kind.value,
                "source": make_id(SOURCE, incident.source_key),
                "tenant": incident.tenant,
                "opened_at": rfc3339(incident.opened_at),
                "closed_at": time_text(incident.closed_at),
                "detail": incident.detail,
                "stream": incident.stream,
                "first": incident.first,
                "last": incident.last,
                "missing": incident.missing,
            }
        )


def _request_fields(record: RequestRecord) -> Mapping[str, object]:
    request = record.request
    return {
        "id": make_id(REQUEST, request.key),
        "source": make_id(SOURCE, request.source_key),
        "received_at": rfc3339(request.received_at),
        "method": request.method,
        "url": request.url,
        "verdict": request.verdict.value,
        "status": request.status,
        "body_bytes": record.body_bytes,
        "waiting": record.waiting,
        "read_at": time_text(record.read_at),
        "events": record.events,
        "duplicates": record.duplicates,
        "quarantined": record.quarantined,
        "is_heartbeat": record.is_heartbeat,
        "delivery": record.delivery,
    }


def _text(body: bytes) -> str | None:
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None
