"""Where the database is: ``postgresql://user:password@host:port,host:port/database?option=value``."""

from typing import Final
from urllib.parse import parse_qsl, unquote, urlsplit

import msgspec

from posthouse.core.errors import ConfigurationError

SCHEMES: Final = ("postgresql://", "postgres://")
PORT: Final = 5432
SCHEMA: Final = "posthouse"  #: beside the tables of whoever else uses the database

_TLS: Final = frozenset({"sslmode", "sslrootcert", "sslcert", "sslkey", "sslcrl", "sslpassword"})
_MODES: Final = frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"})


class Dsn(msgspec.Struct, frozen=True):
    """A place of a store, taken apart. Its representation does not show the password."""

    hosts: tuple[tuple[str, int], ...]  #: names, addresses, or folders of a socket
    database: str
    user: str | None = None
    password: str | None = None
    schema: str = SCHEMA
    durable: bool = True  #: sessions wait for standbys and disk also where the server would not
    pooled: bool = False  #: a pooler stands in between: what is asked of a connection is forgotten after a transaction
    tls: tuple[tuple[str, str], ...] = ()  #: as libpq names them

    def __repr__(self) -> str:
        places = ",".join(f"{host}:{port}" for host, port in self.hosts)
        return f"Dsn({places}/{self.database}, schema={self.schema})"


def is_dsn(place: object) -> bool:
    """Whether a place is a database, not a directory."""
    return isinstance(place, str) and place.startswith(SCHEMES)


def parse_dsn(text: str) -> Dsn:
    """Take a DSN apart.

    Raises:
        ConfigurationError: It is not one, or has an option that is not known. The message does not repeat a password.
    """
    if not is_dsn(text):
        raise _wrong("it must start with postgresql://")
    try:
        parts = urlsplit(text)
        options = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
    except ValueError as error:
        raise _wrong("it cannot be taken apart") from error
    credentials, _, places = parts.netloc.rpartition("@")
    user, _, password = credentials.partition(":")
    hosts = _hosts(options.pop("host", "") or places, options.pop("port", ""))
    database = unquote(parts.path.removeprefix("/")) or options.pop("dbname", "")
    user = unquote(user) or options.pop("user", "")
    password = unquote(password) or options.pop("password", "")
    if not hosts or not database:
        raise _wrong("it needs a host and the name of a database")
    return Dsn(
        hosts=hosts,
        database=database,
        user=user or None,
        password=password or None,
        schema=_schema(options.pop("schema", SCHEMA)),
        durable=_durable(options.pop("durability", "full")),
        pooled=_pooled(options.pop("pgbouncer", "false")),
        tls=_tls(options),
    )


def _hosts(places: str, ports: str) -> tuple[tuple[str, int], ...]:
    """Each host with its port; ``ports`` are those that stand in an option, one for each host or one for all."""
    named = [_host(place) for place in places.split(",") if place]
    if not ports:
        return tuple((host, port or PORT) for host, port in named)
    given = [_port(port) for port in ports.split(",")]
    if len(given) not in {1, len(named)}:
        raise _wrong("it has another number of ports than of hosts")
    return tuple((host, port or given[i % len(given)]) for i, (host, port) in enumerate(named))


def _host(place: str) -> tuple[str, int | None]:
    if place.startswith("["):  # an IPv6 address
        address, _, port = place[1:].partition("]")
        return address, _port(port[1:]) if port else None
    host, _, port = unquote(place).partition(":")
    return host, _port(port) if port else None


def _port(text: str) -> int:
    if not text.isdecimal() or not 0 < int(text) < 1 << 16:
        raise _wrong("a port is no number between 1 and 65535")
    return int(text)


def _schema(name: str) -> str:
    """Lower case only: it is written into one statement, which makes it."""
    if not name.isidentifier() or not name.isascii() or name != name.lower():
        raise _wrong("schema must be a plain name in lower case")
    return name


def _durable(value: str) -> bool:
    if value not in {"full", "server"}:
        raise _wrong("durability is 'full' or 'server'")
    return value == "full"


def _pooled(value: str) -> bool:
    if value not in {"true", "false"}:
        raise _wrong("pgbouncer is 'true' or 'false'")
    return value == "true"


def _tls(options: dict[str, str]) -> tuple[tuple[str, str], ...]:
    unknown = sorted(options.keys() - _TLS)
    if unknown:
        raise _wrong(f"the option {unknown[0]!r} is not known")
    if options.get("sslmode", "prefer") not in _MODES:
        raise _wrong("sslmode is not known")
    return tuple(sorted(options.items()))


def _wrong(why: str) -> ConfigurationError:
    return ConfigurationError(
        f"The address of the database is not valid: {why}.",
        hint="Write it as postgresql://user:password@host:5432/database.",
    )
