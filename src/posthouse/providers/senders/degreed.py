"""Degreed: learning.

As a sender nothing of it is public: no signature, no payload, no retries. This preset takes what it sends for what it
is and proves it by a token. As a destination it is known: OAuth 2 client credentials at https://degreed.com/oauth/token,
a bearer token, 70 requests a minute for each client (the headers X-Rate-Limit-Limit, -Remaining and -Reset say how many
are left), and 429 beyond them.
"""

from typing import Final

from posthouse.providers.preset import BODY_WINDOW_SECONDS, Answers, Preset, SenderRules
from posthouse.providers.reading import Field, Reader
from posthouse.providers.schemes import Token

PRESET: Final = Preset(
    name="degreed",
    title="Degreed",
    docs="https://api.degreed.com/docs",
    secret_help=(
        'A long random text of your choice, which whoever sends for Degreed puts behind "Bearer " in the header '
        "Authorization."
    ),
    scheme=Token(header="Authorization", prefix="Bearer "),
    read=Reader(type=(Field(("type",)),)),
    answers=Answers(retry_after_s=None),
    sender=SenderRules(known="nothing of it as a sender is published: all is assumed, the token and the type as well"),
    window_seconds=BODY_WINDOW_SECONDS,
)
