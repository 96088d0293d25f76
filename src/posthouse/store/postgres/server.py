"""What the server is, and whether it keeps what it says that it keeps."""

from typing import Any, Final

import msgspec

from posthouse.core.errors import StoreIncompatible, UnsafeLibrary
from posthouse.store.postgres.dial import DURABLE, PINNED, Dialler, Session, Wire
from posthouse.store.postgres.dsn import parse_dsn

OLDEST: Final = 150_000  #: as the server numbers its versions
LONG_S: Final = 60  #: a transaction that is open for so long is in the way of vacuum, and may hold back the feed
_KEEPS: Final = ("fsync", "full_page_writes")  #: settings without which a crash takes what was acknowledged


class ServerRules(msgspec.Struct, frozen=True):
    """What is asked of a server."""

    allow_unsafe: bool = False  #: a server that loses data in a crash is good enough; for tests


class Server(msgspec.Struct, frozen=True):
    """What a server says of itself."""

    version: str
    warnings: tuple[str, ...]  #: for an operator to read; each says what may happen
    pooled: bool = False  #: it is reached through a pooler


async def inspect(wire: Wire, rules: ServerRules) -> Server:
    """Refuse a server that the store cannot be kept on.

    Raises:
        StoreIncompatible: It is too old, or its text is not UTF-8.
        UnsafeLibrary: It may lose what it acknowledged.
    """
    (row,) = (await wire.ask("describe_server", ())).rows
    if row["number"] < OLDEST:
        raise StoreIncompatible(
            f"The server is PostgreSQL {row['version']}; 15 is the oldest that is supported.",
            hint="Upgrade the server.",
        )
    if row["encoding"] != "UTF8":
        raise StoreIncompatible(
            f"The database's encoding is {row['encoding']}; it must be UTF8.",
            hint="Create the database with ENCODING 'UTF8'.",
        )
    for setting in _KEEPS:
        if row[setting] != "on" and not rules.allow_unsafe:
            raise UnsafeLibrary(
                f"The server runs with {setting}={row[setting]}: it loses what it acknowledged when its machine fails.",
                hint=f"Set {setting} = on in its configuration.",
            )
    return Server(version=row["version"], warnings=warnings_of(row))


def warnings_of(row: Any) -> tuple[str, ...]:
    """What an operator should know of the server that ``describe_server`` describes."""
    found = [
        f"{setting} is {row[setting]}: what was acknowledged is lost when the machine fails."
        for setting in _KEEPS
        if row[setting] != "on"
    ]
    ours, given = row["synchronous_commit"], row["synchronous_commit_given"]
    if ours not in DURABLE:
        found.append(f"synchronous_commit is {ours}: an acknowledged write may be lost.")
    elif given not in DURABLE:
        found.append(
            f"synchronous_commit is {given}. The node's own writes wait all the same (it is {ours} for them);"
            " what applications write may be lost."
        )
    if not row["standbys"]:
        found.append("No synchronous standby: an acknowledged write is on the disk of one machine only.")
    if row["autovacuum"] != "on":
        found.append("autovacuum is off: tables that change all the time grow without bound.")
    return tuple(found)


async def examine(dsn: str, *, rules: ServerRules = ServerRules()) -> Server:  # noqa: B008 - frozen
    """What the server at ``dsn`` says of itself, and of who is in the way there. Nothing is changed.

    Raises:
        ConfigurationError: The DSN is not one.
        StoreUnavailable: It cannot be reached; ``dial.Unfit``: it never will.
        StoreIncompatible, UnsafeLibrary: As :func:`inspect`.
    """
    place = parse_dsn(dsn)
    wire = await Dialler(place).dial(Session(name="posthouse:doctor", settings=PINNED, durable=place.durable))
    try:
        server = await inspect(wire, rules)
        waiting = [
            f"A transaction has been open for {row['seconds']} s: {row['holder']}. Vacuum cannot remove what was"
            " deleted since, so tables grow; if it writes, the feed waits for its end."
            for row in (await wire.ask("long_transactions", (LONG_S,))).rows
        ]
        return msgspec.structs.replace(server, pooled=place.pooled, warnings=(*server.warnings, *waiting))
    finally:
        await wire.close()
