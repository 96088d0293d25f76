"""``posthouse drill``: what it refuses, what it prints, and where the picture goes. What drills do is elsewhere."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

from posthouse.cli.exits import Exit
from posthouse.demo import node_process
from posthouse.drills import index
from posthouse.drills.drill import Drill
from posthouse.drills.index import DRILLS
from posthouse.drills.plan import DrillFailed, Look, Plan, Show
from posthouse.drills.recording import Kind, Recording, Sample
from posthouse.drills.report import Findings, Report, Then
from posthouse.sdk.client import Problem, Unreachable

Run = Callable[..., Any]


class Played:
    """Stands in for running a drill."""

    def __init__(self) -> None:
        self.plans: list[Plan] = []
        self.then = [Then("owed deliveries that never arrived", 0, "=", 0), Then("alarm", 3.25, "≤", 10, "s")]
        self.places: list[Mapping[str, Any]] = []
        self.error: BaseException | None = None

    def __call__(self, drill: Drill, show: Show) -> Report:
        self.plans.append(drill.plan)
        if self.error is not None:
            raise self.error
        show(Look(now_s=1.0, share=0.5, doing="publishing", accepted=3, delivered=2, waiting=1))
        recording = Recording()
        recording.add(Sample(0.0, 1, 1, 0))
        recording.mark(0.0, Kind.ALARM, "alarm")
        return Report(
            number=drill.number,
            title=drill.title,
            scale=drill.plan.scale,
            seed=drill.plan.seed,
            seconds=12.0,
            given=drill.given(),
            when=drill.when(),
            findings=Findings(then=self.then, places=self.places),
            left_out=drill.left_out(),
            recording=recording,
        )


@pytest.fixture
def played(monkeypatch: pytest.MonkeyPatch) -> Played:
    stand_in = Played()
    monkeypatch.setattr(index, "play", stand_in)
    monkeypatch.setattr(node_process, "end_on_signals", lambda: None)  # this process is the test's
    return stand_in


def test_the_list_names_every_drill(run: Run) -> None:
    ended = run("drill", "list")
    assert ended.code == Exit.OK
    for number, drill in DRILLS.items():
        assert number in ended.out
        assert drill.title in ended.out
    listed = run("drill", "list", "--json").document["data"]
    assert [each["drill"] for each in listed] == list(DRILLS)
    assert {each["drill"] for each in listed if not each["against"]} == {
        "D05",
        "D07",
        "D08",
        "D14",
        "D17",
        "D21",
        "D24",
        "D26",
    }


def test_given_when_then_verdict_and_how_to_run_it_again(run: Run, played: Played) -> None:
    ended = run("drill", "d15", "--scale", "0.05", "--seed", "7")
    assert ended.code == Exit.OK
    assert played.plans == [Plan(scale=0.05, seed=7)]
    lines = ended.out.splitlines()
    assert lines[0].startswith("D15  ")
    assert any(line.startswith("given ") for line in lines)
    assert any(line.startswith("when ") and "5 random instants" in line for line in lines)
    assert "then     pass  owed deliveries that never arrived       0  = 0" in lines
    assert "         pass  alarm                               3.25 s  ≤ 10 s" in lines
    assert "PASS: every rule was kept; it took 12 s." in lines
    assert lines[-1] == "again    posthouse drill D15 --scale 0.05 --seed 7"


def test_a_broken_rule_ends_with_1_and_is_named(run: Run, played: Played, tmp_path: Path) -> None:
    played.then.append(Then("owed deliveries that never arrived", 3, "=", 0))
    played.places.append({"what": "an event", "attempts": 3})
    ended = run("drill", "D15", "--picture", tmp_path / "run.svg")
    assert ended.code == Exit.FAILED
    assert "FAIL  owed deliveries that never arrived       3  = 0" in ended.out
    assert "FAIL: 1 rule was broken" in ended.out
    assert "WHAT      ATTEMPTS" in ended.out
    drawn = (tmp_path / "run.svg").read_text("utf-8")
    assert ">FAIL</text>" in drawn
    assert "3 instead of = 0" in drawn


def test_with_json_there_is_one_document_with_every_figure(run: Run, played: Played, tmp_path: Path) -> None:
    ended = run("drill", "D15", "--json", "--picture", tmp_path / "run.svg")
    assert ended.err == ""
    document = ended.document
    assert document["passed"] is True
    assert document["then"][1] == {
        "text": "alarm", "measured": 3.25, "relation": "≤", "bound": 10, "unit": "s", "holds": True
    }  # fmt: skip
    assert document["picture"] == str(tmp_path / "run.svg")
    assert document["replay"] == "posthouse drill D15 --scale 1 --seed 1"
    assert document["marks"][0]["kind"] == "alarm"
    ET.parse(tmp_path / "run.svg")  # noqa: S314 - made here


def test_without_being_asked_it_writes_no_file_and_with_data_it_draws_beside_it(
    run: Run, played: Played, tmp_path: Path
) -> None:
    assert run("drill", "D18", "--json").document["picture"] is None
    assert list(tmp_path.iterdir()) == []
    kept = tmp_path / "kept"
    assert run("drill", "D18", "--json", "--data", kept).document["picture"] == str(tmp_path / "kept-D18.svg")
    assert played.plans[-1].data == kept
    assert (tmp_path / "kept-D18.svg").exists()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("D99",), "There is no drill D99"),
        (("D05", "--against", "http://127.0.0.1:1"), "needs a node of its own"),
        (("D15", "--scale", "0"), "0"),
        (("D15", "--data", "full"), "is not empty"),
        (("D15", "--picture", "nowhere/run.svg"), "cannot be written"),
        (("D15", "--picture", "full"), "cannot be written"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_starts(
    run: Run, played: Played, tmp_path: Path, arguments: tuple[str, ...], says: str
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    ended = run("drill", *arguments, "--json")
    assert ended.code == Exit.USAGE
    assert says in ended.problem["title"]
    assert played.plans == []


def test_against_a_node_its_key_is_found_and_tried_first(run: Run, played: Played, api: Any, tmp_path: Path) -> None:
    api.on("GET /v1/endpoints", {"data": [], "next_cursor": None})
    (tmp_path / "api_key").write_text("secret\n")
    ended = run(
        "drill", "D15", "--against", "http://node.test", "--data", tmp_path, "--listen", "10.0.0.7", "--scale", "0.5"
    )
    assert ended.code == Exit.OK
    assert played.plans == [Plan(scale=0.5, seed=1, against="http://node.test", api_key="secret", listen="10.0.0.7")]
    assert "without  the kills" in ended.out
    assert ended.out.endswith("--seed 1 --against http://node.test --listen 10.0.0.7\n")
    assert list(tmp_path.glob("*.svg")) == []


def test_a_node_that_refuses_the_key_is_not_drilled(run: Run, played: Played, api: Any) -> None:
    api.refuse("GET /v1/endpoints", 401, "unauthorized", "The API key is not valid.")
    assert run("drill", "D15", "--against", "http://node.test").code == Exit.UNAUTHORIZED
    assert played.plans == []


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (DrillFailed("it gave up"), Exit.FAILED),
        (Unreachable("nobody there"), Exit.UNREACHABLE),
        (Problem(403, {"code": "forbidden", "title": "no"}), Exit.UNAUTHORIZED),
        (KeyboardInterrupt(), Exit.INTERRUPTED),
    ],
)
def test_a_drill_that_cannot_be_finished_is_neither_passed_nor_failed(
    run: Run, played: Played, error: BaseException, code: Exit
) -> None:
    played.error = error
    ended = run("drill", "D15")
    assert ended.code == code
    assert "PASS" not in ended.out
