"""What is wrong with the fields of one request: gathered, and named at once."""

from collections.abc import Callable
from typing import TypeVar

from msgspec import UnsetType

from posthouse.core.errors import InvalidInput

T = TypeVar("T")


class Faults:
    """Gathers what is wrong with the fields of one request."""

    def __init__(self) -> None:
        self._found: list[InvalidInput] = []
        self._errors: list[dict[str, object]] = []

    def check(self, path: str, rule: Callable[[T], object], value: T | UnsetType) -> None:
        """Apply ``rule`` to a field that is set; what it raises is kept under ``path``."""
        if isinstance(value, UnsetType):
            return
        try:
            rule(value)
        except InvalidInput as error:
            self._found.append(error)
            inner = error.errors or ({"code": error.code, "message": error.message},)
            self._errors += [{**problem, "path": _join(path, problem.get("path"))} for problem in inner]

    def add(self, path: str, code: str, message: str, *, hint: str) -> None:
        """Keep a fault that no single field has."""
        self._found.append(InvalidInput(message, hint=hint))
        self._errors.append({"path": path, "code": code, "message": message})

    def raise_if_any(self) -> None:
        """Raise one InvalidInput that names everything that was found."""
        if not self._errors:
            return
        if len(self._found) == 1:
            raise InvalidInput(self._found[0].message, hint=self._found[0].advice, errors=self._errors)
        raise InvalidInput(f"{len(self._found)} fields are not valid.", errors=self._errors)


def between(low: int, high: int, unit: str) -> Callable[[int], None]:
    """The rule of a whole number within bounds; ``unit`` says of what, in the plural."""

    def check(value: int) -> None:
        if not low <= value <= high:
            raise InvalidInput.at(
                "", "out_of_range", f"It is {low:,} to {high:,} {unit}.", hint="Use a value in that range."
            )

    return check


def _join(path: str, inner: object) -> str:
    """The path of a fault inside a field: rules that know parts of it start theirs with ``[``, ``.`` or the field."""
    part = str(inner or "")
    if part.startswith((f"{path}.", f"{path}[")):
        return part
    return path + part if part.startswith(("[", ".")) else path
