"""How a command fails: one value, shown on stderr as text or as a problem document."""

import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

from posthouse.cli.exits import Exit

ERRORS_SHOWN_MAX = 20  #: of a refusal with many bad items, in text; the document has them all


class Failure(Exception):
    """Ends the command. ``document`` is the node's own problem document, if it came from there."""

    def __init__(
        self,
        exit_code: Exit,
        code: str,
        message: str,
        *,
        hint: str = "",
        errors: Sequence[Mapping[str, Any]] = (),
        document: Mapping[str, Any] | None = None,
    ) -> None:
        self.exit_code = exit_code
        self.code = code
        self.message = message
        self.hint = hint
        self.errors = errors
        self._document = document
        super().__init__(message)

    @property
    def document(self) -> dict[str, Any]:
        """The failure as a problem document."""
        if self._document is not None:
            return dict(self._document)
        found: dict[str, Any] = {"code": self.code, "title": self.message}
        if self.hint:
            found["hint"] = self.hint
        if self.errors:
            found["errors"] = [dict(e) for e in self.errors]
        return found

    def lines(self) -> list[str]:
        """The failure as people read it."""
        found = [f"error: {self.message} ({self.code})"]
        for error in self.errors[:ERRORS_SHOWN_MAX]:
            path = f"{error['path']}: " if error.get("path") else ""
            found.append(f"  {path}{error.get('message', error.get('code', ''))}")
        if len(self.errors) > ERRORS_SHOWN_MAX:
            found.append(f"  … and {len(self.errors) - ERRORS_SHOWN_MAX} more; --json names them all.")
        if self.hint:
            found.append(f"hint: {self.hint}")
        return found


def show_failure(failure: Failure, *, as_json: bool) -> Exit:
    """Print ``failure`` on stderr; its exit code."""
    text = json.dumps(failure.document, ensure_ascii=False) if as_json else "\n".join(failure.lines())
    print(text, file=sys.stderr, flush=True)
    return failure.exit_code
