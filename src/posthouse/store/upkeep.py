"""Work on whole stores, wherever they are: archives, and moves. Which engine does it is decided here, as in `open`."""

import asyncio
import importlib
import threading
from collections.abc import Callable
from contextlib import AsyncExitStack
from enum import Enum
from pathlib import Path
from typing import Any, Final, TypeVar

from posthouse.core.errors import ArchiveInvalid, ConfigurationError
from posthouse.core.ports import Clock
from posthouse.store.postgres.dsn import is_dsn
from posthouse.store.shared.archives import Manifest, read_manifest
from posthouse.store.shared.moving import Carrier, begin, copy_ahead, finish, undo
from posthouse.store.shared.tables import SQLITE
from posthouse.store.shared.tally import Tally
from posthouse.store.shared.telling import Tell, tell_nobody
from posthouse.store.sqlite.backup import back_up_sqlite
from posthouse.store.sqlite.carrier import SqliteCarrier
from posthouse.store.sqlite.restoring import restore_sqlite

T = TypeVar("T")
Place = Path | str  #: a data directory, or the DSN of a database

_POSTGRES: Final = "posthouse.store.postgres"


class Part(Enum):
    """Which part of a move is to be done."""

    AHEAD = "ahead"  #: what never changes, while nodes run on the source
    FINAL = "final"  #: the rest, and the contents change hands
    UNDO = "undo"  #: they change hands back


async def back_up(place: Place, target: Path, *, clock: Clock, tell: Tell = tell_nobody) -> Manifest:
    """Write an archive of the store in ``place`` to ``target``, a folder that is made; what it holds.

    Nodes may run meanwhile. Everything that was acknowledged before the call is in it.

    Raises:
        PosthouseError: As :func:`~posthouse.store.sqlite.backup.back_up_sqlite` and
            :func:`~posthouse.store.postgres.backup.back_up_postgres` say; nothing is left behind then.
    """
    now = clock.now_ms()
    if is_dsn(place):
        manifest: Manifest = await _module("backup").back_up_postgres(place, target, now=now, tell=tell)
        return manifest
    return await _in_thread(lambda told: back_up_sqlite(Path(place), target, now=now, tell=told), tell)


async def restore(archive: Path, place: Place, *, clock: Clock, tell: Tell = tell_nobody) -> Manifest:
    """Make the store of an archive in ``place``, where there must be none; what the archive holds.

    Raises:
        ArchiveInvalid: It is not as it was written, or is of another engine, or from the future.
        PosthouseError: As :func:`~posthouse.store.sqlite.restoring.restore_sqlite` and
            :func:`~posthouse.store.postgres.restoring.restore_postgres` say; nothing is left behind then.
    """
    now = clock.now_ms()
    manifest = read_manifest(archive)
    if (manifest.engine == SQLITE) == is_dsn(place):
        raise ArchiveInvalid(
            f"The archive is of {manifest.engine}, and cannot be restored to another engine.",
            hint="Restore it to a place of its own engine, and then 'posthouse migrate'.",
        )
    if now < manifest.made_at:
        # Keys are made from the clock: new ones would be below those of the store that was lost.
        raise ArchiveInvalid(
            "By the clock of this machine the archive is from the future.", hint="Set the clock, then restore it."
        )
    if is_dsn(place):
        await _module("restoring").restore_postgres(archive, manifest, place, now=now, tell=tell)
    else:
        await _in_thread(lambda told: restore_sqlite(archive, manifest, Path(place), now=now, tell=told), tell)
    return manifest


async def move(source: Place, target: Place, part: Part, *, clock: Clock, tell: Tell = tell_nobody) -> Tally | None:
    """Do a part of a move; after the final one the books of both stores.

    Each part may be repeated, and goes on where it was cut short.

    Raises:
        ConfigurationError: Both are the same place.
        PosthouseError: As :mod:`posthouse.store.shared.moving` says; the source keeps its contents then.
    """
    now = clock.now_ms()
    async with AsyncExitStack() as ends:
        here: Any = await _source(source)
        ends.push_async_callback(here.close)
        if here.name == _name(target):
            raise ConfigurationError("Both places are the same.", hint="Name another place with --to.")
        there: Any = await (_source(target) if part is Part.UNDO else _target(target, now))
        ends.push_async_callback(there.close)
        return await _do(part, here, there, tell, now)


async def _do(part: Part, here: Carrier, there: Carrier, tell: Tell, now: int) -> Tally | None:
    if part is Part.UNDO:
        await undo(here, there, tell)
        return None
    await begin(here, there, now=now)
    if part is Part.FINAL:
        return await finish(here, there, tell, now=now)
    await copy_ahead(here, there, tell)
    return None


async def _source(place: Place) -> Carrier:
    if is_dsn(place):
        carrier: Carrier = await _module("carrier").PostgresCarrier.source(place)
        return carrier
    return SqliteCarrier.source(Path(place))


async def _target(place: Place, now: int) -> Carrier:
    if is_dsn(place):
        carrier: Carrier = await _module("carrier").PostgresCarrier.target(place, now=now)
        return carrier
    return SqliteCarrier.target(Path(place), now=now)


class _Stopped(Exception):
    """Nobody waits for it any more."""


async def _in_thread(work: Callable[[Tell], T], tell: Tell) -> T:
    """What blocking work gives. If this is cancelled, the work ends at the next thing that it tells."""
    stopping = threading.Event()

    def told(what: str, done: int, total: int) -> None:
        if stopping.is_set():
            raise _Stopped
        tell(what, done, total)

    try:
        return await asyncio.to_thread(work, told)
    except asyncio.CancelledError:
        stopping.set()
        raise


def _name(place: Place) -> str | None:
    return None if is_dsn(place) else str(Path(place).resolve())


def _module(name: str) -> Any:
    """The driver is loaded by those only who need it."""
    return importlib.import_module(f"{_POSTGRES}.{name}")
