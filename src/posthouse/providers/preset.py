"""What a preset is: all that Posthouse knows of one sender, as data and pure functions.

A preset decides nothing by itself. The receiving edge asks it how to answer, the pipeline behind the answer asks it
what a request holds, and :func:`posthouse.verify` asks it whether a request is genuine.
"""

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, Protocol

import msgspec

from posthouse.providers.received import Received

DAY_SECONDS: Final = 86_400
ID_WINDOW_SECONDS: Final = 30 * DAY_SECONDS  #: for so long an id of the sender stands for one event
BODY_WINDOW_SECONDS: Final = 300  #: for so long equal content is a repetition; later it is another event


# -- is it genuine? -----------------------------------------------------------------------------


class Fetch(msgspec.Struct, frozen=True):
    """A document that must be fetched before a signature can be checked; never before the request is answered."""

    url: str  #: from the request, so nobody may fetch it whose host is not in ``hosts``
    hosts: tuple[str, ...]  #: patterns of hosts, ``*`` for one label or a part of it; the scheme is always https


class Scheme(Protocol):
    """How a request proves who sent it."""

    @property
    def has_secret(self) -> bool:
        """Whether there is a secret to check with; False: the sender proves nothing."""
        ...

    def needs(self, received: Received) -> Fetch | None:
        """What must be fetched for :meth:`verify`; None: nothing. Raises SignatureInvalid if it may not be fetched."""
        ...

    def verify(self, received: Received, secrets: Sequence[str], *, now_s: int, fetched: bytes | None = None) -> None:
        """Return if somebody who knows one of ``secrets`` sent this very request.

        Args:
            received: as it came.
            secrets: each in the form in which the provider shows it; every one that may be in use.
            now_s: Unix seconds, for senders that sign a time.
            fetched: the document that :meth:`needs` asked for.

        Raises:
            SignatureInvalid: and nothing else, whatever the input; ``reason`` is one of core.signature's codes.
        """
        ...


# -- what does it hold? -------------------------------------------------------------------------


class Item(msgspec.Struct, frozen=True, kw_only=True):
    """One event of a request."""

    type: str  #: by this event alone: never by what came before it
    data: bytes  #: JSON, byte for byte as it stands in the request
    identity: str | None = None  #: the sender's own id of this event; None: it has none, and its content stands for it
    occurred_at: int | None = None  #: Unix ms
    sequence: int | None = None  #: the sender's own number within ``stream``: a gap in it is a hint, no proof
    stream: str | None = None
    ordering_key: str | None = None  #: what it is about, if its sender says so
    contradiction: str | None = None  #: why the type that the envelope names cannot be right; None: it can
    unreadable: str | None = None  #: why it cannot be made out what this is; it concerns no other event of the request


class Reading(msgspec.Struct, frozen=True):
    """What a request holds."""

    items: tuple[Item, ...] = ()
    is_heartbeat: bool = False  #: it says only that the sender and its subscription are alive
    delivery: str | None = None  #: the sender's id of this request, if it has one


# -- what is answered? --------------------------------------------------------------------------


class Reply(msgspec.Struct, frozen=True):
    """What a sender is answered."""

    status: int
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""


class Handshake(msgspec.Struct, frozen=True):
    """A request by which the sender asks whether this URL wants its events."""

    reply: Reply
    secret: str | None = None  #: that it brought along, by which it signs from now on


class Answers(msgspec.Struct, frozen=True, kw_only=True):
    """The codes by which this sender understands what became of its request.

    An event of a kind that nobody expected is answered like any other: the answer leaves before the body is read.
    """

    accepted: int = 200
    bad_signature: int = 401
    #: When no more can be taken: one that this sender retries, whatever others would take it for.
    overload: int = 503
    too_large: int = 413
    retry_after_s: int | None = 30  #: with ``overload``; None: the sender does not heed it
    body: bytes = b""  #: with ``accepted``


class Again(StrEnum):
    """Which answers a sender takes as a reason to send the same again."""

    NOT_2XX = "not_2xx"
    LISTED = "listed"  #: only those in :attr:`SenderRules.listed`
    UNLESS_LISTED = "unless_listed"  #: all but those


class SenderRules(msgspec.Struct, frozen=True, kw_only=True):
    """What the sender does with an answer. ``source`` says how well that is known."""

    deadline_ms: int = 10_000  #: then it gives the request up
    connect_ms: int | None = None
    again: Again = Again.NOT_2XX
    listed: frozenset[int] = frozenset()  #: statuses
    retries_timeouts: bool = True
    delays_s: tuple[int, ...] = ()  #: before each retry; empty: it never retries, or nobody knows
    follows_redirects: bool = False
    #: What ends it all: after so many failures in a row, or so many seconds of them, it disables or deletes us.
    gives_up_after: int | None = None
    gives_up_after_s: int | None = None
    drops_s: int | None = None  #: it drops what it could not deliver for so long
    known: str = "documented"  #: ``documented``, or what of it is assumed

    def retries(self, status: int) -> bool:
        """Whether an answer with this status is followed by another attempt."""
        if self.again is not Again.NOT_2XX:
            return (status in self.listed) is (self.again is Again.LISTED)
        return not 200 <= status < 300  # noqa: PLR2004 - the HTTP class of success


# -- the preset ---------------------------------------------------------------------------------


class Preset(msgspec.Struct, frozen=True, kw_only=True):
    """One sender."""

    name: str  #: in URLs, settings and the CLI: ``[a-z0-9-]+``
    title: str
    docs: str  #: page of the provider on this
    secret_help: str  #: where its secret is found or made, and what it looks like
    scheme: Scheme
    #: What a request holds; ``content`` is its body, decompressed. Raises Unreadable.
    read: Callable[[Received, bytes], Reading]
    answers: Answers = Answers()
    sender: SenderRules = SenderRules()
    #: Whether a request is a handshake, and how it is answered; the secrets are those of the source, newest first.
    handshake: Callable[[Received, Sequence[str]], Handshake | None] | None = None
    heartbeat_seconds: int | None = None  #: in which rhythm it says that it is alive, if it does
    #: For so long an identity stands for one event, and content, where there is none, if this is not the default.
    window_seconds: int = ID_WINDOW_SECONDS

    def window_ms(self, item: Item) -> int:
        """For how long a second event like ``item`` is a repetition of it, by what stands for it."""
        short = item.identity is None and self.window_seconds == ID_WINDOW_SECONDS
        return (BODY_WINDOW_SECONDS if short else self.window_seconds) * 1_000
