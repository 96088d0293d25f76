"""The laws of turns: over any crowd and any history of who could send."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.model import Lane
from posthouse.core.schedule import OTHERS_PART, Answer, Lanes, Rotation

SENDING = (Lane.LIVE, Lane.RETRY, Lane.BACKLOG)
Window = tuple[Lane, int, int]  # lane, group, number


@st.composite
def crowds(draw: st.DrawFn) -> dict[Window, int]:
    """Windows of a few groups in the lanes, and how much each has to send."""
    windows = st.tuples(st.sampled_from(SENDING), st.integers(0, 3), st.integers(0, 3))
    return draw(st.dictionaries(windows, st.integers(0, 12), max_size=20))


class Crowd:
    """Answers as a node does: with what is left, and LAST with the last one."""

    def __init__(self, work: dict[Window, int]) -> None:
        self.left = dict(work)
        self.taken: list[Window] = []
        self.asked = 0
        self.lanes: Lanes[int, Window] = Lanes(lambda group: group + 1)
        for window in work:
            self.lanes.add(window[0], window[1], window)

    def ask(self, window: Window) -> Answer:
        self.asked += 1
        if not self.left[window]:
            return Answer.AWAY
        self.left[window] -= 1
        self.taken.append(window)
        return Answer.TAKEN if self.left[window] else Answer.LAST


@given(crowds(), st.lists(st.integers(0, 30), max_size=10))
def test_no_turn_is_lost_while_somebody_can_use_it(work: dict[Window, int], capacities: list[int]) -> None:
    crowd = Crowd(work)
    for capacity in capacities:
        left = sum(crowd.left.values())
        assert crowd.lanes.choose(capacity, crowd.ask) == min(capacity, left)


@given(crowds(), st.integers(1, 60))
def test_nobody_is_asked_for_nothing_twice(work: dict[Window, int], capacity: int) -> None:
    crowd = Crowd(work)
    while crowd.lanes.choose(capacity, crowd.ask):
        pass
    assert crowd.asked <= sum(work.values()) + len(work)


@given(crowds(), st.integers(1, 7))
def test_of_any_five_turns_one_is_for_the_others_while_both_have_work(work: dict[Window, int], capacity: int) -> None:
    crowd = Crowd(work)
    while crowd.lanes.choose(capacity, crowd.ask):
        pass
    live = [window[0] is Lane.LIVE for window in crowd.taken]
    both = min(live.count(True), live.count(False))
    end = len(live) if not both else min(_end_of(live, of=True), _end_of(live, of=False))
    for start in range(end - OTHERS_PART + 1 if both else 0):
        assert live[start : start + OTHERS_PART].count(False) == 1


def _end_of(live: list[bool], *, of: bool) -> int:
    """Behind the last turn of a side."""
    return len(live) - live[::-1].index(of)


@given(st.dictionaries(st.integers(0, 5), st.integers(1, 7), min_size=1), st.integers(1, 10))
def test_busy_groups_get_turns_by_their_weights(weights: dict[int, int], rounds: int) -> None:
    rotation: Rotation[int, int] = Rotation(weights.__getitem__)
    for group in weights:
        rotation.add(group, group)
    taken: Counter[int] = Counter()

    def ask(group: int) -> Answer:
        taken[group] += 1
        return Answer.TAKEN

    for _ in range(rounds * sum(weights.values())):
        rotation.serve(ask)
    assert taken == {group: rounds * weight for group, weight in weights.items()}


@given(st.integers(1, 9), st.integers(0, 60))
def test_busy_members_of_a_group_differ_by_one_turn_at_most(members: int, turns: int) -> None:
    rotation: Rotation[str, int] = Rotation(lambda _: 3)
    for member in range(members):
        rotation.add("one", member)
    taken = Counter(dict.fromkeys(range(members), 0))

    def ask(member: int) -> Answer:
        taken[member] += 1
        return Answer.TAKEN

    for _ in range(turns):
        rotation.serve(ask)
    assert max(taken.values()) - min(taken.values()) <= 1


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("add"), st.integers(0, 3), st.integers(0, 99)),
            st.tuples(st.just("serve"), st.sampled_from(list(Answer)), st.just(0)),
            st.tuples(st.just("restore"), st.integers(0, 3), st.just(0)),
        ),
        max_size=60,
    )
)
def test_who_is_in_is_served_whatever_came_before(steps: list[tuple[str, int | Answer, int]]) -> None:
    """After any history: all who were added and did not leave take part, but for groups that are away."""
    rotation: Rotation[int, tuple[int, int]] = Rotation(lambda _: 2)
    members: set[tuple[int, int]] = set()
    away: set[int] = set()
    for number, (what, value, name) in enumerate(steps):
        if what == "add" and isinstance(value, int):
            member = (value, name * 100 + number)
            members.add(member)
            rotation.add(value, member)
        elif what == "restore" and isinstance(value, int):
            away.discard(value)
            rotation.restore(value)
        elif isinstance(value, Answer):

            def ask(member: tuple[int, int], answer: Answer = value) -> Answer:
                assert member in members
                assert member[0] not in away
                if answer in {Answer.LAST, Answer.AWAY}:
                    members.discard(member)
                elif answer is Answer.GROUP_AWAY:
                    away.add(member[0])
                return answer

            rotation.serve(ask)
    found: set[tuple[int, int]] = set()

    def leave(member: tuple[int, int]) -> Answer:
        found.add(member)
        return Answer.AWAY

    assert not rotation.serve(leave)
    assert found == {member for member in members if member[0] not in away}
