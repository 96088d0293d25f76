"""The parts of docs/ that follow from the code: written anew by `make docs`, compared by the tidy tests.

A part stands between ``<!-- begin generated: NAME -->`` and ``<!-- end generated -->`` and is replaced
as a whole; everything around it is written by hand.
"""

import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from unittest.mock import MagicMock

from typer.main import get_command

from posthouse import config, telemetry
from posthouse.api.application import create_management
from posthouse.api.openapi import describe
from posthouse.cli import main as cli
from posthouse.core import errors
from posthouse.core.delivery import FINAL, TRANSITIONS, State
from posthouse.providers.index import PRESETS
from posthouse.providers.preset import Again

ROOT = Path(__file__).resolve().parent.parent
_PART: Final = re.compile(r"(<!-- begin generated: (?P<name>\w+) -->\n).*?(<!-- end generated -->)", re.DOTALL)


def main() -> int:
    """Write every file that has generated parts; 0."""
    for path in pages():
        text = path.read_text("utf-8")
        new = rendered(text)
        if new != text:
            path.write_text(new, encoding="utf-8")
            print(f"{path.relative_to(ROOT)} is up to date now")
    return 0


def pages() -> list[Path]:
    """Every page of the documentation."""
    return sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])


def parts(text: str) -> list[str]:
    """Names of the generated parts of a page."""
    return [match["name"] for match in _PART.finditer(text)]


def rendered(text: str) -> str:
    """``text`` with every generated part as the code has it now."""
    return _PART.sub(lambda match: f"{match[1]}\n{GENERATORS[match['name']]()}\n\n{match[3]}", text)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *(list(row) for row in rows)]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def states() -> str:
    """The state machine of a delivery as a diagram."""
    arrows: dict[tuple[State, State], list[str]] = {}
    for (source, signal), target in TRANSITIONS.items():
        arrows.setdefault((source, target), []).append(signal.value)
    lines = ["```mermaid", "stateDiagram-v2", f"    [*] --> {State.WAITING}: accept"]
    lines += [f"    {source} --> {target}: {', '.join(signals)}" for (source, target), signals in arrows.items()]
    lines += [f"    {state} --> [*]" for state in State if state in FINAL]
    return "\n".join([*lines, "```"])


def settings() -> str:
    """Every setting with its names, default and meaning."""
    return table(
        ("setting", "variable", "flag", "default", "meaning"),
        (
            (f"`{s.name}`", f"`{s.variable}`", f"`{s.flag}`", f"`{s.default}`" if s.default else "none", s.help)
            for s in config.settings()
        ),
    )


def other_variables() -> str:
    """Environment variables that are no settings of a node."""
    return table(("variable", "meaning"), ((f"`{name}`", text) for name, text in config.OTHER_VARIABLES.items()))


def metrics() -> str:
    """Every metric."""
    rows = [("`posthouse_build_info`", "gauge", "The version that runs; always 1.")]
    rows += [
        (f"`{c.name}_total`" + (f" by `{c.label}`" if c.label else ""), "counter", c.help) for c in telemetry.COUNTERS
    ]
    rows += [(f"`{t.name}`", "histogram", t.help) for t in telemetry.TIMERS]
    rows += [(f"`posthouse_{g.name}`", "gauge", g.help) for g in telemetry.GAUGES]
    return table(("metric", "kind", "meaning"), rows)


def logs() -> str:
    """Every log event."""
    return table(
        ("event", "level", "meaning"),
        ((f"`{event.name.lower()}`", event.level, event.meaning) for event in telemetry.Log),
    )


def error_codes() -> str:
    """Every error code with its status and hint."""
    found: dict[str, type[errors.PosthouseError]] = {}
    waiting = [errors.PosthouseError]
    while waiting:
        error = waiting.pop()
        found.setdefault(error.code, error)
        waiting += error.__subclasses__()
    return table(
        ("code", "status", "meaning", "what to do"),
        (
            (f"`{code}`", str(error.status), (error.__doc__ or "").strip().splitlines()[0], error.hint)
            for code, error in sorted(found.items())
        ),
    )


def providers() -> str:
    """Every preset."""
    rows = []
    for name, preset in sorted(PRESETS.items()):
        sender = preset.sender
        statuses = ", ".join(_ranges(sorted(sender.listed)))
        again = {
            Again.NOT_2XX: "all but 2xx",
            Again.LISTED: statuses or "nothing",
            Again.UNLESS_LISTED: f"all but {statuses}",
        }[sender.again]
        secret = preset.secret_help if preset.scheme.has_secret else "It has none."
        rows.append(
            (f"[{preset.title}]({preset.docs})", f"`{name}`", secret, f"{sender.deadline_ms / 1_000:g} s", again)
        )
    return table(("sender", "name", "secret", "deadline", "again after"), rows)


def _ranges(numbers: list[int]) -> list[str]:
    """Numbers, those in a row as 500 to 599."""
    found: list[list[int]] = []
    for number in numbers:
        if found and number == found[-1][-1] + 1:
            found[-1].append(number)
        else:
            found.append([number])
    return [f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(map(str, run)) for run in found]  # noqa: PLR2004


def records() -> str:
    """The decision records, in order."""
    lines = []
    for path in sorted((ROOT / "docs" / "adr").glob("[0-9]*.md")):
        number, title = path.read_text("utf-8").splitlines()[0].removeprefix("# ").split(". ", 1)
        lines.append(f"- [{number}. {title}]({path.name})")
    return "\n".join(lines)


def commands() -> str:
    """Every command of the CLI with its arguments and options."""
    group: Any = get_command(cli.app)
    context = group.make_context("posthouse", [], resilient_parsing=True)
    lines: list[str] = []
    for verb in cli.VERBS:
        command = group.get_command(context, verb)
        for name, leaf in sorted(getattr(command, "commands", {"": command}).items()):
            lines += _command(f"posthouse {verb} {name}".rstrip(), leaf)
    return "\n".join(lines).rstrip()


#: Options that a page explains once, for all commands.
_SHARED_OPTIONS: Final = frozenset({"--url", "--api-key", "--json", "--help"})


def _command(name: str, command: Any) -> list[str]:
    arguments = [p.metavar or p.name.upper() for p in command.params if p.param_type_name == "argument"]
    lines = [f"### {name}", "", f"`{' '.join([name, *arguments])}`", "", command.help or "", ""]
    options = [p for p in command.params if p.param_type_name == "option" and not _SHARED_OPTIONS & set(p.opts)]
    lines += [f"- `{', '.join([*p.opts, *p.secondary_opts])}`: {p.help or ''}".rstrip(": ") for p in options]
    return [*lines, ""] if options else lines


def routes() -> str:
    """Every route of the API."""
    paths = describe(create_management(MagicMock()))["paths"]
    return table(
        ("request", "what it does", "query", "answer"),
        (
            (
                f"`{method.upper()} {path}`",
                operation["summary"],
                ", ".join(f"`{p['name']}`" for p in operation.get("parameters", ()) if p["in"] == "query"),
                ", ".join(code for code in operation["responses"] if code.startswith("2")),
            )
            for path, operations in sorted(paths.items())
            for method, operation in operations.items()
        ),
    )


def bodies() -> str:
    """The fields of every request body."""
    document = describe(create_management(MagicMock()))
    schemas = document["components"]["schemas"]
    lines: list[str] = []
    for path, operations in sorted(document["paths"].items()):
        for method, operation in operations.items():
            schema = _body_schema(operation, schemas)
            if schema is None:
                continue
            required = schema.get("required", ())
            rows = [
                (f"`{name}`" + (" (required)" if name in required else ""), _kind(field), field.get("description", ""))
                for name, field in schema["properties"].items()
            ]
            lines += [f"### {method.upper()} {path}", "", table(("field", "kind", "meaning"), rows), ""]
    return "\n".join(lines).rstrip()


def _body_schema(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any] | None:
    content = operation.get("requestBody", {}).get("content", {})
    reference = next((c["schema"].get("$ref", "") for c in content.values()), "")
    schema: Mapping[str, Any] | None = schemas.get(reference.rpartition("/")[2])
    return schema if schema and schema.get("properties") else None


def _kind(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(dict.fromkeys(_kind(choice) for choice in field["anyOf"]))
    if "$ref" in field:
        return str(field["$ref"]).rpartition("/")[2]
    if field.get("type") == "array":
        return f"list of {_kind(field.get('items', {}))}"
    return str(field.get("type", "any JSON"))


GENERATORS: Final[Mapping[str, Callable[[], str]]] = {
    "bodies": bodies,
    "commands": commands,
    "error_codes": error_codes,
    "logs": logs,
    "metrics": metrics,
    "other_variables": other_variables,
    "providers": providers,
    "records": records,
    "routes": routes,
    "settings": settings,
    "states": states,
}


if __name__ == "__main__":
    sys.exit(main())
