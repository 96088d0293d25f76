"""``posthouse backup``: an archive of a store, while its nodes run."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.output import Output
from posthouse.cli.places import StoreData, StoreDatabase, show
from posthouse.cli.progress import copy_progress
from posthouse.cli.session import DATA_DEFAULT, local_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@local_command
def backup(
    out: Output,
    archive: Annotated[Path, typer.Argument(help="Folder to make; it is there only when it is whole.")],
    data: StoreData = DATA_DEFAULT,
    database: StoreDatabase = None,
) -> Exit:
    """Archive a store as it is at one instant, and check the archive. Nodes may run meanwhile.

    Everything that was acknowledged before the command began is in it. Secrets of endpoints are in it too: keep it as
    safe as the store.
    """
    from posthouse.core.time_format import rfc3339  # noqa: PLC0415 - help must not wait for it
    from posthouse.store.upkeep import back_up  # noqa: PLC0415
    from posthouse.system import SystemClock  # noqa: PLC0415

    with copy_progress(quiet=out.as_json) as tell:
        manifest = asyncio.run(back_up(database or data, archive, clock=SystemClock(), tell=tell))
    document = {
        "archive": str(archive.absolute()),
        "engine": manifest.engine,
        "schema_version": manifest.schema_version,
        "made_at": rfc3339(manifest.made_at),
        "bytes": sum(file.bytes for file in manifest.files),
        "rows": sum(manifest.rows.values()),
    }
    return show(out, document, manifest.tally, "The archive is whole.")
