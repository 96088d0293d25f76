"""The rows from which the books of sources are recounted."""

from posthouse.core.model import Environment
from posthouse.store.postgres.transact import Transaction
from posthouse.store.protocol import SourceBooks
from posthouse.store.shared.source_books import COLUMNS, source_books


async def audit(transaction: Transaction, environment: Environment, tenant: str | None) -> list[SourceBooks]:
    """The books of every source with requests, in the one snapshot that ``transaction`` stands in."""
    told = {name: await transaction.rows(name) for name in COLUMNS}
    bygone = await transaction.rows("audit_bygone_requests")
    return source_books(await transaction.rows("audit_sources"), told, bygone, environment, tenant)
