"""Whose turn it is, by examples; the laws are in tests/property/core/test_schedule_laws.py."""

from collections.abc import Callable, Mapping

from posthouse.core.model import Lane
from posthouse.core.schedule import Answer, Lanes, Rotation

LIVE, RETRY, BACKLOG = Lane.LIVE, Lane.RETRY, Lane.BACKLOG


def one_each(_: str) -> int:
    return 1


def rotation(weights: Mapping[str, int], **members: str) -> Rotation[str, str]:
    """A rotation of ``member="its group"``."""
    made: Rotation[str, str] = Rotation(lambda group: weights.get(group, 1))
    for member, group in members.items():
        made.add(group, member)
    return made


def served(turns: Rotation[str, str], count: int, answer: Callable[[str], Answer] = lambda _: Answer.TAKEN) -> str:
    """The members that took so many turns, in order."""
    taken: list[str] = []

    def ask(member: str) -> Answer:
        given = answer(member)
        if given in {Answer.TAKEN, Answer.LAST}:
            taken.append(member)
        return given

    for _ in range(count):
        turns.serve(ask)
    return "".join(taken)


def test_groups_take_turns_and_so_do_their_members() -> None:
    turns = rotation({}, a="one", b="one", c="two")
    assert served(turns, 8) == "acbcacbc"


def test_a_weight_is_so_many_turns_in_a_row() -> None:
    turns = rotation({"one": 3}, a="one", b="one", c="two")
    assert served(turns, 8) == "abacbabc"


def test_who_took_its_last_leaves() -> None:
    turns = rotation({}, a="one", b="one")
    assert served(turns, 3, lambda member: Answer.LAST if member == "a" else Answer.TAKEN) == "abb"


def test_who_has_nothing_is_asked_once_and_leaves() -> None:
    asked: list[str] = []

    def ask(member: str) -> Answer:
        asked.append(member)
        return Answer.AWAY if member == "a" else Answer.TAKEN

    turns = rotation({}, a="one", b="one", c="two")
    for _ in range(4):
        assert turns.serve(ask)
    assert asked == ["a", "b", "c", "b", "c"]


def test_a_group_that_is_away_comes_back_as_it_was() -> None:
    turns = rotation({}, a="one", b="one", c="two")
    away = {"a"}
    assert served(turns, 3, lambda m: Answer.GROUP_AWAY if m in away else Answer.TAKEN) == "ccc"
    turns.add("one", "d")
    assert served(turns, 1) == "c"
    away.clear()
    turns.restore("one")
    turns.restore("one")
    assert served(turns, 6) == "cacbcd"


def test_a_rotation_without_anybody_serves_nobody() -> None:
    turns = rotation({}, a="one")
    assert bool(turns)
    assert not turns.serve(lambda _: Answer.AWAY)
    assert not bool(turns)
    assert not turns.serve(lambda _: Answer.TAKEN)


def test_live_goes_first_and_every_fifth_turn_is_for_the_others() -> None:
    lanes: Lanes[str, Lane] = Lanes(one_each)
    for lane in (LIVE, RETRY, BACKLOG):
        lanes.add(lane, "one", lane)
    taken: list[Lane] = []

    def ask(lane: Lane) -> Answer:
        taken.append(lane)
        return Answer.TAKEN

    assert lanes.choose(15, ask) == 15
    assert taken == [*[LIVE] * 4, RETRY, *[LIVE] * 4, BACKLOG, *[LIVE] * 4, RETRY]


def test_turns_are_counted_over_many_calls() -> None:
    """A node under load has room for one at a time."""
    lanes: Lanes[str, Lane] = Lanes(one_each)
    lanes.add(LIVE, "one", LIVE)
    lanes.add(RETRY, "one", RETRY)
    taken: list[Lane] = []

    def ask(lane: Lane) -> Answer:
        taken.append(lane)
        return Answer.TAKEN

    for _ in range(10):
        lanes.choose(1, ask)
    assert taken == [LIVE, LIVE, LIVE, LIVE, RETRY] * 2


def test_what_one_side_cannot_use_goes_to_the_other() -> None:
    for lane in (LIVE, RETRY, BACKLOG):
        lanes: Lanes[str, Lane] = Lanes(one_each)
        lanes.add(lane, "one", lane)
        assert lanes.choose(10, lambda _: Answer.TAKEN) == 10
