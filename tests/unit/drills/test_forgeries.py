"""The requests that drills forge are what they say: none of them would be taken for genuine, and their base is."""

import time

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.core.inbound import SourceRules
from posthouse.core.limits import MIB
from posthouse.drills.forgeries import Signed, blocked_urls, with_key, with_key_at, without_the_secret
from posthouse.drills.senders.connectwise import ConnectWise
from posthouse.drills.senders.gocardless import GoCardless
from posthouse.drills.senders.pace import Pace
from posthouse.drills.senders.wire import Connections, Request
from posthouse.drills.shapes import batch, bombs, building_sites, doubtful, large, payment
from posthouse.providers.index import preset_named
from posthouse.providers.preset import Item, Preset
from posthouse.providers.received import Received, Unreadable, content
from posthouse.system import SystemClock

URL = "https://hooks.example.com/in/x"
SECRET = "a secret that both sides know"
WHSEC = "whsec_" + "A" * 40


def received(request: Request) -> Received:
    return Received.of("POST", request.url, request.headers, request.body, time.time_ns() // 1_000_000)


def is_genuine(provider: str, request: Request, secret: str) -> bool:
    try:
        preset_named(provider).scheme.verify(received(request), [secret], now_s=int(time.time()))
    except SignatureInvalid:
        return False
    return True


def read(preset: Preset, request: Request) -> tuple[Item, ...]:
    came = received(request)
    return preset.read(came, content(came)).items


def test_gocardless_takes_none_of_what_is_forged() -> None:
    sender = GoCardless(URL, SECRET, wire=Connections(1), pace=Pace(SystemClock()))
    genuine = sender.make(2).parcel.make(1)
    assert is_genuine("gocardless", genuine, SECRET)
    forged = list(without_the_secret(genuine))
    assert len({(each.headers, each.body) for each in forged} | {(genuine.headers, genuine.body)}) == len(forged) + 1
    assert not [each for each in forged if is_genuine("gocardless", each, SECRET)]


def test_a_time_and_an_id_cannot_be_changed() -> None:
    signs = Signed(URL, WHSEC)
    heard = signs.request(1)
    assert is_genuine("standard-webhooks", heard, WHSEC)
    assert not [each for each in signs.replayed(heard, 100) if is_genuine("standard-webhooks", each, WHSEC)]


def test_no_blocked_address_is_one_that_a_source_allows() -> None:
    sender = ConnectWise(URL, SECRET, wire=Connections(1), pace=Pace(SystemClock()))
    callback = sender.make().make(1)
    scheme = preset_named("connectwise").scheme
    assert scheme.needs(received(callback)) is not None
    assert scheme.needs(received(with_key(callback, "another"))) is not None
    urls = blocked_urls(4_321, "keys.example.com:8443")
    assert len(set(urls)) == len(urls)
    for url in urls:
        with pytest.raises(SignatureInvalid):
            scheme.needs(received(with_key_at(callback, url, "another")))


def test_odd_shapes_are_genuine_and_hold_what_they_say() -> None:
    push = large(URL, SECRET, size=MIB, number=1).request
    assert len(push.body) == MIB == SourceRules().body_bytes_max
    strange = doubtful(URL, SECRET, number=2).request
    for request in (push, strange):
        assert is_genuine("github", request, SECRET)
    assert [item.contradiction is None for item in read(preset_named("github"), push)] == [True]
    assert [item.contradiction is None for item in read(preset_named("github"), strange)] == [False]

    shape = batch(URL, SECRET, [payment(number) for number in range(3)], bad=1)
    assert is_genuine("gocardless", shape.request, SECRET)
    assert len(read(preset_named("gocardless"), shape.request)) == 3
    assert len(shape.digests) == 2


def test_both_versions_of_procore_are_the_same_kind_and_two_events() -> None:
    items = [read(preset_named("procore"), shape.request) for _, shape in building_sites(URL, SECRET)]
    assert [item.type for (item,) in items] == ["RFIs.update"] * 2
    assert len({item.identity for (item,) in items}) == 2
    assert {item.ordering_key for (item,) in items} == {"RFIs:77"}


def test_no_bomb_can_be_read() -> None:
    for bomb in bombs(URL, SECRET, size=32 * MIB):
        assert is_genuine("cornerstone", bomb, SECRET)
        assert len(bomb.body) < MIB / 10
        with pytest.raises(Unreadable):
            read(preset_named("cornerstone"), bomb)
