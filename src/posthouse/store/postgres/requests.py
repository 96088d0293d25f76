"""Requests as they lie in the store: the heads of inboxes, lists for people, where an event came from."""

from collections.abc import Iterable, Sequence
from typing import Any

import asyncpg
import msgspec

from posthouse.core.inbound import InboundRequest, Objection, Verdict
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import InboxItem, InboxPage, RequestQuery, RequestRecord
from posthouse.store.shared.spans import keys_between, times_between


def page_of(rows: Sequence[asyncpg.Record], *, latest: int, limit: int, bytes_max: int) -> InboxPage:
    """The page that rows of ``fetch_inbox`` make: at most ``limit`` of them, and ``bytes_max`` of bodies, but one.

    ``latest``: what is due after it is due already.
    """
    items: list[InboxItem] = []
    size = 0
    more = False
    for _next, position, waived, attempts, due_at, *request in rows:
        if position is None:  # the row that is there even if nothing is due
            break
        found = _request(request)
        size += len(found.body)
        if len(items) == limit or (items and size > bytes_max):
            more = True  # one row more than asked for was read, to know this
            break
        objection = None if waived is None else Objection(waived)
        items.append(InboxItem(found, position, objection, attempts, due_at))
    next_due_at: int | None = rows[0][0]
    if next_due_at is not None and next_due_at > latest:
        next_due_at = None  # by a clock that was set back since: it is due
    return InboxPage(tuple(items), more, next_due_at)


async def list_requests(transaction: Transaction, query: RequestQuery) -> list[RequestRecord]:
    """Requests, newest first."""
    oldest, newest = keys_between(query.since, query.until)
    if query.after is not None:
        newest = min(newest, query.after - 1)
    times = times_between(query.since, query.until)
    given: list[Any] = [query.environment, oldest, newest, times["since"], times["until"], query.verdict, query.limit]
    if query.source_key is not None:
        picked = await transaction.rows("pick_requests_of_source", *given, query.tenant, query.source_key)
    elif query.tenant is not None:
        picked = await transaction.rows("pick_requests_of_tenant", *given, query.tenant)
    else:
        picked = await transaction.rows("pick_requests_of_environment", *given)
    return await _describe(transaction, [key for (key,) in picked])


async def one_request(transaction: Transaction, key: int) -> RequestRecord | None:
    """One request with its headers, its body and what was found in it."""
    records = await _describe(transaction, [key])
    if not records:
        return None
    ((head, body),) = await transaction.rows("request_contents", key)
    found = sorted(tuple(row) for row in await transaction.rows("found_in_request", key))
    request = msgspec.structs.replace(records[0].request, head=head, body=body)
    return msgspec.structs.replace(records[0], request=request, found=tuple(found))


def _request(row: Iterable[Any]) -> InboundRequest:
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


async def _describe(transaction: Transaction, keys: Sequence[int]) -> list[RequestRecord]:
    return [_record(row) for row in await transaction.rows("describe_requests", keys)]


def _record(row: asyncpg.Record) -> RequestRecord:
    return RequestRecord(
        request=InboundRequest(
            key=row["key"],
            source_key=row["source_key"],
            received_at=row["received_at"],
            method=row["method"],
            url=row["url"],
            head="",
            body=b"",
            verdict=Verdict(row["verdict"]),
            status=row["status"],
        ),
        body_bytes=row["body_bytes"],
        waiting=row["waiting"],
        read_at=row["read_at"],
        events=row["events"],
        duplicates=row["duplicates"],
        quarantined=row["quarantined"],
        is_heartbeat=row["is_heartbeat"],
        delivery=row["delivery"],
    )
