"""The command line's door: the table of verbs, and how a call of one ends.

A verb's module is imported only when that verb is called, so that help and completion stay fast.
"""

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import Any, Final

import typer
from typer.core import TyperGroup
from typer.main import get_command as command_of

from posthouse.cli.exits import Exit
from posthouse.cli.failure import Failure, show_failure

#: Verb → what it does, in the order in which a newcomer meets them.
VERBS: Final = {
    "serve": "Run a node on this machine.",
    "demo": "Watch a node lose its process and not one event.",
    "drill": "Make an incident happen on purpose, and measure what the node does about it.",
    "simulate": "Send what a real sender would send, as it would, and see what it would lose.",
    "publish": "Publish one event, or a file of them.",
    "endpoints": "List, create, change, pause, test and delete endpoints.",
    "events": "List and show events.",
    "deliveries": "List deliveries, and show one with all its attempts.",
    "retry": "Attempt deliveries again now, whatever their state.",
    "cancel": "Discard open deliveries; a retry re-opens them.",
    "jobs": "Retry, replay or cancel any number of deliveries at once, and watch it.",
    "backlog": "Count deliveries that wait; park, drain or promote them.",
    "audit": "Recount the books: is every accepted event accounted for?",
    "filters": "Try a filter or a transformation on events that are there already.",
    "sources": "List, create, change, pause and delete sources: URLs that take other systems' webhooks.",
    "providers": "List the senders that Posthouse knows.",
    "requests": "List requests to sources, and show one byte for byte.",
    "quarantine": "List, show, release and discard what came in and is not passed on.",
    "reverify": "Check refused requests again, with the secrets that a source has now.",
    "incidents": "List what may be wrong with what comes in.",
    "outbox": "Print the tables of the outbox, and show what waits in it.",
    "nodes": "List the nodes that work on the store.",
    "tenants": "List, create and change tenants.",
    "keys": "List, create and revoke API keys.",
    "backup": "Archive a store while its nodes run.",
    "restore": "Make a store from an archive, where there is none.",
    "migrate": "Move a store to another engine or place, mostly while its nodes run.",
    "config": "List every setting of a node, its value and where that came from.",
    "doctor": "Check this machine and the node, and say what to do.",
}

_EPILOG: Final = (
    "Exit codes: 0 done, 1 failed, 2 wrong usage, 3 not found, 4 not authorised, 5 node unreachable, "
    "6 refused, 7 busy, 130 interrupted."
)


class Verbs(TyperGroup):
    """The top group: knows every verb's name and help, and loads its module when it is called."""

    def list_commands(self, ctx: Any) -> list[str]:  # noqa: ARG002 - the base class passes it
        """Every verb, in the order of the table."""
        return list(VERBS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:  # noqa: ARG002 - the base class passes it
        """The verb's command, made from the ``app`` of its module; None if there is no such verb."""
        if cmd_name not in VERBS:
            return None
        if cmd_name not in self.commands:
            command = command_of(import_module(f"posthouse.cli.{cmd_name}").app)
            command.name = cmd_name
            self.commands[cmd_name] = command
        return self.commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - the base class passes it
        """The list of verbs, from the table alone."""
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """The verb that ``args`` begin with, or a usage error that names the nearest one."""
        if args and args[0] not in VERBS and not args[0].startswith("-"):
            from difflib import get_close_matches  # noqa: PLC0415 - only a mistake needs it

            near = get_close_matches(args[0], VERBS, n=1)
            ctx.fail(f"No such command {args[0]!r}." + (f" Did you mean {near[0]!r}?" if near else ""))
        return super().resolve_command(ctx, args)


app = typer.Typer(
    cls=Verbs,
    name="posthouse",
    help="Posthouse: a webhook gateway that never loses an event that it acknowledged.",
    epilog=_EPILOG,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        from posthouse import __version__  # noqa: PLC0415 - reading package metadata takes a while

        print(f"posthouse {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: bool = typer.Option(False, "--version", callback=_print_version, is_eager=True, help="Show the version."),
) -> None:
    """Posthouse: a webhook gateway that never loses an event that it acknowledged."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command line (by default this process's own) and return its exit code."""
    args = list(sys.argv[1:] if arguments is None else arguments) or ["--help"]
    try:
        code = command_of(app).main(args, prog_name="posthouse", standalone_mode=False)
    except typer.TyperException as error:
        wrong = Failure(Exit.USAGE, "usage", error.format_message(), hint=_usage_hint(error))
        return show_failure(wrong, as_json="--json" in args)
    except typer.Abort:
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader of a pipe has seen enough; nothing may be written at exit either.
        sys.stdout = sys.stderr
        return Exit.OK
    return code if isinstance(code, int) else Exit.OK


def _usage_hint(error: typer.TyperException) -> str:
    context = getattr(error, "ctx", None)
    return f"Try '{context.command_path} --help'." if context is not None else "Try 'posthouse --help'."
