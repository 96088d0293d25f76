"""JSON as nobody's library would write it, so that data which is written anew on the way is noticed."""

import json
import random
from typing import Final

_WORDS: Final = (
    "",
    "plain",
    "zażółć gęślą jaźń",
    "日本語",
    "🦊 emoji",
    "a\\b/c",
    'quote " inside',
    "tab\tand\nline",
    "\u007f\u2028",
)
_BLANKS: Final = ("", "", "", " ", "\n", "\t  ")
_LITERALS: Final = ("true", "false", "null")
_NUMBERS: Final = ("0", "-0.0", "1.0", "1e5", "1E-7", "9007199254740993", "123456789012345678901234567890", "3.140000")
_PARTS_MAX: Final = 4


def odd_json(chance: random.Random, *, depth: int = 3) -> str:
    """A JSON value with odd blanks, escapes, numbers and names, nested at most ``depth`` deep."""
    kinds = ["number", "literal", "string", "string", *(["array", "object"] if depth else [])]
    match chance.choice(kinds):
        case "number":
            return chance.choice(_NUMBERS)
        case "literal":
            return chance.choice(_LITERALS)
        case "string":
            return _string(chance, str(chance.random()))
        case kind:
            parts = [odd_json(chance, depth=depth - 1) for _ in range(chance.randint(0, _PARTS_MAX))]
            if kind == "object":
                parts = [f"{_string(chance)}{chance.choice(_BLANKS)}:{part}" for part in parts]
            inside = f"{chance.choice(_BLANKS)},{chance.choice(_BLANKS)}".join(parts) + chance.choice(_BLANKS)
            return f"{{{inside}}}" if kind == "object" else f"[{inside}]"


def _string(chance: random.Random, more: str = "") -> str:
    return json.dumps(chance.choice(_WORDS) + more, ensure_ascii=chance.choice((True, False)))
