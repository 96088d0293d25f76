"""One request is read by itself: by its own envelope, its own source, and nothing that came before."""

import json
from collections.abc import Mapping

import pytest

from posthouse.core.head import head_of
from posthouse.core.inbound import WHOLE, Objection, SourceRules
from posthouse.gateway.presets import CUSTOM, preset_of
from posthouse.inbox.reader import RequestReader
from posthouse.store.protocol import InboxItem, ReadRequest
from posthouse.testing.conformance.values import Values

VALUES = Values()
CALLBACK = {"Action": "updated", "CompanyId": "acme_c"}


def read(
    reader: RequestReader,
    provider: str,
    body: bytes | Mapping[str, object],
    *headers: tuple[str, str],
    position: int = WHOLE,
    waived: Objection | None = None,
    declaration: str | None = None,
) -> ReadRequest:
    """What is found in a request to a source of this provider."""
    source = VALUES.source(provider=provider, rules=SourceRules(declaration=declaration))
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    request = VALUES.request(source.key, body=content, head=head_of(headers))
    return reader.read(InboxItem(request, position, waived, 0, 0), source, preset_of(source))


def types(reading: ReadRequest) -> list[str]:
    return [event.new.event.type for event in reading.events]


def callback(number: int, kind: str, **entity: object) -> dict[str, object]:
    return {**CALLBACK, "Type": kind, "ID": number, "Entity": json.dumps({"id": number, **entity})}


def test_a_record_that_changed_again_is_another_event(reader: RequestReader) -> None:
    """The same content is the same event, and another record's is not, although nothing has an id."""
    readings = [
        read(reader, "connectwise", callback(number, "company", name=name))
        for number, name in ((1, "a"), (1, "b"), (1, "a"), (2, "a"))
    ]
    first, changed, again, other = (reading.events[0].digest for reading in readings)
    assert first == again
    assert len({first, changed, other}) == 3


def test_every_event_has_the_type_of_its_own_envelope(reader: RequestReader) -> None:
    """Of one source, one after the other; a schedule between two tickets is a schedule."""
    source = VALUES.source(provider="connectwise", rules=SourceRules())
    found = []
    for number, kind in enumerate(("ticket", "schedule", "company", "ticket", "schedule")):
        request = VALUES.request(source.key, body=json.dumps(callback(number, kind)).encode(), head="")
        found += types(reader.read(InboxItem(request, WHOLE, None, 0, 0), source, preset_of(source)))
    assert found == ["ticket.updated", "schedule.updated", "company.updated", "ticket.updated", "schedule.updated"]


def test_each_source_is_read_by_its_own_declaration(reader: RequestReader) -> None:
    declarations = [
        json.dumps({"scheme": {"kind": "hmac", "header": "X-Signature"}, "type": f"field:{field}"})
        for field in ("kind", "event")
    ]
    body = {"kind": "order", "event": "paid"}
    readings = [read(reader, CUSTOM, body, declaration=declaration) for declaration in declarations]
    assert [types(reading) for reading in readings] == [["order"], ["paid"]]


@pytest.mark.parametrize(("waived", "count"), [(None, 0), (Objection.TYPE_CONTRADICTION, 1), (Objection.NO_SECRET, 0)])
def test_what_contradicts_itself_is_not_passed_on(reader: RequestReader, waived: Objection | None, count: int) -> None:
    """Unless an operator has said that it may be."""
    body = callback(1, "schedule", recordType="ServiceTicket")
    reading = read(reader, "connectwise", body, waived=waived)
    assert len(reading.events) == count
    doubts = [(doubt.position, doubt.objection, doubt.type) for doubt in reading.doubts]
    assert doubts == [(0, Objection.TYPE_CONTRADICTION, "schedule.updated")][count:]


def test_a_heartbeat_holds_no_event(reader: RequestReader) -> None:
    reading = read(reader, "cornerstone", {"records": [], "subscriptionId": "s-1"})
    assert (reading.events, reading.doubts, reading.is_heartbeat) == ((), (), True)


def test_an_event_has_the_bytes_that_came(reader: RequestReader) -> None:
    body = b'{ "action":"opened",\n "issue" : {"number": 1.0, "title":"\\u00e9"} }'
    (event,) = read(reader, "github", body, ("x-github-event", "issues")).events
    assert event.new.event.data == body


def test_of_one_event_that_was_released_only_that_one_is_read(reader: RequestReader) -> None:
    records = [{"value": {"headers": {"messageId": f"m-{n}"}}, "offset": n} for n in range(3)]
    reading = read(reader, "cornerstone", {"records": records, "subscriptionId": "s-1"}, position=1)
    assert [(event.position, event.sequence) for event in reading.events] == [(1, 1)]
