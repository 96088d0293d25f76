"""The rim of the library that evaluates CEL (the package ``common-expression-language``, a Rust one).

Its own package module also imports a terminal, with colours and a prompt; a node needs the compiled part alone, so
that is loaded from its file. Whatever the library raises becomes an ExpressionError, its panics too.
"""

from collections.abc import Mapping
from functools import cache
from importlib.machinery import EXTENSION_SUFFIXES, ExtensionFileLoader, ModuleSpec
from importlib.util import find_spec, module_from_spec
from pathlib import Path
from typing import Any, Final

from posthouse.expressions.errors import ExpressionError

_PACKAGE: Final = "cel"
_PANIC: Final = "PanicException"  #: it cannot be imported, and is no Exception


def compile_expression(source: str) -> Any:
    """A program of the library. Raises ExpressionError."""
    try:
        return _library().compile(source)
    except BaseException as error:
        _reraise_foreign(error)
        raise ExpressionError(_syntax_reason(str(error))) from error


def execute(program: Any, values: Mapping[str, Any]) -> Any:
    """What ``program`` makes of ``values``. Raises ExpressionError."""
    try:
        return program.execute(values)
    except BaseException as error:
        _reraise_foreign(error)
        raise ExpressionError(_reason(error)) from error


@cache
def _library() -> Any:
    package = find_spec(_PACKAGE)
    for folder in (package and package.submodule_search_locations) or ():
        for suffix in EXTENSION_SUFFIXES:
            path = Path(folder, _PACKAGE + suffix)
            if path.exists():
                loader = ExtensionFileLoader(_PACKAGE, str(path))
                module = module_from_spec(ModuleSpec(_PACKAGE, loader, origin=str(path)))
                loader.exec_module(module)
                return module
    raise ImportError("The package common-expression-language is not installed.")


def _reraise_foreign(error: BaseException) -> None:
    """Raise ``error`` if it does not come from the library, but from who ends the program."""
    if isinstance(error, ImportError) or not (isinstance(error, Exception) or type(error).__name__ == _PANIC):
        raise error


def _reason(error: BaseException) -> str:
    """One line for people."""
    if type(error).__name__ == _PANIC:
        return "The expression library failed."
    if isinstance(error, KeyError):
        return f"There is no field {error.args[0] if error.args else ''!r}; ask with has(…) first."
    said = str(error)
    if said.startswith("No such overload"):
        return "An operation got values of types that it does not take; nothing is converted by itself."
    return said.partition(" Check ")[0]


def _syntax_reason(said: str) -> str:
    """What the library says of a text that it cannot read, without the text itself."""
    _, _, rest = said.partition("ERROR: ")
    first = rest.splitlines()[0] if rest else said.splitlines()[0] if said else "It cannot be read."
    return first.removeprefix("<input>:")
