"""How commands get secrets: from an option, a file, stdin or a prompt."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from posthouse.cli.reading import open_source, usage

Secrets = Annotated[
    list[str] | None,
    typer.Option(
        "--secret", metavar="SECRET|-", help="As the provider shows it, newest first; repeatable; - is stdin."
    ),
]
SecretFiles = Annotated[
    list[Path] | None, typer.Option("--secret-file", metavar="FILE", help="File that holds a secret; repeatable.")
]
SecretPrompt = Annotated[bool, typer.Option("--secret-prompt", help="Ask for the secret.")]


def secrets_given(texts: Sequence[str] | None, files: Sequence[Path] | None, *, prompt: bool) -> list[str]:
    """The secrets that the options name, in their order: those of the command line, of files, of the prompt."""
    found = [_read("-") if text == "-" else text for text in texts or ()]
    found += [_read(str(path)) for path in files or ()]
    if prompt:
        found.append(_ask())
    return found


def one_secret(text: str | None, file: Path | None) -> str:
    """The secret that the options name, or that somebody types at the prompt."""
    found = secrets_given(
        None if text is None else [text], None if file is None else [file], prompt=text is None and file is None
    )
    if len(found) != 1:
        raise usage("Use --secret or --secret-file, not both.")
    return found[0]


def _read(name: str) -> str:
    """What a file or stdin holds, without the line break at its end."""
    with open_source(name) as (stream, _):
        content = stream.read()
    try:
        text = content.decode().rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise usage(f"The secret in {name} is not UTF-8.") from error
    if not text:
        raise usage(f"There is no secret in {name}.")
    return text


def _ask() -> str:
    if not sys.stdin.isatty():
        raise usage("There is nobody to ask for the secret: use --secret-file, or --secret - to read stdin.")
    answer: str = typer.prompt("Secret", hide_input=True, err=True)
    return answer
