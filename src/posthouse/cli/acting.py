"""Doing one thing to each of several deliveries: one that fails does not keep the others from it."""

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from posthouse.cli.exits import Exit, exit_of
from posthouse.cli.session import Session

DeliveryIds = Annotated[list[str], typer.Argument(metavar="DELIVERY...", help="Ids of deliveries, dlv_….")]


def act_on_each(session: Session, ids: Sequence[str], verb: str) -> Exit:
    """POST ``verb`` to every delivery; the exit code of the first that was refused, if any was."""
    from posthouse.sdk.client import Problem, segment  # noqa: PLC0415 - help must not wait for it

    out = session.out
    code = Exit.OK
    results: list[dict[str, Any]] = []
    with session.client() as client:
        for delivery in ids:
            try:
                found = client.post(f"/v1/deliveries/{segment(delivery)}/{verb}")
            except Problem as problem:
                if problem.status in {401, 403} or len(ids) == 1:
                    raise
                code = code or exit_of(problem.status)
                results.append({"id": delivery, "problem": problem.document})
                out.note(f"{delivery}: {problem.detail}")
                continue
            results.append(found)
            if not out.as_json:
                out.line(f"{found['id']} is {found['status']}.")
    if out.as_json:
        out.document({"data": results})
    return code
