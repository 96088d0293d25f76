"""Recounting the books; what the counts mean is said in :mod:`posthouse.store.shared.books`."""

from typing import Any

from posthouse.core.model import Environment
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import Books
from posthouse.store.shared.books import Recount, books_of


async def audit(t: Transaction, environment: Environment, tenant: str | None) -> list[Books]:
    """The books of every endpoint with deliveries, in the one snapshot that ``t`` is."""
    recount = Recount(
        owed=await _rows(t, "audit_owed"),
        settled=await _rows(t, "audit_settled"),
        reopened=await _rows(t, "audit_reopened"),
        open=await _rows(t, "audit_open"),
        endpoints=await _rows(t, "audit_endpoints"),
        bygone=await _rows(t, "audit_bygone"),
    )
    return books_of(recount, environment, tenant)


async def _rows(t: Transaction, name: str) -> list[Any]:
    return [tuple(row) for row in await t.rows(name)]
