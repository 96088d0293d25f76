"""``posthouse simulate`` against a receiver."""

import json
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from posthouse.cli.exits import Exit
from posthouse.cli.main import main
from posthouse.demo import node_process
from posthouse.drills.background import Background
from posthouse.drills.senders import index
from posthouse.drills.senders.index import SENDERS
from posthouse.providers.index import PRESETS
from posthouse.providers.received import Received as Arrived
from posthouse.testing.receiver import Answer, Behaviour, Received, Receiver

SECRET = "a-secret"
QUICK = ("--events", "20", "--rate", "2000", "--speed", "1e3", "--seed", "7")


class Ended(NamedTuple):
    code: int
    out: str
    err: str


Run = Callable[..., Ended]


def behaviour(request: Received) -> Behaviour:
    preset = PRESETS["asana"]
    assert preset.handshake is not None
    found = preset.handshake(Arrived.of("POST", request.path, request.headers, request.body, 0), [])
    return Answer() if found is None else Answer(found.reply.status, found.reply.headers)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Background() as background:
        made = Receiver(behaviour)
        background.run(made.__aenter__())
        yield made
        background.run(made.__aexit__(None, None, None))


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.setattr(node_process, "end_on_signals", lambda: None)  # this process is the test's
    monkeypatch.setattr(index, "KEYS_SECONDS_MAX", 0.0)

    def run(*arguments: str) -> Ended:
        code = main(["simulate", *arguments])
        return Ended(code, *capsys.readouterr())

    return run


@pytest.mark.parametrize("name", SENDERS)
def test_each_sender_plays_to_its_end(run: Run, receiver: Receiver, name: str) -> None:
    ended = run(name, receiver.url, *QUICK, *(("--secret", SECRET) if SENDERS[name].needs_secret else ()), "--json")
    assert ended.code == Exit.OK, ended.err
    document: dict[str, Any] = json.loads(ended.out)
    assert (document["sender"], document["url"], document["seed"]) == (name, receiver.url, 7)
    assert (document["events"], document["delivered"], document["lost"]) == (20, 20, 0)
    assert document["codes"] == {"200": document["requests"]}
    assert document["not_delivered"] == {"waiting": [], "retrying": [], "lost": [], "expired": []}


def test_what_is_lost_is_named_and_ends_with_1(run: Run, receiver: Receiver) -> None:
    receiver.play(Answer(503))
    ended = run("connectwise", receiver.url, *QUICK, "--secret", "acme_c", "--json")
    assert ended.code == Exit.FAILED
    document = json.loads(ended.out)
    assert (document["lost"], len(document["not_delivered"]["lost"])) == (1, 1)
    assert document["codes"] == {"200": 19, "503": 1}


def test_people_get_tables(run: Run, receiver: Receiver) -> None:
    receiver.play(Answer(503))
    old = ("--old", "30", "--tier", "Medium", "--batch", "10", "--types", "TrainingCompleted")
    ended = run("cornerstone", receiver.url, *QUICK, "--secret", SECRET, *old)
    assert ended.code == Exit.OK
    lines = {tuple(line.split()) for line in ended.out.splitlines()}
    assert {("sender", "cornerstone"), ("seed", "7"), ("delivered", "50"), ("503", "1")} < lines


def test_the_keys_authority_is_written(run: Run, receiver: Receiver, tmp_path: Path) -> None:
    ca = tmp_path / "ca.pem"
    place = ("--keys", "127.0.0.1:0", "--keys-ca", str(ca))
    assert run("connectwise", receiver.url, *QUICK, "--secret", "acme_c", *place).code == Exit.OK
    assert ssl.create_default_context(cafile=str(ca)).get_ca_certs()


def test_a_webhook_that_cannot_be_made_ends_with_1(run: Run, receiver: Receiver) -> None:
    receiver.play(Answer(200))
    ended = run("asana", receiver.url)
    assert ended.code == Exit.FAILED
    assert "simulation_failed" in ended.err


def test_an_interruption_shows_what_was_sent(run: Run, receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(show: Callable[..., None]) -> Callable[..., None]:
        def play(*arguments: Any, **options: Any) -> None:
            show(*arguments, **options)
            raise KeyboardInterrupt

        return play

    monkeypatch.setattr(index, "play", interrupted(index.play))
    ended = run("gocardless", receiver.url, *QUICK, "--secret", SECRET)
    assert ended.code == Exit.INTERRUPTED
    assert "delivered" in ended.out


def test_the_list_names_every_sender(run: Run) -> None:
    ended = run("list")
    assert ended.code == Exit.OK
    assert all(name in ended.out and PRESETS[name].title in ended.out for name in SENDERS)
    assert [each["sender"] for each in json.loads(run("list", "--json").out)["data"]] == list(SENDERS)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("stripe", "http://a"), "no simulated sender"),
        (("gocardless",), "Name the receiver"),
        (("gocardless", "ftp://a"), "Name the receiver"),
        (("gocardless", "http://a b"), "Name the receiver"),
        (("gocardless", "http://["), "Name the receiver"),
        (("gocardless", "http://a"), "needs a --secret"),
        (("gocardless", "http://a", "--secret", "a\r\nb"), "visible ASCII"),
        (("gocardless", "http://a", "--secret", "a", "--old", "3"), "--old says nothing"),
        (("autotask", "http://a", "--secret", "a", "--keys-ca", "x"), "--keys-ca says nothing"),
        (("autotask", "http://a", "--secret", "a", "--keys", "a:1"), "--keys says nothing"),
        (("boldpenguin", "http://a", "--types", "a:b,c\r\nd"), "A type is made of"),
        (("connectwise", "http://a", "--secret", "a", "--keys", "a"), "A place looks like"),
        (("cornerstone", "http://a", "--secret", "a", "--tier", "huge"), "no tier huge"),
    ],
)
def test_what_makes_no_sense_is_said(run: Run, arguments: tuple[str, ...], says: str) -> None:
    ended = run(*arguments)
    assert ended.code == Exit.USAGE
    assert says in ended.err
    assert not ended.out
