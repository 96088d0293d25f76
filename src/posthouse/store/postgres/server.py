"""What the server is, and whether it keeps what it says that it keeps."""

from typing import Final

import msgspec

from posthouse.core.errors import StoreIncompatible, UnsafeLibrary
from posthouse.store.postgres.dial import Wire

OLDEST: Final = 150_000  #: as the server numbers its versions
DURABLE: Final = frozenset({"on", "remote_apply"})


class ServerRules(msgspec.Struct, frozen=True):
    """What is asked of a server."""

    allow_unsafe: bool = False  #: a server that loses data in a crash is good enough; for tests


class Server(msgspec.Struct, frozen=True):
    """What a server says of itself."""

    version: str
    warnings: tuple[str, ...]  #: for an operator to read; nothing is lost by them as long as machines last


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
    for setting in ("fsync", "full_page_writes"):
        if row[setting] != "on" and not rules.allow_unsafe:
            raise UnsafeLibrary(
                f"The server runs with {setting}={row[setting]}: it loses what it acknowledged when its machine fails.",
                hint=f"Set {setting} = on in its configuration.",
            )
    warnings = []
    if row["synchronous_commit"] not in DURABLE:
        warnings.append(f"synchronous_commit is {row['synchronous_commit']}: an acknowledged write may be lost.")
    if not row["standbys"]:
        warnings.append("No synchronous standby: an acknowledged write is on the disk of one machine only.")
    return Server(version=row["version"], warnings=tuple(warnings))
