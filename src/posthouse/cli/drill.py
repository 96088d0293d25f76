"""``posthouse drill``: make an incident happen on purpose, and measure what the node does about it."""

import os
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from posthouse.cli import session
from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure
from posthouse.cli.output import Output
from posthouse.cli.reading import usage
from posthouse.cli.session import DATA_DEFAULT, local_command, locate, refused

if TYPE_CHECKING:
    from posthouse.drills.drill import Drill
    from posthouse.drills.plan import Plan
    from posthouse.drills.report import Report

app = typer.Typer(add_completion=False, rich_markup_mode=None)

LIST: Final = "list"
LOOPBACK: Final = "127.0.0.1"
ANSWER_SECONDS_MAX: Final = 10.0


@app.command()
@local_command
def drill(
    out: Output,
    *,
    number: Annotated[str, typer.Argument(metavar="NUMBER|list", help="Which drill, such as D15; or list.")],
    scale: Annotated[float, typer.Option(min=0.001, max=10, help="Of the numbers in the drill's description.")] = 1.0,
    seed: Annotated[int, typer.Option(help="Of everything random: payloads, instants.")] = 1,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="FILE.svg", help="Where to draw the run.  [default: beside a --data that is kept]"),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(help="New directory for the drill's node, kept at the end; with --against, that node's own."),
    ] = None,
    against: Annotated[str | None, typer.Option(metavar="URL", help="Drill this node in place of a new one.")] = None,
    api_key: Annotated[
        str | None,
        typer.Option("--api-key", envvar="POSTHOUSE_API_KEY", help="API key for --against, with the scope admin."),
    ] = None,
    listen: Annotated[
        str, typer.Option(metavar="HOST", help="Address of this machine at which the node reaches the receivers.")
    ] = LOOPBACK,
) -> Exit:
    """Make an incident happen on purpose, and measure what the node does about it.

    Starts a node on a temporary store, loads it, breaks what the drill is about, and holds what arrived
    against what was promised. Ends with exit code 1 if a rule was broken.
    """
    from posthouse.demo.node_process import end_on_signals  # noqa: PLC0415 - help must not wait for it
    from posthouse.drills.index import DRILLS  # noqa: PLC0415
    from posthouse.drills.plan import Plan  # noqa: PLC0415

    if number == LIST:
        _list(out)
        return Exit.OK
    kind = DRILLS.get(number.upper())
    if kind is None:
        raise usage(f"There is no drill {number}. There are {', '.join(DRILLS)}.")
    if picture is not None and not _can_write(picture):
        raise usage(f"{picture} cannot be written.")
    if against is None:
        plan = Plan(scale=scale, seed=seed, data=_new(data), listen=listen)
        picture = picture or (None if data is None else data.with_name(f"{data.name}-{kind.number}.svg"))
    elif kind.needs_own_node is None:
        _, key = locate(against, api_key, data or DATA_DEFAULT)
        _check_node(against, key)
        plan = Plan(scale=scale, seed=seed, against=against, api_key=key, listen=listen)
    else:
        raise Failure(
            Exit.USAGE,
            "usage",
            f"{kind.number} needs a node of its own: {kind.needs_own_node}.",
            hint=f"Run 'posthouse drill {kind.number}' without --against.",
        )
    end_on_signals()
    try:
        return _play(out, kind(plan), picture)
    except KeyboardInterrupt:
        out.note("Ended; everything that the drill started is gone.")
        return Exit.INTERRUPTED


def _play(out: Output, drill: "Drill", picture: Path | None) -> Exit:
    from posthouse.cli.drill_view import course_lines, draw_picture, open_view, print_report  # noqa: PLC0415
    from posthouse.demo.node_process import NodeFailed  # noqa: PLC0415
    from posthouse.drills.index import play  # noqa: PLC0415
    from posthouse.drills.plan import DrillFailed  # noqa: PLC0415
    from posthouse.sdk.client import Problem, Unreachable  # noqa: PLC0415

    if not out.as_json:
        out.line("\n".join(course_lines(drill)))
    try:
        with open_view(quiet=out.as_json) as show:
            report = play(drill, show)
    except (DrillFailed, NodeFailed) as error:
        raise Failure(Exit.FAILED, "drill_failed", str(error)) from error
    except Problem as problem:
        raise refused(problem) from problem
    except Unreachable as error:
        raise Failure(Exit.UNREACHABLE, "node_unreachable", str(error)) from error
    replay = _replay(drill.plan, report)
    if picture is not None:
        picture.write_text(draw_picture(report, replay), encoding="utf-8")
    if out.as_json:
        out.document({**report.document(), "picture": None if picture is None else str(picture), "replay": replay})
    else:
        print_report(out, report, picture=picture, replay=replay)
    return Exit.OK if report.passed else Exit.FAILED


def _list(out: Output) -> None:
    """Every drill, and whether it can be run against a node that is not its own."""
    from posthouse.drills.index import DRILLS  # noqa: PLC0415 - help must not wait for it

    rows = [(drill.number, drill.title, drill.needs_own_node is None) for drill in DRILLS.values()]
    if out.as_json:
        out.document({"data": [{"drill": number, "title": title, "against": any_} for number, title, any_ in rows]})
    else:
        out.table(("drill", "what it shows", "--against"), rows)


def _new(data: Path | None) -> Path | None:
    """``data``, which must not hold anything yet."""
    if data is not None and data.exists() and (not data.is_dir() or any(data.iterdir())):
        raise Failure(Exit.USAGE, "usage", f"{data} is not empty.", hint="Name a directory that does not exist.")
    return data


def _can_write(path: Path) -> bool:
    """Whether a file can be made there: better known now than after the run."""
    return not path.is_dir() and path.parent.is_dir() and os.access(path if path.exists() else path.parent, os.W_OK)


def _check_node(url: str, api_key: str | None) -> None:
    """End the command unless the node answers and takes the key: better now than in the middle."""
    here = session.Session(url, api_key, DATA_DEFAULT, Output(as_json=False))
    with here.client(timeout_s=ANSWER_SECONDS_MAX) as client:
        client.get("/v1/endpoints", {"limit": 1})


def _replay(plan: "Plan", report: "Report") -> str:
    """The command line that runs the same again."""
    words = ["posthouse", "drill", report.number, "--scale", f"{plan.scale:g}", "--seed", str(plan.seed)]
    if plan.against is not None:
        words += ["--against", plan.against]
    if plan.listen != LOOPBACK:
        words += ["--listen", plan.listen]
    return shlex.join(words)
