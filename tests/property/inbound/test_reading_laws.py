"""Whatever is in a request: it is read or doubted, the same way each time, whatever is read before and after it."""

import json

import msgspec
from hypothesis import given, note, settings
from hypothesis import strategies as st
from tests.property.inbound.laws import check, make_reader
from tests.property.inbound.requests import Post, posts

from posthouse.core.head import head_of
from posthouse.core.inbound import WHOLE, Objection, Source, SourceRules, Verdict
from posthouse.gateway.presets import CUSTOM, preset_of
from posthouse.inbox.reader import RequestReader
from posthouse.providers.index import PRESETS
from posthouse.store.protocol import InboxItem, ReadRequest
from posthouse.testing.conformance.values import Values

VALUES = Values()
DECLARATION = json.dumps({"scheme": {"kind": "hmac", "header": "X-Signature"}, "type": "field:type"})
SOURCES = {
    name: VALUES.source(provider=name, rules=SourceRules(declaration=DECLARATION if name == CUSTOM else None))
    for name in (*sorted(PRESETS), CUSTOM)
}

contents = posts()
waivers = st.none() | st.sampled_from(list(Objection))
positions = st.sampled_from([WHOLE, WHOLE, 0, 1])


def read(reader: RequestReader, source: Source, item: InboxItem) -> ReadRequest:
    return reader.read(item, source, preset_of(source))


def item_of(source: Source, post: Post, position: int, waiver: Objection | None) -> InboxItem:
    """What stands in the inbox of ``source`` when this was posted to it."""
    head = head_of(post.headers)
    request = VALUES.request(
        source.key, method=post.method, url=post.url, head=head, body=post.body, verdict=Verdict.GENUINE
    )
    return InboxItem(request, position, waiver, 0, 0)


@st.composite
def items(draw: st.DrawFn, source: Source) -> InboxItem:
    """Something of the inbox of ``source``."""
    return item_of(source, draw(contents), draw(positions), draw(waivers))


def said(reading: ReadRequest) -> object:
    """All that a reading says, but for the identities that it gives."""
    events = [
        (
            (
                found.position,
                found.digest,
                found.window_ms,
                found.stream,
                found.sequence,
                found.new.lane,
                found.new.owed,
            ),
            msgspec.structs.replace(found.new.event, key=0, id=""),
        )
        for found in reading.events
    ]
    return events, reading.doubts, reading.is_heartbeat, reading.delivery


@settings(max_examples=4 * settings().max_examples)
@given(post=contents, position=positions, waiver=waivers)
def test_whatever_is_stored_is_read_or_doubted(post: Post, position: int, waiver: Objection | None) -> None:
    """By every preset there is: to draw a request takes far longer than to read it."""
    for name, source in SOURCES.items():
        note(name)
        check(read(make_reader(), source, item_of(source, post, position, waiver)))


@given(data=st.data())
def test_a_request_is_read_the_same_among_any_others(data: st.DataObject) -> None:
    """By one reader, in any order and as often as one likes; by another one that reads nothing else."""
    sources = data.draw(st.lists(st.sampled_from(list(SOURCES.values())), min_size=2, max_size=4))
    pairs = [(source, data.draw(items(source))) for source in (*sources, sources[0])]
    alone = [said(read(make_reader(), source, item)) for source, item in pairs]
    reader = make_reader()
    for place in data.draw(st.lists(st.integers(0, len(pairs) - 1), min_size=4, max_size=12)):
        source, item = pairs[place]
        assert said(read(reader, source, item)) == alone[place]
