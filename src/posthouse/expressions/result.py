"""What an expression results in, as JSON."""

import math
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from posthouse.expressions.errors import ExpressionError


def json_of(value: Any) -> Any:
    """``value`` as JSON knows it: times as RFC 3339, durations in seconds (``1.5s``), bytes in base64.

    Raises ExpressionError for what has no JSON.
    """
    found = value
    match value:
        case float() if not math.isfinite(value):
            raise ExpressionError("A result is infinite or no number.")
        case None | bool() | int() | float() | str():
            pass
        case list():
            found = [json_of(item) for item in value]
        case dict():
            found = {_key(key): json_of(item) for key, item in value.items()}
        case bytes():
            found = b64encode(value).decode()
        case datetime():
            found = value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        case timedelta():
            seconds, rest = divmod(abs(value) // timedelta(microseconds=1), 1_000_000)
            sign = "-" if value < timedelta(0) else ""
            found = f"{sign}{seconds}.{rest:06d}".rstrip("0").rstrip(".") + "s"
        case _:
            raise ExpressionError(f"A result is a {type(value).__name__}, which has no JSON.")
    return found


def _key(key: object) -> str:
    if not isinstance(key, str):
        raise ExpressionError("The keys of a result are strings.")
    return key
