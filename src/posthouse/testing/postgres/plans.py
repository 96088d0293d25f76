"""What a statement costs by its plan, counted in what it touches: a machine that is busy changes nothing."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import asyncpg

from posthouse.store.postgres.statements import SQL


class Touched(NamedTuple):
    """What a statement touched."""

    rows: int  #: that all steps of its plan gave or left out
    blocks: int  #: that were asked for, each as often as it was


async def touched(
    connection: "asyncpg.Connection[asyncpg.Record]",
    name: str,
    given: Sequence[object],
    settings: Mapping[str, str],
) -> Touched:
    """What a named statement touches under a lane's settings. What it writes is taken back."""
    transaction = connection.transaction()
    await transaction.start()
    try:
        for setting, value in settings.items():
            await connection.execute(f"SET LOCAL {setting} = {value}")
        await connection.execute(f"PREPARE asked AS {SQL[name]}")
        execute = f"EXECUTE asked({', '.join(map(_literal, given))})" if given else "EXECUTE asked"
        plan = json.loads(await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {execute}"))
        await connection.execute("DEALLOCATE asked")
    finally:
        await transaction.rollback()
    top = plan[0]["Plan"]
    return Touched(sum(map(_rows, _steps(top))), top["Shared Hit Blocks"] + top["Shared Read Blocks"])


def _steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for part in plan.get("Plans", ()):
        yield from _steps(part)


def _rows(step: dict[str, Any]) -> int:
    left_out = sum(count for key, count in step.items() if key.startswith("Rows Removed"))
    return int((step["Actual Rows"] + left_out) * step["Actual Loops"])


def _literal(value: object) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join("NULL" if v is None else json.dumps(str(v)) for v in value) + "}'"
    return f"'{value}'"
