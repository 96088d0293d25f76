"""``posthouse nodes``: who works together on the store."""

from collections.abc import Mapping
from typing import Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.session import Session, node_command

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@node_command
def nodes(session: Session) -> Exit:
    """List the nodes that work on the store: what each is for, whether it lives, and how many slots it owns."""
    with session.client() as client:
        found = client.get("/v1/nodes")
    out = session.out
    if out.as_json:
        out.document(found)
        return Exit.OK
    out.table(
        ("node", "role", "slots", "state", "last beat", "version", "host", "process", "url"),
        (
            (
                f"{node['name']}{' *' if node['is_this'] else ''}",
                node["role"],
                node["slots"],
                node["state"],
                _age(node),
                node["version"],
                node["host"],
                node["process_id"],
                node["url"] or "",
            )
            for node in found["data"]
        ),
    )
    if any(node["state"] == "dead" for node in found["data"]):
        out.note("hint: Nothing was heard of a dead node for 10 s; the others take its slots by themselves.")
    return Exit.OK


def _age(node: Mapping[str, Any]) -> str:
    seconds = node["last_beat_seconds"]
    return "" if seconds is None else f"{seconds:.1f} s ago"
