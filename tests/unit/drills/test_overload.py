"""Which requests of senders an outage concerns, and what a sender lost to it."""

from posthouse.drills.incoming import Exchange
from posthouse.drills.overload import Outage
from posthouse.drills.senders.wire import Failure

OUTAGE = Outage(10.0, 20.0, answers=True)


def test_an_outage_covers_what_happened_in_it() -> None:
    assert OUTAGE.covers(Exchange(10.0, 20.0, 503))
    assert not OUTAGE.covers(Exchange(9.9, 11.0, 503))
    assert not OUTAGE.covers(Exchange(19.0, 20.1, 200))


def test_an_outage_touches_what_began_before_its_end_and_ended_after_its_begin() -> None:
    for began, ended in ((9.0, 10.0), (9.0, 21.0), (11.0, 12.0), (20.0, 25.0)):
        assert OUTAGE.touches(Exchange(began, ended, Failure.CUT_OFF))
    for began, ended in ((8.0, 9.9), (20.1, 21.0)):
        assert not OUTAGE.touches(Exchange(began, ended, 200))
