"""What a load takes: nodes, PostgreSQLs, cores, disk, write-ahead log, memory, network.

What an event costs: the newest ``*-postgres-full``, ``*-footprint`` and ``*-endpoints`` in ``bench/results`` say it.
What nobody measured is an assumption, and can be given. Prints the table of docs/scale.md.

Run: ``python bench/capacity.py [--events 100000] [--endpoints 1000000] [--shards 16] [--data 450] ...``
"""

import argparse
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

RESULTS = Path(__file__).resolve().parent / "results"
DAY = 86_400
MB, GB, TB = 1e6, 1e9, 1e12
CONNECTIONS = 10  #: of a node to its database
BEATS = 3 / 2  #: transactions of a node a second: every two seconds a beat, a renewal, a look at the slots
SHORT, LONG = 450, 2_048  #: the sizes of data that were measured


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be done, and what is assumed."""

    events: float
    endpoints: int
    tenants: int
    shards: int
    data: float
    fan_out: float
    attempts: float
    answer: float
    busy: float
    tls: float
    sync: float
    page_images: float
    header: float
    socket: float
    retention: float
    copies: int


class Costs(msgspec.Struct, frozen=True):
    """What was measured. CPU in microseconds, the rest in bytes.

    Attributes:
        node_cpu: of a node for an event with one delivery, published one by one.
        node_cpu_batch: the same, published in batches of 100.
        statement_cpu: of the server for a pair of statements, one that accepts and one that settles.
        event_cpu: of the server for an event with one delivery, on top of that.
        delivery_cpu: of the server for each further delivery.
        event_wal: an event, without deliveries; its data are in ``data_wal``.
        data_wal: for each byte of data.
        delivery_wal: a delivery: obligation, attempt, history.
        failed_wal: one more attempt, which failed.
        identity_wal: where the publisher gives an id.
        thin_wal: the row that says in which period an endpoint has deliveries.
        event_disk: row and index, with data of :data:`SHORT` bytes.
        data_disk: for each byte of data.
        identity_disk: where the publisher gives an id.
        attempt_disk: row and index.
        history_disk: row and index.
        thin_disk: as ``thin_wal``.
        open_disk: a delivery that is open.
        endpoint_memory: of a node for an endpoint that it knows: catalogue and routes.
        desk_memory: of a node for an endpoint that has work.
    """

    node_cpu: float
    node_cpu_batch: float
    statement_cpu: float
    event_cpu: float
    delivery_cpu: float
    event_wal: float
    data_wal: float
    delivery_wal: float
    failed_wal: float
    identity_wal: float
    thin_wal: float
    event_disk: float
    data_disk: float
    identity_disk: float
    attempt_disk: float
    history_disk: float
    thin_disk: float
    open_disk: float
    endpoint_memory: float
    desk_memory: float


def newest(kind: str) -> dict[str, Any]:
    """The newest document of a kind."""
    document: dict[str, Any] = msgspec.json.decode(max(RESULTS.glob(f"*-{kind}.json")).read_bytes())
    return document


def measured() -> Costs:
    """From the documents to what one of each costs."""
    node = {one["scenario"]: one["node"]["cpu_us_per_event"] for one in newest("postgres-full")["scenarios"]}
    footprint, endpoints = newest("footprint"), newest("endpoints")["steps"]
    cost: Mapping[str, Sequence[Mapping[str, float]]] = footprint["costs"]
    rows: Mapping[str, Mapping[str, Mapping[str, float]]] = footprint["rows"]
    fixed, each = _line([(1 / one["batch"], one["server_cpu_us"]) for one in cost["delivered"]])
    [plain] = [one for one in cost["delivered"] if one["batch"] == cost["to_four"][0]["batch"]]
    [four], [long], [thin], [failed] = (cost[name] for name in ("to_four", "delivered_2k", "thin", "failed"))
    [named] = cost["delivered_with_id"]

    def disk(case: str, table: str) -> float:
        return rows[case]["heap"].get(table, 0.0) + rows[case]["indexes"].get(table, 0.0)

    delivery_wal = (four["wal_bytes"] - plain["wal_bytes"]) / 3
    data_wal = (long["wal_bytes"] - plain["wal_bytes"]) / (LONG - SHORT)
    return Costs(
        node_cpu=node["single"],
        node_cpu_batch=node["batch"],
        statement_cpu=fixed,
        event_cpu=each,
        delivery_cpu=(four["server_cpu_us"] - plain["server_cpu_us"]) / 3,
        event_wal=plain["wal_bytes"] - delivery_wal - data_wal * SHORT,
        data_wal=data_wal,
        delivery_wal=delivery_wal,
        failed_wal=failed["wal_bytes"],
        identity_wal=named["wal_bytes"] - plain["wal_bytes"],
        thin_wal=thin["wal_bytes"] - plain["wal_bytes"],
        event_disk=disk("delivered", "events"),
        data_disk=(disk("delivered_2k", "events") - disk("delivered", "events")) / (LONG - SHORT),
        identity_disk=disk("delivered_with_id", "identities"),
        attempt_disk=disk("delivered", "attempts"),
        history_disk=disk("delivered", "history"),
        thin_disk=disk("thin", "endpoint_periods"),
        open_disk=disk("delivered", "obligations"),
        endpoint_memory=endpoints["catalogue"]["bytes"] + endpoints["routes"]["bytes"],
        desk_memory=endpoints["desks"]["bytes"],
    )


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """Slope and height of the line through the first and the last point."""
    (x0, y0), (x1, y1) = points[0], points[-1]
    slope = (y0 - y1) / (x0 - x1)
    return slope, y1 - slope * x1


Cells = tuple[str, str, str, str]


def compute(load: Load, cost: Costs) -> list[Cells]:
    """Rows of the table: what, for all, for one shard, how it comes about."""
    attempts = load.events * load.fan_out * load.attempts
    asked = [
        _row(load, "events a second", load.events, "{:,.0f}", "asked"),
        _row(load, "attempts a second", attempts, "{:,.0f}", f"x {load.fan_out}, x {load.attempts}"),
        _row(load, "endpoints", load.endpoints, "{:,.0f}", "asked"),
        _row(load, "tenants", load.tenants, "{:,.0f}", "asked"),
    ]
    single, batched = (_node_cores(load, cpu) for cpu in (cost.node_cpu, cost.node_cpu_batch))
    nodes = math.ceil(single / load.busy / load.shards) * load.shards
    how = f"µs x {load.fan_out * load.attempts:.2f} + TLS"
    cores = [
        _row(load, "cores of nodes, published one by one", single, "{:,.1f}", f"{cost.node_cpu:.0f} {how}"),
        _row(load, "… published in batches of 100", batched, "{:,.1f}", f"{cost.node_cpu_batch:.0f} {how}"),
        _row(load, "nodes (processes), at most busy", nodes, "{:,.0f}", f"a core each, {load.busy:.0%}, one by one"),
    ]
    return [*asked, *cores, *_server(load, cost, nodes), *_kept(load, cost), *_network(load, cost, nodes)]


def _row(load: Load, name: str, value: float, form: str, how: str) -> Cells:
    return name, form.format(value), form.format(value / load.shards), how


def _node_cores(load: Load, cpu: float) -> float:
    """On the safe side: what accepting costs is counted for each attempt again."""
    return load.events * load.fan_out * load.attempts * (cpu + load.tls) / 1e6


def _server(load: Load, cost: Costs, nodes: int) -> list[Cells]:
    """What the databases do."""
    deliveries, pairs = load.events * load.fan_out, nodes / load.sync
    further = deliveries * load.attempts - load.events
    cores = (pairs * cost.statement_cpu + load.events * cost.event_cpu + further * cost.delivery_cpu) / 1e6
    wal = load.events * (cost.event_wal + load.data * cost.data_wal + cost.identity_wal)
    wal += deliveries * (cost.delivery_wal + cost.thin_wal + (load.attempts - 1) * cost.failed_wal)
    wal *= load.page_images
    how = f"{cost.statement_cpu:.0f} µs a pair + {cost.event_cpu:.0f} µs an event"
    beats = nodes * BEATS
    return [
        _row(
            load, "statement pairs a second", pairs, "{:,.0f}", f"one in {load.sync * 1e3:.0f} ms a node, at the most"
        ),
        _row(load, "cores of PostgreSQL", cores, "{:,.1f}", how),
        _row(load, "WAL, MB/s", wal / MB, "{:,.0f}", f"x {load.page_images} for images of pages"),
        _row(load, "to each standby, Mbit/s", wal * 8 / MB, "{:,.0f}", "the WAL"),
        _row(load, "connections to PostgreSQL", nodes * CONNECTIONS, "{:,.0f}", f"{CONNECTIONS} a node"),
        _row(load, "beats and renewals, transactions/s", beats, "{:,.1f}", "three in two seconds a node"),
    ]


def _kept(load: Load, cost: Costs) -> list[Cells]:
    """What stays on disk."""
    deliveries = load.events * load.fan_out
    disk = load.events * (cost.event_disk + (load.data - SHORT) * cost.data_disk + cost.identity_disk)
    disk += deliveries * (load.attempts * cost.attempt_disk + cost.history_disk + cost.thin_disk)
    everywhere = disk * DAY * load.retention * load.copies / TB
    name = f"disk for {load.retention:.0f} days on {load.copies} machines, TB"
    return [
        _row(load, "rows kept, MB/s", disk / MB, "{:,.0f}", "tables and indexes"),
        _row(load, "rows kept, TB a day", disk * DAY / TB, "{:,.2f}", "the same"),
        _row(load, name, everywhere, "{:,.1f}", "the same"),
    ]


def _network(load: Load, cost: Costs, nodes: int) -> list[Cells]:
    """What is on its way, and what nodes keep in memory."""
    attempts = load.events * load.fan_out * load.attempts
    in_flight = attempts * load.answer
    egress = attempts * (load.data + load.header)
    known = load.endpoints / load.shards * cost.endpoint_memory
    working = load.endpoints / nodes * cost.desk_memory
    per_known = f"{cost.endpoint_memory:.0f} bytes x endpoints of its shard"
    per_working = f"{cost.desk_memory:.0f} bytes x its own endpoints"
    return [
        _row(load, "requests on their way", in_flight, "{:,.0f}", f"answers take {load.answer * 1e3:.0f} ms"),
        ("… on one node", f"{in_flight / nodes:,.0f}", "", "`in_flight_max`"),
        _row(load, "memory for them, GB", in_flight * load.socket / GB, "{:,.2f}", f"{load.socket / 1e3:.0f} KB each"),
        _row(load, "out to endpoints, Gbit/s", egress * 8 / GB, "{:,.2f}", f"data, {load.header:.0f} bytes of head"),
        ("memory of one node for what it knows, MB", f"{known / MB:,.0f}", "", per_known),
        ("… for endpoints with work, at most, MB", f"{working / MB:,.0f}", "", per_working),
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default, help_text in (
        ("events", 100_000.0, "events a second"),
        ("data", 450.0, "bytes of data an event"),
        ("fan-out", 1.2, "deliveries an event"),
        ("attempts", 1.1, "attempts a delivery"),
        ("answer", 0.3, "seconds until an endpoint answers"),
        ("busy", 0.6, "part of its core that a node uses"),
        ("tls", 60.0, "CPU microseconds of TLS an attempt: most connections are kept or resumed"),
        ("sync", 0.005, "seconds from one statement of a node to the next of its kind, under load"),
        ("page-images", 1.3, "WAL with images of whole pages after checkpoints, by WAL without"),
        ("header", 500.0, "bytes of a request beside its data"),
        ("socket", 60_000.0, "bytes of memory a request on its way"),
        ("retention", 3.0, "days that rows are kept"),
    ):
        parser.add_argument(f"--{name}", type=float, default=default, help=f"{help_text} (default: {default:g})")
    for name, whole, help_text in (
        ("endpoints", 1_000_000, "endpoints"),
        ("tenants", 10_000, "tenants"),
        ("shards", 16, "PostgreSQLs, each with whole tenants"),
        ("copies", 3, "machines that have a shard's data"),
    ):
        parser.add_argument(f"--{name}", type=int, default=whole, help=f"{help_text} (default: {whole})")
    return parser


def main() -> None:
    """Print the table."""
    load, cost = Load(**vars(_parser().parse_args())), measured()
    print(f"| | all | each of {load.shards} | from |\n| --- | --- | --- | --- |")
    for cells in compute(load, cost):
        print(f"| {' | '.join(cells)} |")
    print()
    for name, value in msgspec.structs.asdict(cost).items():
        print(f"{name:16} {value:10.2f}")


if __name__ == "__main__":
    main()
