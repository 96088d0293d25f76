"""Bodies that are forms, as browsers send them."""

from typing import Final
from urllib.parse import parse_qsl

from posthouse.providers.received import Received, Unreadable

FIELDS_MAX: Final = 1_000
_FORM: Final = "application/x-www-form-urlencoded"


def is_form(received: Received) -> bool:
    """Whether the body is said to be one."""
    return (received.header("Content-Type") or "").partition(";")[0].strip().lower() == _FORM


def form_fields(content: bytes) -> list[tuple[str, str]]:
    """The fields of a form, in their order. Raises Unreadable."""
    try:
        return parse_qsl(content.decode("ascii"), keep_blank_values=True, max_num_fields=FIELDS_MAX, errors="strict")
    except ValueError as error:  # also of what is not UTF-8
        raise Unreadable(f"The body is not a form, or has more than {FIELDS_MAX:,} fields.") from error
