"""``posthouse serve``: a node in the foreground."""

import os
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.session import ending

app = typer.Typer(add_completion=False, rich_markup_mode=None)

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="TOML file with settings.  [default: DATA/posthouse.toml, if it is there]"),
]
Database = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="Address (postgresql://…) of a database that holds the store; by default it is embedded.",
    ),
]
InFlightPerEndpoint = Annotated[
    int | None, typer.Option(help="Requests on their way to one endpoint at once, at most.")
]
InFlightPerTenant = Annotated[
    int | None,
    typer.Option(help="Requests on their way to all endpoints of one tenant at once, at most; 0: no cap of its own."),
]
FreshSeconds = Annotated[
    int | None,
    typer.Option(help="Seconds after which an event is no longer fresh: an older one starts in the backlog lane."),
]
RetentionDays = Annotated[
    int | None,
    typer.Option(help="Days that settled events and read requests are kept; 0: for ever. What is owed stays."),
]
PublicUrl = Annotated[
    str | None,
    typer.Option(
        metavar="URL",
        help="URL by which senders reach this node, without a path; by default as each request names it.",
    ),
]
CaFile = Annotated[
    Path | None, typer.Option(help="PEM file of certificate authorities to trust besides the system's own.")
]
AllowNetworks = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-network",
        metavar="CIDR",
        help="Networks (CIDR) that endpoints may lead to although they are not public.",
    ),
]
Role = Annotated[
    str | None,
    typer.Option(
        metavar="ROLE", help="What the node does: edge accepts and answers the API, engine delivers, all does both."
    ),
]
Processes = Annotated[
    int | None,
    typer.Option(
        metavar="N", help="Processes that share the work and the port on this machine; each is a node of its own."
    ),
]
ProcessPort = Annotated[
    int | None,
    typer.Option(
        metavar="PORT",
        help="With several processes, a TCP port of the first one alone, then of the next; 0: of none.",
    ),
]
LogFormat = Annotated[
    str | None,
    typer.Option(metavar="FORMAT", help="Form of log lines; auto is pretty on a terminal and JSON elsewhere."),
]
Outbox = Annotated[
    str | None,
    typer.Option(metavar="DSN", help="Address (postgresql://…) of another database whose outbox is drained; secret."),
]


@app.command()
def serve(
    *,
    config: ConfigFile = None,
    data: Annotated[Path | None, typer.Option(help="Directory of the embedded store and the first API key.")] = None,
    database: Database = None,
    outbox: Outbox = None,
    role: Role = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="TCP port to listen on; 0 takes a free one.")] = None,
    processes: Processes = None,
    process_port: ProcessPort = None,
    allow_networks: AllowNetworks = None,
    commit_interval_ms: Annotated[
        int | None, typer.Option(help="Milliseconds that one commit gathers requests for, at most.")
    ] = None,
    in_flight_max: Annotated[
        int | None, typer.Option(help="Requests that the node has on their way at once, at most.")
    ] = None,
    in_flight_per_endpoint: InFlightPerEndpoint = None,
    in_flight_per_tenant: InFlightPerTenant = None,
    fresh_seconds: FreshSeconds = None,
    retention_days: RetentionDays = None,
    public_url: PublicUrl = None,
    drain_seconds: Annotated[
        float | None, typer.Option(help="Seconds that a stopping node waits for the answers to requests on their way.")
    ] = None,
    ca_file: CaFile = None,
    log_level: Annotated[str | None, typer.Option(metavar="LEVEL", help="Least level that is logged.")] = None,
    log_format: LogFormat = None,
    json_: Annotated[bool, typer.Option("--json", help="Log JSON lines; errors of the start as one document.")] = False,
) -> None:
    """Run a node on this machine until it is stopped: once gently (Ctrl-C), twice at once.

    On a new store it makes an API key and writes it to DATA/api_key. Every setting can also be given in the
    file or as a variable; 'posthouse config' lists them all. The address of a database has a password in it:
    give it as POSTHOUSE_DATABASE or in a file, where no other user sees it.
    """
    flags: dict[str, object] = {
        "data": data,
        "database": database,
        "outbox": outbox,
        "role": role,
        "host": host,
        "port": port,
        "processes": processes,
        "process_port": process_port,
        "allow_networks": allow_networks,
        "commit_interval_ms": commit_interval_ms,
        "in_flight_max": in_flight_max,
        "in_flight_per_endpoint": in_flight_per_endpoint,
        "in_flight_per_tenant": in_flight_per_tenant,
        "fresh_seconds": fresh_seconds,
        "retention_days": retention_days,
        "public_url": public_url,
        "drain_seconds": drain_seconds,
        "ca_file": ca_file,
        "log_level": log_level,
        "log_format": "json" if json_ else log_format,
    }
    with ending(as_json=json_):
        from posthouse.app import run  # noqa: PLC0415 - the whole node, which only this command needs
        from posthouse.config import load_config  # noqa: PLC0415

        code = run(load_config(flags, environ=os.environ, config_file=config))
        raise typer.Exit(code or Exit.OK)
