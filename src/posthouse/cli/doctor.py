"""``posthouse doctor``: check this machine and the node, and say what to do."""

import os
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.serve import Database
from posthouse.cli.session import Session, node_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)

_MARKS = {"ok": "ok      ", "warning": "warning ", "wrong": "WRONG   ", "skipped": "skipped "}


@app.command()
@node_command
def doctor(
    session: Session,
    config: Annotated[Path | None, typer.Option("--config", help="TOML file with settings, as for serve.")] = None,
    database: Database = None,
    local: Annotated[bool, typer.Option("--local", help="Check this machine only, not the node.")] = False,
) -> Exit:
    """Check this machine and the node. Ends with exit code 1 if something is wrong."""
    from posthouse.cli.findings import Verdict  # noqa: PLC0415 - help must not wait for it
    from posthouse.cli.machine import check_machine  # noqa: PLC0415
    from posthouse.cli.node_checks import check_node  # noqa: PLC0415

    found = check_machine(session.data, config, os.environ, database=database)
    if not local:
        found += check_node(session.url, session.api_key)
    wrong = sum(finding.verdict is Verdict.WRONG for finding in found)
    warnings = sum(finding.verdict is Verdict.WARNING for finding in found)
    out = session.out
    if out.as_json:
        out.document({"healthy": not wrong, "findings": [finding._asdict() for finding in found]})
        return Exit.FAILED if wrong else Exit.OK
    width = max(len(finding.name) for finding in found)
    for finding in found:
        out.line(f"{_MARKS[finding.verdict]}{finding.name:<{width}}  {finding.message}")
        if finding.advice:
            out.line(f"{'':<{width + 8}}  → {finding.advice}")
    out.line()
    out.line(f"{wrong} wrong, {warnings} warnings." if wrong or warnings else "All is well.")
    return Exit.FAILED if wrong else Exit.OK
