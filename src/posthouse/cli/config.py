"""``posthouse config``: every setting of a node, its value and where that came from."""

import os
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.output import Output
from posthouse.cli.serve import ConfigFile, Database
from posthouse.cli.session import local_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@local_command
def config(
    out: Output,
    data: Annotated[Path | None, typer.Option(help="Data directory whose file is read.")] = None,
    database: Database = None,
    config: ConfigFile = None,
) -> Exit:
    """List every setting as a node started here would get it: defaults, file and environment."""
    from posthouse.config import load_config, settings, shown  # noqa: PLC0415 - help must not wait for it

    found = load_config({"data": data, "database": database}, environ=os.environ, config_file=config)
    origins = found.origins
    if out.as_json:
        values = found.model_dump(mode="json")
        out.document(
            {
                "data": [
                    {
                        "name": setting.name,
                        "value": values[setting.name],
                        "origin": origins[setting.name],
                        "variable": setting.variable,
                        "flag": setting.flag,
                        "default": setting.default,
                        "help": setting.help,
                    }
                    for setting in settings()
                ]
            }
        )
        return Exit.OK
    out.table(
        ("setting", "value", "from", "variable", "what it is"),
        ((s.name, shown(getattr(found, s.name)), origins[s.name], s.variable, s.help) for s in settings()),
    )
    return Exit.OK
