"""Another node that takes slots in the store while the node under test stands still, or does not."""

import json
from pathlib import Path
from random import Random

import apsw

from posthouse.core.model import SLOTS, slot_of
from posthouse.store.sqlite.connection import BusyPolling, connect_writer
from posthouse.store.sqlite.store import DATABASE
from posthouse.testing.disk import Disk
from posthouse.testing.simulation.records import Reign

NAME = "rival"

_ENDPOINTS = "SELECT key FROM endpoints"
_ATTEMPTS = "SELECT event_key, endpoint_key, number FROM attempts"
_TAKE = (
    "UPDATE slots SET owner = ?1, epoch = epoch + 1, lease_until = ?2 WHERE slot IN (SELECT value FROM json_each(?3))"
)
_HELD = "SELECT slot FROM slots WHERE owner = ?1"
_RELEASE = "UPDATE slots SET owner = NULL, lease_until = 0 WHERE owner = ?1"
_EMPTY_SEEN = "DELETE FROM seen"
_DROP_SEEN = "DROP TABLE IF EXISTS seen"


class Rival:
    """Writes to the node's store through a connection of its own.

    Args:
        disk: where the store is.
        chance: which slots it takes.
    """

    def __init__(self, disk: Disk, chance: Random) -> None:
        self._disk = disk
        self._chance = chance

    def take(self, count: int, *, lease_until: int, at: float, life: int) -> Reign | None:
        """Take so many slots, those of endpoints first. None if the store is being written to."""
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            wanted = sorted({slot_of(key) for (key,) in connection.execute(_ENDPOINTS)})
            self._chance.shuffle(wanted)
            wanted = wanted[: max(1, count * len(wanted) // SLOTS)]
            slots = frozenset(wanted) | frozenset(self._chance.sample(range(SLOTS), count))
            connection.execute(_TAKE, (NAME, lease_until, json.dumps(sorted(slots))))
            reign = Reign(slots, at, life, lease_until=lease_until, before=_attempts(connection, slots))
            connection.execute("COMMIT")
        except apsw.BusyError:
            return None
        else:
            return reign
        finally:
            connection.close()

    def leave(self, reign: Reign, *, at: float, release: bool) -> bool:
        """Note what the store holds of the slots that are still the rival's, and give them back. False if busy."""
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            held = frozenset(slot for (slot,) in connection.execute(_HELD, (NAME,)))
            reign.slots &= held
            reign.after = _attempts(connection, reign.slots)
            reign.before = frozenset(found for found in reign.before if slot_of(found[1]) in reign.slots)
            if release:
                connection.execute(_RELEASE, (NAME,))
            connection.execute("COMMIT")
        except apsw.BusyError:
            return False
        else:
            reign.until = at
            return True
        finally:
            connection.close()

    def vanish(self) -> bool:
        """Give back whatever it still holds, also under a lease that a wrong clock made long. False if busy."""
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_RELEASE, (NAME,))
            connection.execute("COMMIT")
        except apsw.BusyError:
            return False
        else:
            return True
        finally:
            connection.close()

    def forget_repetitions(self, *, drops: bool) -> bool:
        """Lose what recognises repetitions of what came in, or the table that it is in. False if busy."""
        connection = self._connect()
        try:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_DROP_SEEN if drops else _EMPTY_SEEN)
            connection.execute("COMMIT")
        except apsw.BusyError:
            return False
        else:
            return True
        finally:
            connection.close()

    def _connect(self) -> apsw.Connection:
        path: Path = self._disk.directory / DATABASE
        return connect_writer(path, busy=BusyPolling(patient=False), vfs=self._disk.vfs)


def _attempts(connection: apsw.Connection, slots: frozenset[int]) -> frozenset[tuple[int, int, int]]:
    return frozenset(row for row in connection.execute(_ATTEMPTS) if slot_of(row[1]) in slots)
