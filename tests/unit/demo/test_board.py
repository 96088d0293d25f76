"""The demo's board and its reckoning."""

import io
import sys
from typing import Any

import pytest
from rich.console import Console

from posthouse.cli.demo_view import PlainView, drawing, numbers, reckoning_lines
from posthouse.core.routing import validate_event_type
from posthouse.demo.board import Behaviour, Board, Reckoning, Row, Tally, reckon
from posthouse.demo.payloads import payloads

PROMISED = {"a": "1", "b": "2"}


def reckoned(*ledgers: dict[str, str], imbalance: int = 0, **tally: int) -> Reckoning:
    return reckon(PROMISED, ledgers, [Tally(**tally)], imbalance=imbalance)


def test_everything_arrived() -> None:
    found = reckoned(PROMISED, PROMISED, verified=4)
    assert (found.owed, found.delivered, found.lost, found.altered) == (4, 4, 0, 0)
    assert found.holds


@pytest.mark.parametrize(
    "found",
    [
        reckoned(PROMISED, {"a": "1"}),
        reckoned({}, {}),
        reckoned(PROMISED, {"a": "1", "b": "x"}),
        reckoned(PROMISED, bad_signatures=1),
        reckoned(PROMISED, changed=1),
        reckoned(PROMISED, imbalance=-1),
    ],
    ids=["lost", "all lost", "altered", "signature", "changed", "imbalance"],
)
def test_any_flaw_breaks_the_promise(found: Reckoning) -> None:
    assert not found.holds
    assert reckoning_lines(found)[-1] == "THE PROMISE WAS BROKEN."


def test_events_without_a_202_are_not_counted() -> None:
    """Nothing was promised for them, so they are neither lost nor delivered."""
    assert reckoned({**PROMISED, "never promised": "3"}).delivered == 2


def test_duplicates_are_explained() -> None:
    found = reckoned(PROMISED, duplicates=5, duplicates_over_kill=4)
    assert found.holds
    assert found.unexplained == 1
    text = "\n".join(reckoning_lines(found))
    assert "5 (4 answered just before the kill, sent once more after it; 1 for another reason)" in text


def board() -> Board:
    rows = [Row(name=b.value, behaviour=b, endpoint=f"ep_{b}") for b in Behaviour]
    made = Board(events_total=10, rows=rows, acknowledged=4)
    made.say("something happened")
    return made


def test_board_takes_over_the_books() -> None:
    made = board()
    entry: dict[str, Any] = {
        "endpoint": "ep_good",
        "owed": 4,
        "delivered": 1,
        "waiting": 2,
        "retrying": 1,
        "exhausted": 0,
        "discarded": 0,
    }
    made.balance({"imbalance": 0, "endpoints": [entry]})
    assert made.open == 3
    assert "good 0 delivered 3 open" in numbers(made)


def test_lines_are_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    made = board()
    view = PlainView(sys.stdout)
    view.show(made)
    view.show(made)
    made.now_s = 100.0
    view.show(made)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("  ")[-1] for line in lines if "something" in line] == ["something happened"]
    assert sum("4/10 acknowledged" in line for line in lines) == 2


def test_board_can_be_drawn() -> None:
    made = board()
    made.now_s = 3.0
    console = Console(width=120, file=io.StringIO(), record=True)
    console.print(drawing(made))
    text = console.export_text()
    assert "node DOWN" in text
    assert "hanging (hangs, then recovers)" in text
    assert "something happened" in text


def test_payloads_are_many_real_and_valid() -> None:
    """At least a hundred, of every kind that there is, with types that a node accepts."""
    found = payloads()
    assert len(found) >= 100
    assert len({payload.type.partition(".")[0] for payload in found}) == 58
    for payload in found:
        validate_event_type(payload.type)
