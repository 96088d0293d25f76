"""What recognises repetitions: which digest stands for which event, within one transaction."""

from collections.abc import Mapping
from typing import Final, NamedTuple

RESTORED_MS: Final = 30 * 86_400_000  #: events that were received longer ago are not looked at again

#: Digests of marks, which stand in the table as rows of source 0.
MARK_WHOLE: Final = b"\x00"  #: nothing is missing
MARK_MADE: Final = b"\x01"  #: it is made from this event key on

Digest = tuple[int, bytes]  #: source key, digest


class Known(NamedTuple):
    """The event that a digest stands for."""

    key: int
    id: str
    at: int  #: when it was received


class Memory:
    """What is known of the digests of one transaction, and what it adds.

    Without anything ``known`` it is lost: nothing is recognised, and nothing can be learnt.
    """

    def __init__(self, known: dict[Digest, Known] | None, *, is_whole: bool) -> None:
        self.is_whole = is_whole
        self._is_lost = known is None
        self._known = known or {}
        self._new: dict[Digest, Known] = {}

    @property
    def learnt(self) -> Mapping[Digest, Known]:
        """What is to be written."""
        return self._new

    def recognise(self, digest: Digest, at: int, window_ms: int) -> Known | None:
        """The event that something received at ``at`` repeats.

        Compared are the times at which the two were received: however long one of them waits to be read, it stays
        a repetition. A window of 0 matches nothing.
        """
        known = self._known.get(digest)
        return known if known is not None and abs(at - known.at) < window_ms else None

    def learn(self, digest: Digest, event: Known) -> None:
        """The digest stands for this event from now on, unless it stands for one that was received later."""
        known = self._known.get(digest)
        if not self._is_lost and (known is None or known.at <= event.at):
            self._known[digest] = self._new[digest] = event
