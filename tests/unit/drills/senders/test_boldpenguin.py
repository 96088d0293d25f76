"""Bold Penguin: 25 retries as Sidekiq has them, and redelivery."""

import itertools

import pytest
from tests.unit.drills.senders.conftest import URL, World, only, read, received, said, written

from posthouse.core.errors import SignatureInvalid
from posthouse.drills.senders.boldpenguin import BoldPenguin, BoldPenguinApi
from posthouse.drills.senders.books import Fate
from posthouse.drills.senders.local_server import Call, Said
from posthouse.drills.senders.wire import Failure
from posthouse.providers.senders.boldpenguin import PRESET

SECRET = "bp-test-secret"
DAY_S = 86_400
TOKEN = "token"


def sender_in(world: World, **options: object) -> BoldPenguin:
    return BoldPenguin(URL, SECRET, wire=world.wire, pace=world.pace, **options)  # type: ignore[arg-type]


def ask(api: BoldPenguinApi, path: str, method: str = "GET", token: str = TOKEN) -> Said:
    return api(Call(method, path, {}, {"authorization": f"Bearer {token}"}, b""))


@pytest.mark.parametrize(("algorithm", "prefix"), [("sha256", ""), ("sha1", ""), ("sha256", "sha256=")])
async def test_the_preset_reads_exactly_what_was_sent(world: World, algorithm: str, prefix: str) -> None:
    sender = sender_in(world, algorithm=algorithm, prefix=prefix, header=("X-Mine", "a"))
    await world.until(sender.run(20, 10.0))
    readings = [read("boldpenguin", request, SECRET) for request in world.wire.requests]
    assert said(readings) == written(sender.books, has_identity=False)
    assert sender.books.totals().delivered == 20
    assert {received(request).header("x-mine") for request in world.wire.requests} == {"a"}
    assert world.wire.gaps_s == [0.1] * 19


async def test_without_a_secret_nothing_is_signed(world: World) -> None:
    sender = BoldPenguin(URL, None, wire=world.wire, pace=world.pace)
    await world.until(sender.run(1, 1.0))
    with pytest.raises(SignatureInvalid):
        PRESET.scheme.verify(received(world.wire.requests[0]), [SECRET], now_s=0)


@pytest.mark.parametrize("again", [301, 400, 404, 410, 429, 500, 503, Failure.TIMEOUT, Failure.REFUSED])
async def test_all_failures_are_retried_25_times_over_three_weeks(world: World, again: int | Failure) -> None:
    sender = sender_in(world)
    world.wire.usual = again
    await world.until(sender.run(1, 1.0))
    assert len(world.wire.requests) == 26
    assert only(sender.books).statuses == [again] * 26
    assert only(sender.books).fate is Fate.LOST
    for retry, (before, after) in enumerate(itertools.pairwise(world.wire.at_s)):
        assert 15 + retry**4 <= after - before <= 15 + retry**4 + 10 * (retry + 1) + 0.01
    assert 20.41 <= world.wire.at_s[-1] / DAY_S <= 20.45
    assert set(world.wire.deadlines) == {(60.0, 5.0)}


async def test_a_record_that_is_completed_again_is_another_event(world: World) -> None:
    sender = sender_in(world, types=("question_set:completed",), records=1)
    await world.until(sender.run(3, 1.0))
    assert len(sender.books.entries) == 3
    bodies = [request.body for request in world.wire.requests]
    assert len(set(bodies)) == 3
    assert len({body.partition(b'"revision"')[0] for body in bodies}) == 1


async def test_what_was_sent_is_listed_and_can_be_sent_again(world: World) -> None:
    sender = sender_in(world)
    api = BoldPenguinApi(sender, access_token=TOKEN)
    world.wire.play(200, 200)
    await world.until(sender.run(2, 1.0))
    listed = ask(api, "/hooks/1/requests").document
    assert [(each["id"], each["response_status"], each["redelivery"]) for each in listed] == [
        (1, 200, False),
        (2, 200, False),
    ]
    answer = ask(api, "/hooks/1/requests/2/redeliver", "POST")
    assert (answer.status, answer.document["redelivery"]) == (201, True)
    await world.until(api.settle())
    assert world.wire.requests[2] == world.wire.requests[1]
    assert sender.books.totals().requests == 3
    assert sender.books.totals().retried == 1


def test_what_the_api_refuses(world: World) -> None:
    api = BoldPenguinApi(sender_in(world), access_token=TOKEN)
    assert ask(api, "/hooks/1/requests", token="x").status == 401
    unknown = [("/hooks/2/requests", "GET"), ("/hooks/1/requests/9/redeliver", "POST"), ("/hooks", "GET")]
    assert {ask(api, path, method).status for path, method in unknown} == {404}
