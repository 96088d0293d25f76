from posthouse.testing.simulation.trace import Trace


def test_the_same_lines_have_the_same_digest_however_they_come() -> None:
    one, other = Trace(), Trace()
    for number in range(10_000):  # more than are hashed at once
        one.note("line", number)
        other.lines.append(f"line {number}")
    assert one.digest == other.digest
    assert one.count == other.count == 10_000


def test_another_order_or_split_has_another_digest() -> None:
    digests = set()
    for lines in (("a", "b"), ("b", "a"), ("ab",), ("a b",), ("a",)):
        trace = Trace()
        for line in lines:
            trace.note(line)
        digests.add(trace.digest)
    assert len(digests) == 5


def test_the_digest_can_be_read_at_any_time() -> None:
    one, other = Trace(), Trace()
    one.note("a")
    first = one.digest
    one.note("b", 1.5, "c")
    other.note("a")
    other.note("b", 1.5, "c")
    assert first != one.digest == other.digest


def test_the_tail_holds_the_last_lines() -> None:
    trace = Trace(tail=3)
    for number in range(9_000):
        trace.note("line", number)
    assert trace.tail == ("line 8997", "line 8998", "line 8999")
    assert Trace().tail == ()
