"""What holds for every reading."""

from typing import cast

from posthouse.core.envelope import check_json
from posthouse.core.inbound import WHOLE
from posthouse.core.limits import ORDERING_KEY_CHARS_MAX
from posthouse.core.routing import validate_event_type
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.key_source import KeySource
from posthouse.gateway.routes import EventRouter
from posthouse.inbox.reader import RequestReader
from posthouse.store.protocol import CatalogueFacet, ReadRequest
from posthouse.testing.manual_clock import ManualClock

DIGEST_BYTES = 16


def make_reader() -> RequestReader:
    """A reader that knows no endpoint: what it finds goes nowhere."""
    clock = ManualClock()
    catalogue = Catalogue(cast("CatalogueFacet", None))  # nobody asks the store for another one
    return RequestReader(catalogue, EventRouter(catalogue), clock, KeySource(clock, node=1, floor=0))


def check(reading: ReadRequest) -> None:
    """What is found may be stored, and sent to anybody."""
    for found in reading.events:
        event = found.new.event
        validate_event_type(event.type)
        check_json(event.data)
        assert len(found.digest) == DIGEST_BYTES
        assert found.window_ms >= 0
        assert event.ordering_key is None or 1 <= len(event.ordering_key) <= ORDERING_KEY_CHARS_MAX
        assert (found.stream is None) is (found.sequence is None)
    places = [found.position for found in reading.events] + [doubt.position for doubt in reading.doubts]
    assert len(set(places)) == len(places), "each event is in one place"
    assert reading.item.position == WHOLE or set(places) <= {reading.item.position}
    if any(doubt.position == reading.item.position for doubt in reading.doubts):
        assert (len(reading.doubts), len(reading.events)) == (1, 0), "what is doubted as a whole is doubted once"
    assert len(reading.incident_keys) == 1 + sum(found.sequence is not None for found in reading.events)
    for doubt in reading.doubts:
        assert doubt.detail
        assert doubt.detail.encode()
