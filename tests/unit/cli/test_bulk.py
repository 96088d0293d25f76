"""Publishing a file: batches, identities, and lines that are no events."""

import io
import json
from collections.abc import Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from posthouse.cli.bulk import LINE_BYTES_MAX, Bulk, Fault, line_id, numbered_lines
from posthouse.core import limits
from posthouse.sdk.client import Problem, Published


class Node:
    """Takes batches, recognises ids, and refuses what it is told to."""

    def __init__(self, *refusals: Problem) -> None:
        self.batches: list[list[bytes]] = []
        self.ids: set[str] = set()
        self._refusals = list(refusals)

    def publish_batch(self, events: Sequence[msgspec.Raw], /) -> list[Published]:
        if self._refusals:
            raise self._refusals.pop(0)
        self.batches.append([bytes(event) for event in events])
        found = []
        for event in events:
            name = json.loads(bytes(event))["id"]
            found.append(Published(name, 1, duplicate=name in self.ids))
            self.ids.add(name)
        return found


def publish(node: Node, content: bytes, *, again: bool = False) -> tuple[Bulk, list[tuple[int, int]]]:
    progress: list[tuple[int, int]] = []
    bulk = Bulk(again=again, progress=lambda lines, size: progress.append((lines, size)))
    bulk.run(node, io.BytesIO(content))
    return bulk, progress


def line(**fields: Any) -> bytes:
    return json.dumps({"type": "a", "data": 1, **fields}).encode() + b"\n"


def refusal(status: int, *errors: dict[str, Any]) -> Problem:
    return Problem(status, {"code": "invalid_input", "detail": "Problems in the batch.", "errors": list(errors)})


def test_batches_have_a_thousand_lines_at_most() -> None:
    node = Node()
    bulk, progress = publish(node, line() * 2_001)
    assert [len(batch) for batch in node.batches] == [1_000, 1_000, 1]
    assert (bulk.report.published, bulk.report.deliveries) == (2_001, 2_001)
    assert [lines for lines, _ in progress] == [1_000, 1_000, 1]
    assert sum(size for _, size in progress) == len(line()) * 2_001


def test_batches_stay_within_the_body_limit() -> None:
    """A request with all its commas and brackets is never larger than the node takes."""
    node = Node()
    publish(node, line(data="x" * 400_000) * 30)
    sizes = [len(b'{"events":[' + b",".join(batch) + b"]}") for batch in node.batches]
    assert max(sizes) <= limits.BATCH_BODY_BYTES_MAX
    assert min(sizes[:-1]) > limits.BATCH_BODY_BYTES_MAX - 401_000


def test_data_is_sent_byte_for_byte() -> None:
    node = Node()
    publish(node, b'{"data": { "b":  1.0 }, "type": "a", "id": "i"}\n')
    assert node.batches == [[b'{"type":"a","data":{ "b":  1.0 },"id":"i"}']]


@given(st.lists(st.integers(0, 3), max_size=40), st.integers(0, 40))
def test_running_again_stores_nothing_twice(contents: list[int], stopped_after: int) -> None:
    """Whatever an interrupted run had stored, the same file run again stores exactly the rest, equal lines too."""
    lines = [line(data=content) for content in contents]
    node = Node()
    publish(node, b"".join(lines[:stopped_after]))
    before = len(node.ids)
    bulk, _ = publish(node, b"".join(lines))
    assert bulk.report.duplicates == before
    assert len(node.ids) == len(lines)
    again, _ = publish(node, b"".join(lines), again=True)
    assert again.report.published == len(lines)


def test_own_ids_are_kept() -> None:
    node = Node()
    publish(node, line(id="mine") + line())
    assert "mine" in node.ids


@pytest.mark.parametrize(
    "bad",
    [
        b"nonsense\n",
        b'{"type": "a"}\n',
        b'{"data": 1}\n',
        b'{"type": 1, "data": 1}\n',
        b'{"type": "a", "data": 1, "url": "x"}\n',
        b'["a"]\n',
        b'{"type": "\xff", "data": 1}\n',
        b"{" + b" " * LINE_BYTES_MAX + b"}\n",
    ],
    ids=["text", "no data", "no type", "type", "unknown", "list", "utf-8", "long"],
)
def test_bad_line_is_named_and_its_batch_not_sent(bad: bytes) -> None:
    """A batch is stored whole or not at all; batches before and after it are stored."""
    node = Node()
    bulk, _ = publish(node, line() * 1_000 + b"\n" + line() + bad + line() * 998 + line())
    assert [fault.line for fault in bulk.report.faults] == [1_003]
    assert bulk.report.published + bulk.report.refused == 2_001
    assert bulk.report.published == sum(len(batch) for batch in node.batches)
    assert bulk.report.refused >= 1_000 or len(bad) > LINE_BYTES_MAX


def test_refused_items_are_named_by_line() -> None:
    faults = [
        {"path": "events[0].type", "code": "invalid", "message": "No type.", "item": 0},
        {"path": "events[1]", "code": "invalid", "message": "No event.", "item": 1},
    ]
    bulk, _ = publish(Node(refusal(422, *faults)), b"\n" + line() + b"\n" + line())
    assert bulk.report.faults == [Fault(2, 2, "invalid", "type: No type."), Fault(4, 4, "invalid", "No event.")]
    assert bulk.report.refused == 2


def test_refusal_without_items_is_about_the_whole_batch() -> None:
    bulk, _ = publish(Node(refusal(413)), line() * 3)
    assert bulk.report.faults == [Fault(1, 3, "invalid_input", "Problems in the batch.")]
    assert bulk.report.faults[0].where == "lines 1 to 3"


@pytest.mark.parametrize("status", [401, 403, 429, 500, 503])
def test_refusal_that_all_batches_would_meet_ends_the_run(status: int) -> None:
    with pytest.raises(Problem):
        publish(Node(refusal(status)), line())


def test_lines_are_numbered_as_editors_do() -> None:
    assert list(numbered_lines(io.BytesIO(b"a\r\n\n  \n b \nc"))) == [(1, b"a"), (4, b"b"), (5, b"c")]


def test_long_line_does_not_swallow_the_next() -> None:
    long = b"x" * (3 * LINE_BYTES_MAX)
    found = list(numbered_lines(io.BytesIO(long + b"\nnext\n")))
    assert [number for number, _ in found] == [1, 2]
    assert LINE_BYTES_MAX < len(found[0][1]) <= LINE_BYTES_MAX + 2
    assert found[1][1] == b"next"


def test_line_ids_are_ids_that_a_publisher_may_use() -> None:
    found = {line_id(1, b"x"), line_id(2, b"x"), line_id(1, b"y"), line_id(1, b"x", b"salt")}
    assert len(found) == 4
    assert all(len(each) <= limits.EVENT_ID_CHARS_MAX and "." not in each for each in found)
    assert line_id(12, b"x") != line_id(1, b"2 x")
