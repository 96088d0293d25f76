"""How a command reaches its node: the options that all of them share, and how their errors end them."""

import functools
import inspect
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Concatenate, Final, ParamSpec

import typer

from posthouse.cli.exits import Exit, exit_of
from posthouse.cli.failure import Failure, show_failure
from posthouse.cli.output import Output

if TYPE_CHECKING:
    from posthouse.sdk.client import Client

P = ParamSpec("P")

URL_DEFAULT: Final = "http://127.0.0.1:8400"
DATA_DEFAULT: Final = Path("posthouse-data")
NODE_FILE: Final = "node.json"  #: written by a node into its data directory: where it listens
KEY_FILE: Final = "api_key"

Url = Annotated[
    str | None,
    typer.Option(
        "--url",
        envvar="POSTHOUSE_URL",
        help=f"Address of the node.  [default: the one in DATA/{NODE_FILE}, else {URL_DEFAULT}]",
        show_default=False,
    ),
]
ApiKey = Annotated[
    str | None,
    typer.Option(
        "--api-key",
        envvar="POSTHOUSE_API_KEY",
        help=f"API key.  [default: the one in DATA/{KEY_FILE}]",
        show_default=False,
    ),
]
Data = Annotated[
    Path, typer.Option("--data", envvar="POSTHOUSE_DATA", help="Data directory of a node on this machine.")
]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON document; errors as one on stderr.")]


class Session:
    """What a command that speaks to a node works with."""

    def __init__(self, url: str, api_key: str | None, data: Path, out: Output) -> None:
        self.url = url
        self.api_key = api_key
        self.data = data
        self.out = out

    @contextmanager
    def client(self, *, tries: int = 1, timeout_s: float = 30.0) -> Iterator["Client"]:
        """A client of the node; what it raises ends the command with the right exit code."""
        from posthouse.sdk.client import Problem, Unreachable  # noqa: PLC0415 - help must not wait for it

        try:
            with open_client(self.url, self.api_key, tries=tries, timeout_s=timeout_s) as client:
                yield client
        except Problem as problem:
            raise refused(problem) from problem
        except Unreachable as error:
            raise Failure(
                Exit.UNREACHABLE,
                "node_unreachable",
                str(error),
                hint="Start one with 'posthouse serve', or name its address with --url or POSTHOUSE_URL.",
            ) from error


def open_client(url: str, api_key: str | None, *, tries: int, timeout_s: float) -> "Client":
    """A client of the node at ``url``. Raises Failure if that is no URL."""
    from posthouse.sdk.client import Client  # noqa: PLC0415 - help must not wait for it

    try:
        return Client(url, api_key, tries=tries, timeout_s=timeout_s)
    except ValueError as error:
        raise Failure(Exit.USAGE, "usage", str(error), hint="An address looks like http://127.0.0.1:8400.") from error


def refused(problem: Any) -> Failure:
    """The failure that a node's refusal (``sdk.client.Problem``) is."""
    return Failure(
        exit_of(problem.status),
        problem.code,
        problem.detail,
        hint=problem.hint,
        errors=problem.errors,
        document=problem.document,
    )


def node_command(run: Callable[Concatenate[Session, P], Exit | None]) -> Callable[..., None]:
    """Make a command of ``run``: it gains --url, --api-key, --data and --json, and gets a session of them."""

    @functools.wraps(run)
    def command(
        *args: Any, node_url: str | None, node_key: str | None, node_data: Path, json_: bool, **options: Any
    ) -> None:
        with ending(as_json=json_):
            url, api_key = locate(node_url, node_key, node_data)
            code = run(Session(url, api_key, node_data, Output(as_json=json_)), *args, **options)
            raise typer.Exit(code or Exit.OK)

    extend_signature(command, run, drop=1, extra=_SHARED)
    return command


def local_command(run: Callable[Concatenate[Output, P], Exit | None]) -> Callable[..., None]:
    """Make a command of ``run`` that speaks to no node: it gains --json and gets an output."""

    @functools.wraps(run)
    def command(*args: Any, json_: bool, **options: Any) -> None:
        with ending(as_json=json_):
            raise typer.Exit(run(Output(as_json=json_), *args, **options) or Exit.OK)

    extend_signature(command, run, drop=1, extra={"json_": _SHARED["json_"]})
    return command


_SHARED: Final[Mapping[str, tuple[Any, Any]]] = {
    "node_url": (Url, None),
    "node_key": (ApiKey, None),
    "node_data": (Data, DATA_DEFAULT),
    "json_": (Json, False),
}


def extend_signature(
    command: Callable[..., object],
    run: Callable[..., object],
    *,
    drop: int,
    extra: Mapping[str, tuple[Any, Any]],
    without: str | None = None,
) -> None:
    """Give ``command`` the parameters of ``run`` without its first ``drop`` and one, and ``extra`` ones for typer."""
    own = [p for p in list(inspect.signature(run).parameters.values())[drop:] if p.name != without]
    more = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation, default=default)
        for name, (annotation, default) in extra.items()
    ]
    command.__signature__ = inspect.Signature([*own, *more])  # type: ignore[attr-defined]  # read by inspect.signature
    command.__annotations__ = {p.name: p.annotation for p in [*own, *more]}


@contextmanager
def ending(*, as_json: bool) -> Iterator[None]:
    """Turns whatever a command raises for people into its message on stderr and its exit code."""
    from posthouse.core.errors import PosthouseError  # noqa: PLC0415 - kept off the path of help

    try:
        yield
    except Failure as failure:
        raise typer.Exit(show_failure(failure, as_json=as_json)) from failure
    except PosthouseError as error:
        local = Failure(exit_of(error.status), error.code, error.message, hint=error.advice, errors=error.errors)
        raise typer.Exit(show_failure(local, as_json=as_json)) from error


def locate(url: str | None, api_key: str | None, data: Path) -> tuple[str, str | None]:
    """The node's address and the key to use, from the options or else from the files of its data directory."""
    return url or _address_in(data) or URL_DEFAULT, api_key or _key_in(data)


def _address_in(data: Path) -> str | None:
    try:
        found = json.loads((data / NODE_FILE).read_bytes())["url"]
    except (OSError, ValueError, KeyError, TypeError):
        return None  # no node has run here, or one is just writing the file
    return str(found)


def _key_in(data: Path) -> str | None:
    path = data / KEY_FILE
    try:
        return path.read_text(encoding="ascii").strip() or None
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise Failure(
            Exit.UNAUTHORIZED,
            "api_key_unreadable",
            f"{path} cannot be read: {os.strerror(error.errno or 0)}.",
            hint="Run as the user of the node, or give a key with --api-key or POSTHOUSE_API_KEY.",
        ) from error
