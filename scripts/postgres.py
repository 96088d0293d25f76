"""Make sure that tests find a PostgreSQL: the programs of a server, and PgBouncer where there is a package of it.

On Debian and Ubuntu, as root, what is missing is installed. No server of the system is made or started by that: tests
make their own, each with its data in a folder that goes with it. Runs on a bare Python with the standard library.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

#: The same as in posthouse.testing.postgres.cluster, which runs what is found here.
PROGRAMS_VARIABLE = "TEST_POSTGRES_PROGRAMS"
DEBIANS = Path("/usr/lib/postgresql")
NEEDED = ("initdb", "postgres", "pg_basebackup")

#: Files that are there while packages are installed. The first keeps Debian from making a cluster of its own, the
#: second from starting services.
WHILE_INSTALLING: Mapping[Path, tuple[str, int]] = {
    Path("/etc/postgresql-common/createcluster.d/tests.conf"): ("create_main_cluster = false\n", 0o644),
    Path("/usr/sbin/policy-rc.d"): ("#!/bin/sh\nexit 101\n", 0o755),
}
INSTALL_SECONDS_MAX = 600


def main() -> int:
    """Install what is missing; 0 if there is a PostgreSQL then."""
    return 0 if ready() else 1


def ready() -> bool:
    """Whether there is a PostgreSQL, after an attempt to install it; if not, it is said what to do."""
    missing = [] if programs() else ["postgresql"]
    missing += [] if has("pgbouncer") else ["pgbouncer"]
    if missing and named() is None and can_install():  # who chose a folder chose what is in it
        try:
            _install(missing)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(error, file=sys.stderr)
    if programs():
        return True
    elsewhere = f"or say {PROGRAMS_VARIABLE}=/folder/of/its/programs"
    print(f"There is no PostgreSQL 15 or later ({', '.join(NEEDED)}). Install it, {elsewhere}.", file=sys.stderr)
    print("On Debian or Ubuntu: apt-get install postgresql pgbouncer", file=sys.stderr)
    return False


def programs() -> Path | None:
    """The folder of the server's programs: the one that is named, or the newest of Debian's, or one on the path."""
    name = named()
    if name:
        folders = [Path(name)]
    else:
        folders = sorted(DEBIANS.glob("*/bin"), key=_version, reverse=True)
        on_path = shutil.which("initdb")
        if on_path:
            folders.append(Path(on_path).parent)
    return next((f for f in folders if all((f / program).exists() for program in NEEDED)), None)


def named() -> str | None:
    """The folder that somebody chose."""
    return os.environ.get(PROGRAMS_VARIABLE)


def has(program: str) -> bool:
    """Whether there is such a program; Debian's services are where only root's path leads."""
    return shutil.which(program, path=f"{os.environ.get('PATH', '')}:/usr/sbin") is not None


def can_install() -> bool:
    """Whether packages may be installed here."""
    return os.geteuid() == 0 and shutil.which("apt-get") is not None


def _install(packages: Sequence[str]) -> None:
    with ExitStack() as files:
        for path, (text, mode) in WHILE_INSTALLING.items():
            files.enter_context(_there_is(path, text, mode))
        _apt("update", "-qq")
        for package in packages:  # one by one: a system without one of them may have the other
            print(f"Installing {package} (Debian package)", flush=True)
            _apt("install", "-y", "-qq", "--no-install-recommends", package)


def _version(folder: Path) -> tuple[int, ...]:
    return tuple(int(part) for part in folder.parent.name.split(".") if part.isdecimal())


def _apt(*arguments: str) -> None:
    """Call apt-get; what it says of a failure is shown, and what is missing then is found out by looking."""
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    command = ["apt-get", *arguments]
    subprocess.run(command, env=environment, stdin=subprocess.DEVNULL, timeout=INSTALL_SECONDS_MAX, check=False)


@contextmanager
def _there_is(path: Path, text: str, mode: int) -> Iterator[None]:
    """A file, while this lasts; one that is there already stays as it is."""
    if path.exists():
        yield
        return
    new_folder = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    path.chmod(mode)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        if new_folder and not any(path.parent.iterdir()):
            path.parent.rmdir()


if __name__ == "__main__":
    sys.exit(main())
