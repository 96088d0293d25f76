"""Which HTTP statuses count as success for an endpoint, as somebody set them: ``200-299,409``."""

import re
from functools import lru_cache
from itertools import groupby
from typing import Final

import msgspec

from posthouse.core.errors import InvalidInput
from posthouse.core.limits import SUCCESS_CHARS_MAX

SUCCESS_DEFAULT: Final = "200-299"

_CODES: Final = range(200, 500)  #: a 1xx is no answer yet, and a 5xx says that the endpoint failed
#: 410 disables the endpoint, 429 asks for less: what they say must be heard.
_NEVER: Final = frozenset({410, 429})
_PART: Final = re.compile(r" *([0-9]{3}) *(?:- *([0-9]{3}) *)?")


class Success(msgspec.Struct, frozen=True):
    """A set of statuses."""

    text: str  #: canonical: ascending, ranges as long as they can be; parses to this set
    statuses: frozenset[int]


@lru_cache(maxsize=1_024)
def parse_success(text: str) -> Success:
    """The statuses that ``text`` names, one by one or in ranges, separated by commas; empty: every 2xx.

    Raises :class:`InvalidInput`.
    """
    if len(text) > SUCCESS_CHARS_MAX:
        raise _refused(f"The statuses that count as success take at most {SUCCESS_CHARS_MAX} characters.")
    statuses: set[int] = set()
    for part in (text or SUCCESS_DEFAULT).split(","):
        found = _PART.fullmatch(part)
        if found is None:
            raise _refused("The statuses that count as success are codes and ranges of codes, separated by commas.")
        first, last = int(found[1]), int(found[2] or found[1])
        if first > last:
            raise _refused(f"The range {first}-{last} is empty.")
        if first not in _CODES or last not in _CODES:
            raise _refused(f"Only {_CODES[0]} to {_CODES[-1]} can count as success.")
        statuses.update(range(first, last + 1))
    if forbidden := sorted(statuses & _NEVER):
        raise _refused(
            f"{' and '.join(map(str, forbidden))} cannot count as success: Posthouse heeds what it asks for."
        )
    return Success(_write(statuses), frozenset(statuses))


def _write(statuses: set[int]) -> str:
    runs = groupby(enumerate(sorted(statuses)), key=lambda item: item[1] - item[0])
    ends = [(members[0][1], members[-1][1]) for _, run in runs for members in (list(run),)]
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ends)


def _refused(message: str) -> InvalidInput:
    return InvalidInput.at("success", "success", message, hint="Use such as '200-299' or '200-299,409'.")
