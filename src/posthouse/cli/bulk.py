"""Publishing a file of NDJSON in batches, so that running it again mends whatever interrupted it."""

import uuid
from collections.abc import Callable, Iterator, Sequence
from hashlib import blake2b
from typing import IO, Any, Final, NamedTuple, Protocol

import msgspec

from posthouse.core import limits
from posthouse.sdk.client import Problem, Published

LINE_BYTES_MAX: Final = limits.BATCH_BODY_BYTES_MAX
FAULTS_MAX: Final = 1_000  #: that a report keeps; further ones are only counted
_ENVELOPE_BYTES: Final = len(b'{"events":[]}')
#: Refusals that the next batch would meet too, so there is no use in going on.
_FATAL: Final = frozenset({401, 403, 404, 405, 429})


class Fault(NamedTuple):
    """Why lines were not published."""

    line: int  #: the first line that it is about, counted from 1
    last: int  #: the last one
    code: str
    message: str

    @property
    def where(self) -> str:
        """``line 3``, or ``lines 3 to 9``."""
        return f"line {self.line}" if self.line == self.last else f"lines {self.line} to {self.last}"


class Report:
    """What became of the lines of a file."""

    def __init__(self) -> None:
        self.published = 0  #: stored now
        self.duplicates = 0  #: stored by an earlier run
        self.refused = 0  #: not stored: in a batch with a bad line
        self.deliveries = 0  #: that the ones stored now owe
        self.faults: list[Fault] = []

    def fault(self, fault: Fault) -> None:
        """Keep ``fault``, within bounds."""
        if len(self.faults) < FAULTS_MAX:
            self.faults.append(fault)

    def summary(self) -> str:
        """One sentence with all counts."""
        return (
            f"{self.published:,} published (owed {self.deliveries:,} times), "
            f"{self.duplicates:,} were there already, {self.refused:,} not published."
        )

    def document(self) -> dict[str, Any]:
        """The report as JSON."""
        return {
            "published": self.published,
            "duplicates": self.duplicates,
            "refused": self.refused,
            "deliveries": self.deliveries,
            "faults": [
                {"line": fault.line, "last_line": fault.last, "code": fault.code, "message": fault.message}
                for fault in self.faults
            ],
        }


class BatchClient(Protocol):
    """The part of ``sdk.client.Client`` that this needs."""

    def publish_batch(self, events: Sequence[msgspec.Raw], /) -> list[Published]:
        """Publish all of them in one transaction, or none."""
        ...


class _LineIn(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """One line, as its author writes it."""

    type: str
    data: msgspec.Raw
    tenant: str | None = None
    id: str | None = None
    occurred_at: str | None = None
    ordering_key: str | None = None


class Bulk:
    """One run over one file.

    Args:
        again: publish lines that were published before once more, under new ids.
        progress: told after each batch how many lines and bytes are behind it, this batch's alone.
    """

    def __init__(self, *, again: bool, progress: Callable[[int, int], None]) -> None:
        self.report = Report()
        self._salt = uuid.uuid4().bytes if again else b""
        self._progress = progress
        self._decode = msgspec.json.Decoder(_LineIn).decode

    def run(self, client: BatchClient, stream: IO[bytes]) -> None:
        """Publish every line. Raises what ``client`` raises when going on makes no sense."""
        batch = _Batch()
        for number, raw in numbered_lines(stream):
            try:
                item = self._item(number, raw)
            except msgspec.DecodeError as error:
                batch.faults.append(_fault(number, "invalid_line", f"{error}."))
                item = b""
            if not batch.fits(item):
                self._flush(client, batch)
                batch = _Batch()
            batch.add(number, item, len(raw) + 1)
        self._flush(client, batch)

    def _item(self, number: int, raw: bytes) -> bytes:
        """The line as the API takes it. Raises msgspec.DecodeError if it cannot be an event."""
        if len(raw) > LINE_BYTES_MAX:
            raise msgspec.DecodeError(f"A line holds at most {LINE_BYTES_MAX:,} bytes")
        try:
            line = self._decode(raw)
        except UnicodeDecodeError as error:
            raise msgspec.DecodeError(f"The line is not UTF-8 ({error.reason})") from error
        if line.id is None:
            line.id = line_id(number, raw, self._salt)
        return msgspec.json.encode(line)

    def _flush(self, client: BatchClient, batch: "_Batch") -> None:
        if not batch.lines:
            return
        faults = batch.faults
        if not faults:
            try:
                for published in client.publish_batch([msgspec.Raw(item) for item in batch.items]):
                    self.report.duplicates += published.duplicate
                    self.report.published += not published.duplicate
                    self.report.deliveries += 0 if published.duplicate else published.deliveries
            except Problem as problem:
                if problem.status in _FATAL or problem.status >= 500:  # noqa: PLR2004 - the node's own failures
                    raise
                faults = batch.faults_of(problem)
        if faults:
            self.report.refused += len(batch.lines)
            for fault in faults:
                self.report.fault(fault)
        self._progress(len(batch.lines), batch.bytes_read)


class _Batch:
    """Lines that are published together: at most 1,000 of them, and 5 MiB as a request."""

    def __init__(self) -> None:
        self.lines: list[int] = []
        self.items: list[bytes] = []
        self.faults: list[Fault] = []
        self.bytes_read = 0
        self._size = _ENVELOPE_BYTES

    def fits(self, item: bytes) -> bool:
        """Whether ``item`` can still join. Into an empty batch everything fits."""
        if not self.lines:
            return True
        return len(self.lines) < limits.BATCH_EVENTS_MAX and self._size + len(item) <= limits.BATCH_BODY_BYTES_MAX

    def add(self, number: int, item: bytes, bytes_read: int) -> None:
        """Take in a line; an empty ``item`` only holds its place."""
        self.lines.append(number)
        self.items.append(item)
        self.bytes_read += bytes_read
        self._size += len(item) + 1

    def faults_of(self, problem: Problem) -> list[Fault]:
        """The refusal of this batch, with line numbers for the node's positions."""
        found = []
        for error in problem.errors:
            position = error.get("item")
            if isinstance(position, int) and 0 <= position < len(self.lines):
                field = str(error.get("path", "")).partition("].")[2]
                message = f"{field}: {error.get('message')}" if field else str(error.get("message"))
                found.append(_fault(self.lines[position], str(error.get("code")), message))
        return found or [Fault(self.lines[0], self.lines[-1], problem.code, problem.detail)]


def numbered_lines(stream: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Every line that is not blank, with its number from 1; one that is too long comes cut, but too long still."""
    number = 0
    while raw := stream.readline(LINE_BYTES_MAX + 2):
        number += 1
        line = raw.strip()
        rest = raw
        while not rest.endswith(b"\n") and (rest := stream.readline(LINE_BYTES_MAX)):
            pass
        if line:
            yield number, line


def line_id(number: int, raw: bytes, salt: bytes = b"") -> str:
    """The event id of a line without one: the same line in the same place always gets the same."""
    digest = blake2b(digest_size=16, key=salt)
    digest.update(b"%d " % number)
    digest.update(raw)
    return f"line_{digest.hexdigest()}"


def _fault(number: int, code: str, message: str) -> Fault:
    return Fault(number, number, code, message)
