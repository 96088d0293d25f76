"""Requests as they lie in the store: the heads of inboxes, lists for people, where an event came from."""

from collections.abc import Iterable
from typing import Any, Final

import apsw
import msgspec

from posthouse.core.inbound import InboundRequest, Objection, Verdict
from posthouse.core.limits import INBOX_POSTPONED_MS_MAX
from posthouse.store.protocol import InboxItem, InboxPage, Origin, RequestQuery, RequestRecord
from posthouse.store.shared.spans import keys_between, times_between
from posthouse.store.sqlite.rows import rows_of, value_of
from posthouse.store.sqlite.statements import SQL

_CONTENTS: Final = SQL["request_contents"]
_DESCRIBE: Final = SQL["describe_requests"]
_FETCH: Final = SQL["fetch_inbox"]
_FOUND: Final = SQL["found_in_request"]
_HEADS: Final = SQL["inbox_heads"]
_NEXT_DUE_AT: Final = SQL["next_inbox_due_at"]
_ORIGIN: Final = SQL["origin"]
_PICK_OF_ENVIRONMENT: Final = SQL["pick_requests_of_environment"]
_PICK_OF_SOURCE: Final = SQL["pick_requests_of_source"]
_PICK_OF_TENANT: Final = SQL["pick_requests_of_tenant"]

_FRONT: Final = (-1, 0)  # before everything in an inbox

_HEAD_ROWS: Final = msgspec.json.Decoder(list[tuple[int, int]])
#: Read at, new events, repetitions, heartbeat, the sender's id.
_Read = tuple[int | None, int, int, int, str | None]
_ROWS: Final = msgspec.json.Decoder(list[tuple[int, int, int, str, str, Verdict, int, int, int, _Read, int]])


def heads(connection: apsw.Connection) -> dict[int, int]:
    """Source key → when the first item of its inbox is due."""
    return dict(_HEAD_ROWS.decode(value_of(connection, _HEADS)))


def fetch(
    connection: apsw.Connection,
    source_key: int,
    *,
    now: int,
    limit: int,
    bytes_max: int,
    after: tuple[int, int] | None,
) -> InboxPage:
    """The due items of a source behind ``after``, at most ``bytes_max`` of bodies but at least one."""
    items: list[InboxItem] = []
    size = 0
    more = False
    latest = now + INBOX_POSTPONED_MS_MAX
    rows: Iterable[Any] = connection.execute(_FETCH, (source_key, *(after or _FRONT), now, latest, limit + 1))
    for position, waived, attempts, due_at, *request in rows:
        found = _request(request)
        size += len(found.body)
        if len(items) == limit or (items and size > bytes_max):
            more = True  # one row more than asked for was read, to know this
            break
        objection = None if waived is None else Objection(waived)
        items.append(InboxItem(found, position, objection, attempts, due_at))
    next_due_at: int | None = value_of(connection, _NEXT_DUE_AT, (source_key, now))
    if next_due_at is not None and next_due_at > latest:
        next_due_at = None  # by a clock that was set back since: it is due
    return InboxPage(tuple(items), more, next_due_at)


def list_requests(connection: apsw.Connection, query: RequestQuery) -> list[RequestRecord]:
    """Requests, newest first."""
    oldest, newest = keys_between(query.since, query.until)
    if query.after is not None:
        newest = min(newest, query.after - 1)
    bindings: dict[str, Any] = {
        "environment": query.environment,
        "tenant": query.tenant,
        "source": query.source_key,
        "verdict": query.verdict,
        "oldest": oldest,
        "newest": newest,
        "limit": query.limit,
        **times_between(query.since, query.until),
    }
    statement = _PICK_OF_ENVIRONMENT if query.tenant is None else _PICK_OF_TENANT
    if query.source_key is not None:
        statement = _PICK_OF_SOURCE
    return _describe(connection, value_of(connection, statement, bindings))


def one_request(connection: apsw.Connection, key: int) -> RequestRecord | None:
    """One request with its headers, its body and what was found in it."""
    records = _describe(connection, f"[{key}]")
    if not records:
        return None
    ((head, body),) = rows_of(connection, _CONTENTS, (key,))
    request = msgspec.structs.replace(records[0].request, head=head, body=body)
    found = sorted((place, event_key, id_, bool(again)) for place, event_key, id_, again in _found(connection, key))
    return msgspec.structs.replace(records[0], request=request, found=tuple(found))


def origin(connection: apsw.Connection, event_key: int) -> Origin | None:
    """Where an event came from."""
    for source_key, request_key, position, repeats, unchecked in rows_of(connection, _ORIGIN, (event_key,)):
        return Origin(source_key, request_key, position, repeats, bool(unchecked))
    return None


def _found(connection: apsw.Connection, key: int) -> list[Any]:
    return rows_of(connection, _FOUND, (key,))


def _request(row: list[Any]) -> InboundRequest:
    key, source_key, received_at, method, url, head, body, verdict, status = row
    return InboundRequest(
        key=key,
        source_key=source_key,
        received_at=received_at,
        method=method,
        url=url,
        head=head,
        body=body,
        verdict=Verdict(verdict),
        status=status,
    )


def _describe(connection: apsw.Connection, picked: str) -> list[RequestRecord]:
    return [
        RequestRecord(
            request=InboundRequest(
                key=key,
                source_key=source_key,
                received_at=received_at,
                method=method,
                url=url,
                head="",
                body=b"",
                verdict=verdict,
                status=status,
            ),
            body_bytes=body_bytes,
            waiting=bool(waiting),
            read_at=read_at,
            events=events,
            duplicates=duplicates,
            quarantined=quarantined,
            is_heartbeat=bool(heartbeat),
            delivery=delivery,
        )
        for (
            key,
            source_key,
            received_at,
            method,
            url,
            verdict,
            status,
            body_bytes,
            waiting,
            (read_at, events, duplicates, heartbeat, delivery),
            quarantined,
        ) in _ROWS.decode(value_of(connection, _DESCRIBE, (picked,)))
    ]
