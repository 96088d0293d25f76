"""A primary with standbys that it waits for, as an operator runs them: lost with its disk, one of them takes its place.

Every server has a name, and each is told to wait for any one of the others: so what was acknowledged is on two disks,
and the standby that has received most has all of it. Nothing here decides by itself; a test is the operator.
"""

import contextlib
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from typing import Final, Self

from posthouse.testing.postgres.cluster import START_S, Cluster, as_nobody, binaries, make_folder

HOST: Final = "127.0.0.1"
LOOK_S: Final = 0.02

#: What a server needs to be followed, and to become the one that is followed.
_REPLICATION: Final = {
    "wal_level": "replica",
    "max_wal_senders": "10",
    "hot_standby": "on",
    "wal_keep_size": "256MB",  # a standby that is restarted finds what it missed
    "listen_addresses": HOST,
    "wal_receiver_status_interval": "1s",
    "wal_retrieve_retry_interval": "100ms",
    "max_connections": "100",
}

_FOLLOWED: Final = (
    "SELECT EXISTS (SELECT FROM pg_stat_replication WHERE application_name = '{name}' AND state = 'streaming')"
)
_RECEIVING: Final = "SELECT EXISTS (SELECT FROM pg_stat_wal_receiver)"
_RECEIVED: Final = "SELECT pg_wal_lsn_diff(pg_last_wal_receive_lsn(), '0/0')"


class Replicas:
    """Servers of one database cluster, the first of them the primary. Ends with :meth:`stop`.

    Args:
        names: of the servers; each of them is on a port of its own that stays the same.
        settings: of all servers.
    """

    def __init__(self, names: Sequence[str], **settings: str) -> None:
        self.names = tuple(names)
        self._settings = settings
        self._ports = dict(zip(names, free_ports(len(names)), strict=True))
        self._servers: dict[str, Cluster] = {}
        self.primary = names[0]

    @classmethod
    def start(cls, names: Sequence[str] = ("a", "b", "c"), **settings: str) -> Self:
        """Make the primary and its standbys, and wait until it is followed by all of them.

        Raises:
            NoPostgres: There is no PostgreSQL on this machine, or a server does not start.
        """
        replicas = cls(names, **settings)
        try:
            first = replicas.primary
            replicas._servers[first] = Cluster.start(durable=True, **replicas._settings_of(first))
            for name in names[1:]:
                replicas.join(name)
        except BaseException:
            replicas.stop()
            raise
        return replicas

    def dsn(self, database: str, **options: str) -> str:
        """The address of one of its databases: all servers, whichever of them is the primary."""
        places = ",".join(f"{HOST}:{port}" for port in self._ports.values())
        more = "".join(f"&{name}={value}" for name, value in options.items())
        return f"postgresql://postgres@{places}/{database}?sslmode=disable{more}"

    def server(self, name: str) -> Cluster:
        """One of the servers that run."""
        return self._servers[name]

    @property
    def standbys(self) -> tuple[str, ...]:
        """Those that run and follow."""
        return tuple(name for name in self._servers if name != self.primary)

    def join(self, name: str) -> None:
        """A server that is not there becomes a standby: it copies the primary and follows it. Returns when it does."""
        source = self._servers[self.primary]
        folder = make_folder()
        try:
            self._run(
                "pg_basebackup",
                *("-h", HOST, "-p", str(source.port), "-U", "postgres", "-D", str(folder / "data")),
                *("--checkpoint", "fast", "-X", "stream", "--write-recovery-conf", "--no-sync"),
            )
        except BaseException:
            shutil.rmtree(folder, ignore_errors=True)
            raise
        standby = Cluster.on(folder, durable=True, **self._settings_of(name))
        self._servers[name] = standby
        standby.begin()
        self._until(lambda: self.ask(self.primary, _FOLLOWED.format(name=name)) == "t", f"{name} follows")

    def lose_primary(self) -> str:
        """The primary's machine is gone, with its disk: its processes are killed, its files removed. Which it was."""
        lost = self.primary
        server = self._servers.pop(lost)
        server.kill()
        server.stop()
        return lost

    def fail_over(self) -> str:
        """What an operator, or Patroni, does then: the standby that has received most is promoted, others follow it.

        Returns which it is.
        """
        standbys = self.standbys  # what is still on its way into one of them may be more than another one has
        self._until(lambda: {self.ask(name, _RECEIVING) for name in standbys} == {"f"}, "nothing more is received")
        received = {name: int(self.ask(name, _RECEIVED)) for name in standbys}
        self.primary = max(received, key=lambda name: (received[name], name))
        self.ask(self.primary, "SELECT pg_promote(true, 30)")
        for name in self.standbys:
            self._follow(name)
        return self.primary

    def ask(self, name: str, query: str, *, database: str = "postgres") -> str:
        """What ``psql`` answers on one server."""
        port = str(self._servers[name].port)
        return self._run("psql", "-h", HOST, "-p", port, "-U", "postgres", "-X", "-A", "-t", "-c", query, database)

    def stop(self) -> None:
        """End all servers, and remove their data. Idempotent."""
        while self._servers:
            _, server = self._servers.popitem()
            server.stop()

    def _follow(self, name: str) -> None:
        """Tell a standby whom to follow now."""
        port = self._servers[self.primary].port
        place = f"host={HOST} port={port} user=postgres connect_timeout=2"
        self.ask(name, f"ALTER SYSTEM SET primary_conninfo = '{place}'")
        self.ask(name, "SELECT pg_reload_conf()")

    def _settings_of(self, name: str) -> dict[str, str]:
        others = ",".join(other for other in self.names if other != name)
        waited_for = {"synchronous_standby_names": f"ANY 1 ({others})"}
        return {**_REPLICATION, **waited_for, **self._settings, "cluster_name": name, "port": str(self._ports[name])}

    @staticmethod
    def _run(program: str, *arguments: str) -> str:
        done = subprocess.run(  # noqa: S603 - PostgreSQL's own programs
            [*as_nobody(), str(binaries() / program), *arguments],
            check=True,
            capture_output=True,
            cwd="/",
            timeout=START_S,
        )
        return done.stdout.decode().strip()

    @staticmethod
    def _until(true: Callable[[], bool], what: str) -> None:
        until = time.monotonic() + START_S
        while not true():
            if time.monotonic() > until:
                raise TimeoutError(f"After {START_S:.0f} s it is not so that {what}.")
            time.sleep(LOOK_S)


def free_ports(count: int) -> list[int]:
    """Ports of this machine that nobody listens on."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind((HOST, 0))
        return [each.getsockname()[1] for each in sockets]
