"""``posthouse restore``: a store from an archive."""

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
def restore(
    out: Output,
    archive: Annotated[Path, typer.Argument(help="Folder that 'posthouse backup' made.")],
    data: StoreData = DATA_DEFAULT,
    database: StoreDatabase = None,
) -> Exit:
    """Make the store of an archive where there is none, and check it down to the books.

    What was delivered after the archive was made is delivered again; what was accepted after it is not there.
    """
    from posthouse.core.time_format import rfc3339  # noqa: PLC0415 - help must not wait for it
    from posthouse.store.upkeep import restore as restore_store  # noqa: PLC0415
    from posthouse.system import SystemClock  # noqa: PLC0415

    with copy_progress(quiet=out.as_json) as tell:
        manifest = asyncio.run(restore_store(archive, database or data, clock=SystemClock(), tell=tell))
    document = {
        "archive": str(archive.absolute()),
        "engine": manifest.engine,
        "made_at": rfc3339(manifest.made_at),
        "rows": sum(manifest.rows.values()),
    }
    return show(out, document, manifest.tally, "The store is whole; a node may be started on it.")
