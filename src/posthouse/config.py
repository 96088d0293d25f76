"""One frozen tree of settings, read once when a process starts.

Each layer overrides the one before it: defaults, a TOML file, environment variables, flags. What
is unknown or out of range ends the start with a message that names the setting, the value and
where it came from. There is no setting that nothing reads.
"""

import difflib
import ipaddress
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    ValidationError,
    field_serializer,
    field_validator,
    model_validator,
)

from posthouse.core import limits
from posthouse.core.errors import ConfigurationError

CONFIG_FILE: Final = "posthouse.toml"  #: read from the data directory when no other file is named
ENVIRONMENT_PREFIX: Final = "POSTHOUSE_"
DATABASE_SCHEMES: Final = ("postgresql://", "postgres://")
PORT_MAX: Final = 65_535
MASK: Final = "***"  #: stands where a secret is not shown

#: Environment variables with the prefix that are no settings of a node, and what they are for.
OTHER_VARIABLES: Final[Mapping[str, str]] = {
    "POSTHOUSE_CONFIG": "Path of the TOML file; the flag --config overrides it.",
    "POSTHOUSE_URL": "Address of the node that client commands talk to.",
    "POSTHOUSE_API_KEY": "API key that client commands use.",
}


class Config(BaseModel):
    """The settings of one node. Frozen; all fields have a default that is safe in production."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    data: Path = Field(
        default=Path("posthouse-data"),
        description="Directory of the embedded store and the first API key.",
    )
    database: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://…) of a database that holds the store; by default it is embedded.",
    )
    outbox: SecretStr | None = Field(
        default=None,
        description="Address (postgresql://…) of another database whose outbox is drained; secret.",
    )
    role: Literal["all", "engine", "edge"] = Field(
        default="all",
        description="What the node does: edge accepts and answers the API, engine delivers, all does both.",
    )
    host: str = Field(default="127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(default=8400, ge=0, le=PORT_MAX, description="TCP port to listen on; 0 takes a free one.")
    processes: int = Field(
        default=1,
        ge=1,
        le=limits.PROCESSES_MAX,
        description="Processes that share the work and the port on this machine; each is a node of its own.",
    )
    process_port: int = Field(
        default=0,
        ge=0,
        le=PORT_MAX,
        description="With several processes, a TCP port of the first one alone, then of the next; 0: of none.",
    )
    allow_networks: tuple[str, ...] = Field(
        default=(),
        description="Networks (CIDR) that endpoints may lead to although they are not public.",
    )
    commit_interval_ms: int = Field(
        default=limits.COMMIT_INTERVAL_MS,
        ge=0,
        le=100,
        description="Milliseconds that one commit gathers requests for, at most.",
    )
    in_flight_max: int = Field(
        default=limits.IN_FLIGHT_PER_NODE,
        ge=1,
        le=limits.IN_FLIGHT_MAX,
        description="Requests that the node has on their way at once, at most.",
    )
    in_flight_per_endpoint: int = Field(
        default=limits.IN_FLIGHT_PER_ENDPOINT,
        ge=1,
        le=limits.WINDOW_ITEMS_MAX,
        description="Requests on their way to one endpoint at once, at most.",
    )
    in_flight_per_tenant: int = Field(
        default=0,
        ge=0,
        le=limits.IN_FLIGHT_MAX,
        description="Requests on their way to all endpoints of one tenant at once, at most; 0: no cap of its own.",
    )
    fresh_seconds: int = Field(
        default=limits.FRESH_SECONDS_DEFAULT,
        ge=1,
        le=limits.FRESH_SECONDS_MAX,
        description="Seconds after which an event is no longer fresh: an older one starts in the backlog lane.",
    )
    retention_days: int = Field(
        default=0,
        ge=0,
        le=limits.RETENTION_DAYS_MAX,
        description="Days that settled events and read requests are kept; 0: for ever. What is owed stays.",
    )
    public_url: str | None = Field(
        default=None,
        description="URL by which senders reach this node, without a path; by default as each request names it.",
    )
    drain_seconds: float = Field(
        default=30.0,
        ge=0,
        le=3_600,
        description="Seconds that a stopping node waits for the answers to requests on their way.",
    )
    ca_file: Path | None = Field(
        default=None,
        description="PEM file of certificate authorities to trust besides the system's own.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least level that is logged."
    )
    log_format: Literal["auto", "json", "pretty"] = Field(
        default="auto",
        description="Form of log lines; auto is pretty on a terminal and JSON elsewhere.",
    )

    _origins: Mapping[str, str] = PrivateAttr(default_factory=dict)

    @property
    def origins(self) -> dict[str, str]:
        """Where each value came from: ``default``, ``argument``, or the name of its file, variable or flag."""
        return {
            name: self._origins.get(name, "argument" if name in self.model_fields_set else "default")
            for name in Config.model_fields
        }

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_value(cls, value: object) -> object:
        if isinstance(value, bool):
            raise ValueError("must not be true or false")  # noqa: TRY004 - pydantic reports only ValueError
        return value

    @field_validator("database", "outbox")
    @classmethod
    def _database_is_an_address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(DATABASE_SCHEMES):
            raise ValueError("must be an address such as postgresql://user:password@host:5432/database")
        return value

    @field_serializer("database", "outbox", when_used="json")
    def _without_password(self, value: SecretStr | None) -> str | None:
        return None if value is None else shown(value)

    @field_validator("allow_networks", mode="before")
    @classmethod
    def _split_list(cls, value: object) -> object:
        return value.replace(",", " ").split() if isinstance(value, str) else value

    @field_validator("allow_networks")
    @classmethod
    def _networks_are_networks(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_network(text) for text in value)

    @field_validator("ca_file")
    @classmethod
    def _file_exists(cls, value: Path | None) -> Path | None:
        if value is not None and not value.is_file():
            raise ValueError("there is no such file")
        return value

    @field_validator("public_url")
    @classmethod
    def _url_is_an_origin(cls, value: str | None) -> str | None:
        if value is None:
            return None
        parts = urlsplit(value)
        if parts.scheme not in {"http", "https"} or not parts.hostname or parts.username is not None:
            raise ValueError("must be an http or https URL such as https://hooks.example.com")
        if parts.path not in {"", "/"} or parts.query or parts.fragment:
            raise ValueError("must have no path, query or fragment")
        return value.rstrip("/")

    @model_validator(mode="after")
    def _relations(self) -> "Config":
        if self.in_flight_per_endpoint > self.in_flight_max:
            raise ValueError("in_flight_per_endpoint must not be greater than in_flight_max")
        if self.process_port and self.processes > 1:
            last = self.process_port + self.processes - 1
            if last > PORT_MAX:
                raise ValueError(
                    f"process_port leaves no port for {self.processes} processes: the last one is {PORT_MAX}"
                )
            if self.process_port <= self.port <= last:
                raise ValueError(f"port must not be one of those from process_port on, {self.process_port} to {last}")
        return self


class Setting(NamedTuple):
    """How one setting is called everywhere, for help texts and the documentation."""

    name: str  #: in the TOML file and in Config
    variable: str
    flag: str
    default: str
    help: str


#: Settings that nobody may read in a message.
SECRETS: Final = frozenset({"database", "outbox"})

#: Flags that are not simply the setting's name.
_FLAGS: Final[Mapping[str, str]] = {"allow_networks": "--allow-network"}


def settings() -> tuple[Setting, ...]:
    """Every setting, in the order of the tree."""
    return tuple(
        Setting(
            name=name,
            variable=ENVIRONMENT_PREFIX + name.upper(),
            flag=_flag(name),
            default=shown(field.default),
            help=field.description or "",
        )
        for name, field in Config.model_fields.items()
    )


def shown(value: object) -> str:
    """A setting's value as people write it, without what is secret in it; empty for none."""
    if isinstance(value, SecretStr):
        return _masked(value.get_secret_value())
    if isinstance(value, tuple):
        return ", ".join(map(str, value))
    return "" if value is None else str(value)


_SECRET_OPTION: Final = re.compile(r"((?:^|[?&])\w*password=)[^&]*")


def _masked(address: str) -> str:
    """The address of a database without its passwords, also if they were not written as they must be."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return MASK
    credentials, at, place = rest.rpartition("@")
    user, colon, _ = credentials.partition(":")
    place = _SECRET_OPTION.sub(rf"\1{MASK}", place)
    return f"{scheme}://{user}{colon and colon + MASK}{at}{place}" if at else f"{scheme}://{place}"


def load_config(flags: Mapping[str, object], *, environ: Mapping[str, str], config_file: Path | None = None) -> Config:
    """The settings of this process.

    Args:
        flags: Values by setting name; None and empty lists count as not given.
        environ: The process environment.
        config_file: A TOML file that must exist. Without it the file that ``POSTHOUSE_CONFIG`` names must
            exist, and without that one ``posthouse.toml`` in the data directory is read if it is there.

    Raises:
        ConfigurationError: A setting is unknown or its value is not valid; every fault is named.
    """
    from_flags = {name: value for name, value in flags.items() if value is not None and value not in ((), [])}
    from_environ = _read_environ(environ)
    from_file, path = _read_file(config_file, from_environ, from_flags, environ)
    values: dict[str, object] = {}
    origins: dict[str, str] = {}
    for layer, origin in (
        (from_file, lambda _: str(path)),
        (from_environ, lambda name: ENVIRONMENT_PREFIX + name.upper()),
        (from_flags, _flag),
    ):
        for name, value in layer.items():
            values[name] = value
            origins[name] = origin(name)
    try:
        config = Config.model_validate(values)
    except ValidationError as error:
        raise _explained(error, origins) from error
    config._origins = origins  # noqa: SLF001 - the loader of this module knows where values came from
    return config


def _read_environ(environ: Mapping[str, str]) -> dict[str, object]:
    found: dict[str, object] = {}
    for variable, value in environ.items():
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable in OTHER_VARIABLES:
            continue
        name = variable.removeprefix(ENVIRONMENT_PREFIX).lower()
        if name not in Config.model_fields:
            raise _unknown(variable, [s.variable for s in settings()] + list(OTHER_VARIABLES), "the environment")
        found[name] = value
    return found


def _read_file(
    named: Path | None,
    from_environ: Mapping[str, object],
    from_flags: Mapping[str, object],
    environ: Mapping[str, str],
) -> tuple[dict[str, object], Path | None]:
    path = named or (Path(environ["POSTHOUSE_CONFIG"]) if environ.get("POSTHOUSE_CONFIG") else None)
    in_data_directory = path is None
    if path is None:
        data = from_flags.get("data") or from_environ.get("data") or Config.model_fields["data"].default
        path = Path(str(data)) / CONFIG_FILE
        if not path.exists():
            return {}, None
    values = _parse(path)
    if in_data_directory and "data" in values:
        raise ConfigurationError(
            f"{path} sets data, but it was found through it.", hint="Name the directory with --data or POSTHOUSE_DATA."
        )
    for name in ("data", "ca_file"):  # paths in a file are relative to that file
        if isinstance(values.get(name), str):
            values[name] = path.parent / values[name]
    return values, path


def _parse(path: Path) -> dict[str, Any]:
    try:
        values = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigurationError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{path} is not UTF-8 text.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(f"{path} is not TOML: {error}.") from error
    for name in values:
        if name not in Config.model_fields:
            raise _unknown(name, list(Config.model_fields), str(path))
    return values


def _flag(name: str) -> str:
    return _FLAGS.get(name, "--" + name.replace("_", "-"))


def _network(text: str) -> str:
    try:
        return str(ipaddress.ip_network(text, strict=True))
    except ValueError:
        try:
            meant = ipaddress.ip_network(text, strict=False)
        except ValueError:
            raise ValueError(f"{text!r} is not a network such as 127.0.0.0/8 or fd00::/8") from None
        raise ValueError(f"{text!r} has bits outside its mask; the network is {meant}") from None


def _unknown(name: str, known: list[str], where: str) -> ConfigurationError:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f" Did you mean {close[0]}?" if close else ""
    if name.startswith(("POSTHOUSE_SERVICE_", "POSTHOUSE_PORT_")):
        hint = "Kubernetes sets such variables for a service called posthouse: set enableServiceLinks to false."
        return ConfigurationError(f"{where} has an unknown setting {name}.", hint=hint)
    return ConfigurationError(
        f"{where} has an unknown setting {name}.{meant}",
        hint="Remove it, or correct its name; 'posthouse config' lists every setting.",
    )


def _explained(error: ValidationError, origins: Mapping[str, str]) -> ConfigurationError:
    entries = []
    for fault in error.errors():
        name = str(fault["loc"][0]) if fault["loc"] else ""
        what = fault["msg"].removeprefix("Value error, ")
        if fault["type"] == "extra_forbidden":
            message = f"{name} is no setting."
        elif name:
            value = MASK if name in SECRETS else repr(shown(fault["input"]))
            message = f"{name} = {value} ({origins.get(name, 'default')}): {what}."
        else:
            message = f"{what}."
        entries.append({"path": name, "code": str(fault["type"]), "message": message})
    return ConfigurationError(" ".join(str(e["message"]) for e in entries), errors=entries)
