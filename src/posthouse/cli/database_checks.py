"""Looks at the database that holds the store: does it let us in, and does it keep what it acknowledges?"""

import asyncio
from typing import Final

from posthouse.cli.findings import Finding, Verdict
from posthouse.core.errors import PosthouseError

_SETTINGS: Final = "docs/postgresql.md says which settings keep the promise, and which do not."


def check_database(address: str) -> list[Finding]:
    """Everything that the server at ``address`` tells; nothing is changed there."""
    from posthouse.store.postgres.server import examine  # noqa: PLC0415 - loads the driver

    try:
        server = asyncio.run(examine(address))
    except PosthouseError as error:
        return [Finding("database", Verdict.WRONG, error.message, error.advice)]
    through = ", through a pooler" if server.pooled else ""
    return [
        Finding("database", Verdict.OK, f"PostgreSQL {server.version}{through}"),
        *(Finding("database settings", Verdict.WARNING, warning, _SETTINGS) for warning in server.warnings),
    ]
