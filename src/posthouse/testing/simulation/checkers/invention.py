"""I3: nothing is invented and nothing is changed on its way."""

import base64
import hmac
from datetime import UTC, datetime

from posthouse.testing.simulation.checkers import shapes
from posthouse.testing.simulation.checkers.loss import accepted_span, is_test
from posthouse.testing.simulation.evidence import Evidence, Span
from posthouse.testing.simulation.records import EndpointRecord, Received
from posthouse.testing.simulation.rows import EventRow

LAW = "I3 invention"


def check(evidence: Evidence) -> None:
    """Compare every event that was published with its publication, and every request with its event."""
    for row in evidence.rows.events.values():
        if not is_test(row) and row.key not in evidence.rows.inbound.arrivals:
            _check_event(evidence, row)
    for request in evidence.records.received:
        _check_request(evidence, request)


def _check_event(evidence: Evidence, row: EventRow) -> None:
    records = evidence.records
    publication = evidence.publication_of.get(row.data)
    if publication is None:
        records.find(LAW, f"nobody published event {row.id}, or it had to be refused: {row.data[:80]!r}")
        return
    fields = (row.tenant, row.type, row.occurred_at, row.ordering_key)
    meant = (publication.tenant, publication.type, publication.occurred_ms, publication.ordering_key)
    if fields != meant or (publication.id or row.id) != row.id:
        records.find(LAW, f"event {row.id} is {fields}, and was published as {publication.id}, {meant}")
    if not any(call.may_have_worked for call in publication.calls):
        records.find(LAW, f"every request for event {row.id} was refused, and it is in the store")
    elif accepted_span(evidence, row, publication) is None:
        records.find(LAW, f"event {row.id} was accepted at {row.accepted_at}, when nobody asked for it")


def _check_request(evidence: Evidence, request: Received) -> None:
    records = evidence.records
    record = evidence.endpoint.get(request.endpoint)
    if record is None or record.host != request.host or request.headers.get("x-endpoint") != str(request.endpoint):
        records.find(LAW, f"a request for endpoint {request.endpoint} came to host {request.host}", request.at)
        return
    rows = []
    for event_id in request.event_ids:
        row = evidence.event_of.get((record.tenant, event_id))
        keys = {evidence.key_of.get(request.endpoint, 0)}
        ghost = evidence.ghost_of(request, event_id)
        if ghost is not None:
            records.counts["ghosts"] += 1
            row, keys = ghost
        if row is None:
            records.find("I2 loss", f"{event_id} was delivered, and is not in the store", request.at)
            return
        if keys.isdisjoint(row.owed):
            records.find(LAW, f"{row.id} was sent to endpoint {request.endpoint}, which it is not owed to", request.at)
        if shapes.withheld(record.rules, row) is not None:
            message = f"{row.id} was sent to endpoint {request.endpoint}, whose rules cannot be evaluated for it"
            records.find(LAW, message, request.at)
            return
        rows.append(row)
    _check_body(evidence, record, request, rows)
    _check_signature(evidence, record, request)


def _check_body(evidence: Evidence, record: EndpointRecord, request: Received, rows: list[EventRow]) -> None:
    """It is what the rules of the endpoint make of the events."""
    rules, batch = record.rules, record.rules.batch
    if batch is None:
        (row,) = rows
        body = shapes.body(rules, row)
        if request.body != body:
            evidence.records.find(
                LAW, f"{row.id} was sent as {request.body[:200]!r}, not as {body[:200]!r}", request.at
            )
        return
    now = datetime.fromtimestamp(request.stamp, UTC).strftime("%Y-%m-%dT%H:%M:%S.")
    if len(rows) > batch.max_events or not shapes.is_batch(rules, rows, request, now):
        message = f"a batch of {[row.id for row in rows]} was sent as {request.event_id}: {request.body[:200]!r}"
        evidence.records.find(LAW, message, request.at)


def _check_signature(evidence: Evidence, record: EndpointRecord, request: Received) -> None:
    """Each signature is of a secret that was valid then, and one is of the newest that is known to be."""
    signed = f"{request.event_id}.{request.stamp}.".encode() + request.body
    made = set(request.headers.get("webhook-signature", "").split(" "))
    when = evidence.signed(request)
    made_by = {}
    for secret in record.secrets:
        key = base64.b64decode(secret.value.removeprefix("whsec_"))
        signature = "v1," + base64.b64encode(hmac.digest(key, signed, "sha256")).decode()
        if signature in made:
            made_by[signature] = secret
    if made - set(made_by) and record.secrets_complete:
        message = f"{request.event_id} has a signature of no secret of endpoint {record.number}"
        evidence.records.find(LAW, message, request.at)
    for secret in made_by.values():
        expired = (
            secret.until_ms is not None
            and when.low > secret.until_asked_at
            and request.stamp * 1_000 >= secret.until_ms
        )
        if when.high < secret.since or expired:
            message = f"{request.event_id} is signed for endpoint {record.number} with a secret that is not valid"
            evidence.records.find(LAW, message, request.at)
    sure = [s for s in record.secrets if s.sure_at is not None and _known_by(evidence, s.sure_at) <= when.low]
    if not sure:
        return
    newest = max(sure, key=lambda s: s.sure_at or 0.0)
    later = [s for s in record.secrets if s is not newest and s.since >= newest.since]
    if newest not in made_by.values() and all(s.since > request.at for s in later):
        message = f"{request.event_id} is not signed with the newest secret of endpoint {record.number}"
        evidence.records.find(LAW, message, request.at)


def _known_by(evidence: Evidence, at: float) -> float:
    """When every node knows a secret that was surely there at some time."""
    return evidence.known_by(Span(at, at)).high
