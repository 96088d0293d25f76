"""The drills, small, by the installed command: each really breaks what it is about, and its rules hold."""

import json
import os
import re
import signal
import subprocess
import sysconfig
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from posthouse.demo.node_process import Node

POSTHOUSE = str(Path(sysconfig.get_path("scripts")) / "posthouse")

pytestmark = pytest.mark.timeout(180)


def drill(*arguments: object) -> dict[str, Any]:
    """The document of a drill that has to pass."""
    command = [POSTHOUSE, "drill", *map(str, arguments), "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=150, check=False)
    assert done.returncode == 0, done.stderr or [then for then in json.loads(done.stdout)["then"] if not then["holds"]]
    assert done.stderr == ""
    document: dict[str, Any] = json.loads(done.stdout)
    assert document["passed"]
    return document


def measured(document: dict[str, Any], text: str) -> float:
    """What was measured for the one rule whose text has ``text`` in it."""
    (found,) = [then["measured"] for then in document["then"] if text in then["text"]]
    return float(found)


def kinds(document: dict[str, Any]) -> list[str]:
    """The marks in their order."""
    return [mark["kind"] for mark in sorted(document["marks"], key=lambda mark: mark["at_s"])]


def test_d15_kills_and_nothing_acknowledged_is_missing(tmp_path: Path) -> None:
    data, picture = tmp_path / "data", tmp_path / "run.svg"
    document = drill("D15", "--scale", "0.02", "--seed", "7", "--data", data, "--picture", picture)
    assert measured(document, "kills") == 2
    assert kinds(document) == ["fault", "fault", "recovery"]
    assert document["figures"]["acknowledged"] == document["figures"]["events"] > 1_000
    series = document["series"]
    assert series["accepted"][-1] == series["delivered"][-1] == document["figures"]["owed"]
    ET.parse(picture)  # noqa: S314 - made here
    assert (data / "api_key").exists(), "the store is kept"
    assert not (data / "node.json").exists(), "the node has ended"


def test_d07_loses_the_primary_and_nothing_else() -> None:
    document = drill("D07", "--scale", "0.05", "--seed", "3")
    assert kinds(document) == ["fault", "fault"]
    assert document["figures"]["acknowledged"] == document["figures"]["events"] > 2_000
    assert measured(document, "not on the other disk") == 0


def test_d08_makes_the_index_of_endpoints_anew() -> None:
    document = drill("D08", "--scale", "0.02", "--seed", "5")
    assert document["figures"]["endpoints"] == 200
    assert kinds(document) == ["fault"] * 5


def test_d06_shows_what_was_never_attempted_as_that() -> None:
    document = drill("D06", "--scale", "0.05")
    assert document["figures"]["shown as timed out"] >= 10 * 5
    assert document["figures"]["shown as never attempted"] > 10 * 12
    assert kinds(document) == ["fault", "note", "recovery"]


def test_d05_raises_the_alarm_and_heals() -> None:
    document = drill("D05", "--scale", "0.05")
    assert kinds(document) == ["fault", "alarm", "recovery"]
    assert document["figures"]["fault_seconds"] > 10, "shorter than the threshold would prove nothing"
    assert document["figures"]["stuck"] >= 25


def test_d01_lets_fresh_events_pass_a_replay_and_an_operator_park_it() -> None:
    document = drill("D01", "--scale", "0.01")
    assert kinds(document) == ["note", "note", "note", "recovery"]
    assert document["figures"]["parked"] > 0, "nothing was left to park"
    assert measured(document, "old records handled") == 10_000
    # On a busy machine fresh ones go several together, too.
    assert document["figures"]["requests"] > 10_000 / 50


def test_d10_brings_an_endpoint_back_soon_and_gently() -> None:
    document = drill("D10", "--scale", "0.05")
    assert kinds(document) == ["fault", "recovery"]
    assert measured(document, "requests that came while it was down") >= 5


def test_d11_tells_what_happens_again_from_what_is_sent_again() -> None:
    document = drill("D11", "--scale", "0.05")
    assert kinds(document) == ["note", "recovery"]
    assert measured(document, "handled exactly twice") == 10
    assert document["figures"]["suppressed"] == 10 * 5


def test_d12_keeps_order_whatever_fails() -> None:
    document = drill("D12", "--scale", "0.02")
    assert kinds(document) == ["fault", "note"]
    assert measured(document, "versions handled at the fifo endpoint") == 20 * 50
    assert document["figures"]["superseded"] > 0


def test_d13_lets_nobody_notice_bad_neighbours() -> None:
    document = drill("D13", "--scale", "0.05")
    assert kinds(document) == ["fault", "fault", "recovery"]
    assert measured(document, "events for the one that is flooded") >= 500


def test_d18_gives_every_poison_event_a_place() -> None:
    document = drill("D18", "--scale", "0.05")
    assert [place["place"] for place in document["places"]].count("refused") == 6
    assert {place["place"] for place in document["places"]} == {"refused", "delivered", "parked", "held"}


def test_d14_tells_each_sender_in_its_own_code_and_gets_everything_in_the_end() -> None:
    document = drill("D14", "--scale", "0.05")
    assert kinds(document) == ["fault", "fault", "fault", "recovery"]
    senders = {place["sender"]: place for place in document["places"]}
    assert len(senders) == 6
    assert "429" in senders["connectwise"]["answers"]
    assert "503" in senders["cornerstone"]["answers"]
    assert min(place["sent again"] for place in senders.values()) > 0, "the outages concerned everybody"
    figures = document["figures"]
    assert len(figures["connectwise_lost_keys"].split()) == senders["connectwise"]["lost"]
    assert figures["connectwise_lost_after_429"] == 0, "3 s are shorter than its patience"


def test_d21_passes_nothing_forged_on_and_shows_no_secret() -> None:
    document = drill("D21", "--scale", "0.05")
    assert kinds(document) == ["fault", "note", "recovery"]
    assert measured(document, "verified again") == 9 * 5, "nine attempts of each of five webhooks"
    assert document["figures"]["secrets"] > 50


def test_d24_delivers_refuses_or_keeps_whatever_comes_in() -> None:
    document = drill("D24", "--scale", "0.05")
    assert kinds(document) == ["fault", "recovery"]
    assert measured(document, "of a batch of 250") == 249
    assert measured(document, "bodies beyond it") == 6


def test_d26_passes_everything_on_while_repetitions_cannot_be_recognised() -> None:
    document = drill("D26", "--scale", "0.05")
    assert kinds(document) == ["fault", "alarm", "recovery", "note"]
    assert measured(document, "passed unchecked") > 0
    assert document["figures"]["passed_twice"] > 0, "the outage let nothing pass"


def test_d18_against_a_node_leaves_out_what_it_cannot_do_and_leaves_nothing_behind(node: Any) -> None:
    url = json.loads((node.data / "node.json").read_text())["url"]
    document = drill("D18", "--scale", "0.02", "--against", url, "--data", node.data)
    assert len(document["left_out"]) == 2
    assert {place["place"] for place in document["places"]} == {"refused", "delivered"}
    listed = subprocess.run(
        [POSTHOUSE, "endpoints", "list", "--data", str(node.data), "--json"], capture_output=True, text=True, check=True
    )
    assert json.loads(listed.stdout)["data"] == []


def test_d15_against_a_node_sees_the_kills_of_its_operator(tmp_path: Path) -> None:
    node = Node(tmp_path / "data")
    node.start()
    command = [POSTHOUSE, "drill", "D15", "--scale", "0.001", "--against", node.url, "--data", str(node.data)]
    try:
        running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        assert running.stderr is not None
        for line in running.stderr:
            if "kill your node now" in line:
                break
        node.kill()
        node.start()
        out, err = running.communicate(timeout=120)
    finally:
        node.stop()
    assert running.returncode == 0, out + err
    assert "pass  interruptions" in out


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_drill_ends_all_that_it_started(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "data"
    command = [POSTHOUSE, "drill", "D15", "--data", str(data)]
    running = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    assert running.stderr is not None
    for line in running.stderr:
        if re.search(r"kill \d+ of", line):
            break
    pids = {json.loads(path.read_text())["pid"] for path in data.glob("node.json")}
    running.send_signal(number)
    running.communicate(timeout=60)
    assert running.returncode == 130
    for pid in pids:
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)
    assert not list(data.glob("node.json"))
