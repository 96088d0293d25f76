"""Law: in the steady state a delivery costs two batched writes, and nothing asks the store for work."""

import asyncio
import re
from collections import Counter
from pathlib import Path
from typing import Any

import apsw
import pytest
from rig_inside import add_endpoint, node_inside, until

from posthouse.core.address import AddressPolicy
from posthouse.core.model import Environment
from posthouse.store.sqlite.statements import SQL
from posthouse.testing.scripted_transport import ScriptedTransport

EVENTS = 2_000
AT_ONCE = 64  #: publish requests that wait for their answers together
ENDPOINTS = 16

NAMES = {statement.rstrip(";"): name for name, statement in SQL.items()}

#: What an event and its delivery leave behind: one row each, accepted in one transaction and settled in another.
ACCEPTED = ("insert_event", "insert_obligation")
SETTLED = ("insert_attempt", "insert_history", "close_obligation")

WRITES = ("INSERT", "UPDATE", "DELETE", "COMMIT", "SAVEPOINT", "RELEASE")

#: A statement that names open deliveries in any other way than to write one.
READS_OPEN_WORK = re.compile(r"(?!(INSERT INTO|DELETE FROM|UPDATE) obligations ).*obligations", re.DOTALL)


class Statements:
    """Every statement that SQLite itself runs, on every connection that is opened while it listens."""

    def __init__(self) -> None:
        self.run: list[str] = []

    def watch(self, connection: apsw.Connection) -> None:
        """A hook for new connections."""
        connection.trace_v2(apsw.SQLITE_TRACE_STMT, self._note)

    def _note(self, event: dict[str, Any]) -> None:
        self.run.append(str(event["sql"]).strip().rstrip(";"))


def transactions(statements: list[str]) -> list[list[str]]:
    """The statements of each writing transaction."""
    found: list[list[str]] = []
    for sql in statements:
        if sql == "BEGIN IMMEDIATE":
            found.append([])
        elif found:
            found[-1].append(sql)
    return found


async def test_a_delivery_costs_two_batched_writes_and_no_claim_query(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statements = Statements()
    monkeypatch.setattr(apsw, "connection_hooks", [*apsw.connection_hooks, statements.watch])
    transport = ScriptedTransport()
    async with node_inside(tmp_path, transport, policy=AddressPolicy(("127.0.0.0/8",))) as (node, _):
        for number in range(ENDPOINTS):
            await add_endpoint(node, f"http://127.0.0.1/{number}", f"type.{number}")

        async def publish(count: int) -> None:
            bodies = iter([b'{"type":"type.%d","data":{"n":%d}}' % (n % ENDPOINTS, n) for n in range(count)])

            async def one_publisher() -> None:
                for body in bodies:
                    accepted = await node.gateway.publisher.publish(Environment.LIVE, body, None)
                    assert (accepted.owed, accepted.duplicate) == (1, False)

            before = node.metrics.deliveries_settled["delivered"]
            await asyncio.gather(*(one_publisher() for _ in range(AT_ONCE)))
            await until(lambda: node.metrics.deliveries_settled["delivered"] == before + count)

        await publish(AT_ONCE)  # the first ones find the tenant new and the windows unknown
        statements.run.clear()
        await publish(EVENTS)
        run = list(statements.run)

    counts = Counter(NAMES.get(sql, sql) for sql in run)
    assert {name: counts[name] for name in ACCEPTED + SETTLED} == dict.fromkeys(ACCEPTED + SETTLED, EVENTS)
    reads = [sql for sql in run if READS_OPEN_WORK.match(sql) and NAMES.get(sql) != "ordered_endpoints"]
    assert not reads, "work comes to the engine, it does not look for it"

    writing = [part for part in transactions(run) if any(NAMES.get(sql) in ACCEPTED + SETTLED for sql in part)]
    assert len(writing) <= 2 * EVENTS / 10, "many deliveries share a transaction"
    reads = [sql for part in writing for sql in part if not sql.startswith(WRITES)]
    assert len(reads) <= 3 * len(writing), "reads are per transaction: the catalogue's version, the epochs"
    others = [sql for part in writing for sql in part if NAMES.get(sql) not in ACCEPTED + SETTLED]
    assert len(others) <= (ENDPOINTS + 8) * len(writing), "whatever else is written is shared by the transaction"
