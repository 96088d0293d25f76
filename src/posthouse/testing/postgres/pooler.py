"""A PgBouncer in transaction mode before a test's server."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Final, Self
from urllib.parse import quote

import asyncpg

from posthouse.testing.postgres.cluster import NOBODY, Cluster, NoPostgres, as_nobody

PORT: Final = 54_322  #: names the socket only
BACKENDS: Final = 4  #: fewer than a node has connections, so that it cannot have one for each of them
PREFIX: Final = "posthouse-pgb-"
START_S: Final = 10.0

_CONFIG: Final = """[databases]
* = host={server} port={port}
[pgbouncer]
listen_port = {own_port}
listen_addr =
unix_socket_dir = {folder}
auth_type = trust
auth_file = {folder}/users
admin_users = {users}
pool_mode = transaction
default_pool_size = {backends}
ignore_startup_parameters = {ignored}
logfile = {folder}/log
"""


class Pooler:
    """A running PgBouncer. Ends with :meth:`stop`, or with the process."""

    def __init__(self, folder: Path, process: "subprocess.Popen[bytes]") -> None:
        self._folder = folder
        self._process = process

    @classmethod
    def start(cls, cluster: Cluster, *, users: tuple[str, ...], ignored: tuple[str, ...] = ()) -> Self:
        """Put one before a server, and wait until it listens. Raises :class:`NoPostgres` if there is none here.

        Args:
            cluster: the server.
            users: the roles that may come in.
            ignored: settings of a session that it takes, and forgets.
        """
        program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        if program is None:
            raise NoPostgres("There is no PgBouncer on this machine.")
        folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        config = folder / "config"
        config.write_text(
            _CONFIG.format(
                server=cluster.socket,
                port=cluster.port,
                own_port=PORT,
                folder=folder,
                backends=BACKENDS,
                users=", ".join(users),
                ignored=", ".join(ignored),
            )
        )
        (folder / "users").write_text("".join(f'"{user}" ""\n' for user in users))
        if os.geteuid() == 0:  # it refuses to run as root
            for path in (folder, config, folder / "users"):
                os.chown(path, NOBODY, NOBODY)
        process = subprocess.Popen(  # noqa: S603 - PgBouncer itself
            [*as_nobody(dies_with_us=True), program, "-q", str(config)], stderr=subprocess.DEVNULL, cwd="/"
        )
        pooler = cls(folder, process)
        until = time.monotonic() + START_S
        while not (folder / f".s.PGSQL.{PORT}").exists():
            if process.poll() is not None or time.monotonic() > until:
                log = folder / "log"
                said = log.read_text("utf-8", "replace") if log.exists() else ""
                pooler.stop()
                raise NoPostgres(f"PgBouncer did not start: {said}")
            time.sleep(0.02)
        return pooler

    def dsn(self, database: str, user: str, **options: str) -> str:
        """The address of a database behind it."""
        more = "".join(f"&{name}={quote(value, safe='')}" for name, value in options.items())
        return f"postgresql:///{database}?host={quote(str(self._folder), safe='')}&port={PORT}&user={user}{more}"

    async def reconnect(self, user: str) -> None:
        """Let it connect to the server anew for what is asked of it from now on, as ``user``, one of its users."""
        console = await asyncpg.connect(self.dsn("pgbouncer", user))
        try:
            await console.execute("RECONNECT")
        finally:
            await console.close()

    def stop(self) -> None:
        """End it. Idempotent."""
        self._process.kill()
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
