"""``posthouse demo``: watch a node lose its process and not one event."""

import contextlib
import shutil
import sys
import tempfile
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.output import Output
from posthouse.cli.session import local_command

if TYPE_CHECKING:
    from posthouse.demo.board import Reckoning
    from posthouse.demo.story import Plan, Story

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
@local_command
def demo(
    out: Output,
    *,
    once: Annotated[bool, typer.Option("--once", help="End after the reckoning: 0 if the promise was kept.")] = False,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="How often to publish all payloads.")] = 4,
    rate: Annotated[float, typer.Option(min=1, max=1_000, help="Events to publish in a second.")] = 40.0,
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the node; 0 takes a free one.")] = 0,
    data: Annotated[
        Path | None, typer.Option(help="New directory for the node, kept at the end.  [default: a temporary one]")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the chance by which the flaky receiver fails.")] = 1,
) -> Exit:
    """Watch a node lose its process and not one event.

    Starts a node and three receivers (one good, one that fails 30 % of the time, one that hangs and then
    recovers), publishes real GitHub payloads, kills the node with SIGKILL in the middle, starts it again,
    and shows how the books balance. Then everything stays up to be looked at, until Ctrl-C.
    """
    _need_standardwebhooks()
    from posthouse.demo.node_process import NodeFailed, end_on_signals  # noqa: PLC0415 - help must not wait for it
    from posthouse.demo.processes import DemoFailed  # noqa: PLC0415
    from posthouse.demo.story import Plan  # noqa: PLC0415

    end_on_signals()
    with contextlib.ExitStack() as stack:
        directory = _directory(stack, data)
        plan = Plan(data=directory, port=port, rounds=rounds, rate=rate, seed=seed)
        try:
            return _play(out, plan, once=once)
        except (DemoFailed, NodeFailed) as error:
            raise Failure(Exit.FAILED, "demo_failed", str(error)) from error
        except KeyboardInterrupt:
            out.note("Ended; the node and the receivers are gone.")
            return Exit.INTERRUPTED


def _play(out: Output, plan: "Plan", *, once: bool) -> Exit:
    from posthouse.cli.demo_view import open_view, reckoning_lines  # noqa: PLC0415 - help must not wait for it
    from posthouse.demo.story import Story  # noqa: PLC0415

    with contextlib.ExitStack() as stack:
        view = stack.enter_context(open_view(quiet=out.as_json))
        story = stack.enter_context(Story(plan, view.show))
        reckoning = story.play()
        view.close()
        if out.as_json:
            out.document(_document(story, reckoning))
        else:
            out.line("\n".join(reckoning_lines(reckoning)))
        if not once:
            if not out.as_json:
                out.line("\n".join(_invitation(story)))
            sys.stdout.flush()
            with contextlib.suppress(KeyboardInterrupt):
                threading.Event().wait()
            out.note("\nEnding the node and the receivers …")
        return Exit.OK if reckoning.holds else Exit.FAILED


def _need_standardwebhooks() -> None:
    try:
        import standardwebhooks  # noqa: F401, PLC0415 - only whether it is there
    except ImportError as error:
        raise Failure(
            Exit.FAILED,
            "package_missing",
            "The demo's receivers verify with the package standardwebhooks, which is not installed.",
            hint="pip install 'posthouse[demo]'",
        ) from error


def _directory(stack: contextlib.ExitStack, wanted: Path | None) -> Path:
    """A new directory; a temporary one is removed at the end with all that lies beside the data."""
    if wanted is not None:
        if wanted.exists() and (not wanted.is_dir() or any(wanted.iterdir())):
            raise Failure(Exit.USAGE, "usage", f"{wanted} is not empty.", hint="Name a directory that does not exist.")
        return wanted
    parent = Path(tempfile.mkdtemp(prefix="posthouse-demo-"))
    stack.callback(shutil.rmtree, parent, ignore_errors=True)
    return parent / "data"


def _document(story: "Story", reckoning: "Reckoning") -> dict[str, Any]:
    import msgspec  # noqa: PLC0415 - help must not wait for it

    board = story.board
    return {
        "holds": reckoning.holds,
        **msgspec.to_builtins(reckoning),
        "seconds": round(board.now_s, 1),
        "unanswered": board.unanswered,
        "moments": [moment._asdict() for moment in board.moments],
        "url": story.node.url,
        "endpoints": [
            {"id": row.endpoint, "name": row.name, "books": dict(row.books), "receiver": msgspec.to_builtins(row.tally)}
            for row in board.rows
        ],
    }


def _invitation(story: "Story") -> list[str]:
    """Where everything is, and what to try."""
    data, url = story.node.data, story.node.url
    return [
        "",
        f"The node still runs at {url}.",
        f"  its API key        {data}/api_key",
        f"  its log            {story.node.log}",
        *(f"  receiver {name:<8}  {target}" for name, target in story.receivers.urls.items()),
        "Try:",
        f"  posthouse deliveries list --data {data}",
        f'  curl -s {url}/v1/events -H "Authorization: Bearer $(cat {data}/api_key)" \\',
        '    -H \'Content-Type: application/json\' -d \'{"type": "hello.world", "data": {"from": "you"}}\'',
        "Ctrl-C ends the node and the receivers.",
    ]
