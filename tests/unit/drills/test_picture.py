"""The picture: well formed, with everything inside its axes, whatever the recording holds."""

import re
from xml.etree import ElementTree as ET

import pytest

from posthouse.drills.picture import HEIGHT, WIDTH, Caption, Panel, draw, placed, ticks
from posthouse.drills.recording import Kind, Recording, Sample

SVG = "{http://www.w3.org/2000/svg}"
CAPTION = Caption(number="D99", title="<a> & b", passed=True, details="scale 1", footer="again: x > y")
NUMBER = re.compile(r"-?\d+(?:\.\d+)?")


def recording(*, seconds: int = 60, marks: int = 0) -> Recording:
    """A run at 100 events a second, in which deliveries stand still for ten seconds."""
    made = Recording()
    for tenth in range(seconds * 10):
        accepted = tenth * 10
        delivered = 2_000 if 200 < tenth < 300 else accepted
        made.add(Sample(tenth / 10, accepted, delivered, accepted - delivered))
    for number in range(marks):
        made.mark(number * seconds / marks, Kind.FAULT, f"kill {number}", until_s=number * seconds / marks + 0.1)
    return made


def parsed(made: Recording) -> ET.Element:
    return ET.fromstring(draw(made, CAPTION))  # noqa: S314 - made here


def classes(element: ET.Element) -> set[str]:
    return set((element.get("class") or "").split())


def find(root: ET.Element, *names: str) -> list[ET.Element]:
    return [element for element in root.iter() if set(names) <= classes(element)]


def panels(root: ET.Element) -> list[tuple[float, float, float, float]]:
    """Left, top, right, bottom of both."""
    found = []
    for rect in find(root, "panel"):
        x, y, width, height = (float(rect.get(name) or 0) for name in ("x", "y", "width", "height"))
        found.append((x, y, x + width, y + height))
    return found


def points(path: ET.Element) -> list[tuple[float, float]]:
    """The corners of a path that has only absolute M and L."""
    numbers = [float(text) for text in NUMBER.findall((path.get("d") or "").removesuffix("Z"))]
    return list(zip(numbers[::2], numbers[1::2], strict=True))


def curve(root: ET.Element, name: str) -> ET.Element:
    """The line of a series: the last of its class, since the legend stands above."""
    return find(root, "series", name)[-1]


def test_the_lines_stay_inside_their_panels_and_span_them() -> None:
    root = parsed(recording())
    upper, lower = panels(root)
    for name, (left, top, right, bottom) in (("accepted", upper), ("delivered", upper), ("waiting", lower)):
        corners = points(curve(root, name))
        assert all(left <= x <= right and top <= y <= bottom for x, y in corners)
        assert min(x for x, _ in corners) == left
        assert max(x for x, _ in corners) == pytest.approx(right, abs=2)
        assert min(y for _, y in corners) < top + 0.1 * (bottom - top), "the scale fits the data"


def test_what_waits_is_shown_where_it_waited() -> None:
    root = parsed(recording())
    _, (left, _, right, bottom) = panels(root)
    high = [x for x, y in points(curve(root, "waiting")) if y < bottom - 1]
    assert (right - left) / 60 * 20 < min(high) - left
    assert max(high) - left < (right - left) / 60 * 31


def test_a_spike_of_one_sample_is_not_lost_among_thousands() -> None:
    made = Recording()
    for number in range(1_900):
        made.add(Sample(number / 100, number, number, 1_000 if number == 777 else 0))
    root = parsed(made)
    _, (_, top, _, bottom) = panels(root)
    assert min(y for _, y in points(curve(root, "waiting"))) < top + 0.1 * (bottom - top)


def test_every_mark_is_drawn_inside_and_says_what_it_is() -> None:
    made = recording(marks=100)
    made.mark(30.0, Kind.ALARM, "the alarm <now>")
    made.mark(59.9, Kind.RECOVERY, "recovered")
    root = parsed(made)
    upper, _ = panels(root)
    lines = find(root, "mark")
    assert len(lines) == len(made.marks)
    for line in lines:
        x = float(NUMBER.findall(line.get("d") or "")[0])
        assert upper[0] <= x <= upper[2]
    titles = {title.text for title in root.iter(f"{SVG}title")}
    assert {"kill 57, at 34.2 s", "the alarm <now>, at 30.0 s", "recovered, at 59.9 s"} <= titles
    labels = {label.text for label in find(root, "label")}
    assert {"the alarm <now>", "recovered"} <= labels, "what is rare has room before what is not"


def test_what_lasted_is_a_band() -> None:
    made = recording()
    made.mark(20.0, Kind.FAULT, "stuck", until_s=30.0)
    root = parsed(made)
    bands = find(root, "band", "fault-fill")
    left, _, right, _ = panels(root)[0]
    assert len(bands) == 2
    assert float(bands[0].get("width") or 0) == pytest.approx((right - left) / 6, abs=1)


def test_labels_do_not_overlap_and_stay_on_the_page() -> None:
    panel = Panel(76, 932, 158, 382, 60, 1)
    taken: dict[float, list[tuple[float, float]]] = {}
    for label in placed(recording(marks=100).marks, panel):
        width = 6.1 * len(label.mark.text)
        begins = label.x - width if label.anchor == "end" else label.x
        assert panel.left <= begins
        assert begins + width <= WIDTH
        assert all(begins + width < left or right < begins for left, right in taken.get(label.y, []))
        taken.setdefault(label.y, []).append((begins, begins + width))
    assert sum(map(len, taken.values())) >= 15


@pytest.mark.parametrize("samples", [[], [Sample(0.0, 0, 0, 0)], [Sample(2.0, 7, 5, 2)]])
def test_nothing_and_next_to_nothing_can_be_drawn(samples: list[Sample]) -> None:
    made = Recording()
    for sample in samples:
        made.add(sample)
    root = parsed(made)
    assert (root.get("width"), root.get("height")) == (str(WIDTH), str(HEIGHT))
    assert len(find(root, "heap")) == bool(samples)


@pytest.mark.parametrize(("passed", "word"), [(True, "PASS"), (False, "FAIL")])
def test_the_words_are_there(passed: bool, word: str) -> None:
    caption = Caption(number="D99", title="<a> & b", passed=passed, details="scale 1", footer="again: x > y")
    root = ET.fromstring(draw(recording(), caption))  # noqa: S314 - made here
    texts = {text.text for text in root.iter(f"{SVG}text")}
    assert {"D99", "<a> & b", word, "scale 1", "again: x > y"} <= texts
    assert {"accepted", "delivered", "waiting"} <= texts, "the legend"
    assert {"deliveries so far", "waiting now", "time since the first event, s"} <= texts, "the axes"


def test_dark_pages_have_their_own_colours() -> None:
    assert "prefers-color-scheme: dark" in draw(recording(), CAPTION)


def test_a_long_run_counts_minutes() -> None:
    texts = {text.text for text in parsed(recording(seconds=600)).iter(f"{SVG}text")}
    assert "time since the first event, min" in texts
    assert {"0", "2", "9"} <= texts


@pytest.mark.parametrize(
    ("most", "wanted"), [(1, [0, 0.2, 0.4, 0.6, 0.8, 1]), (10, [0, 2, 4, 6, 8, 10]), (7, [0, 2, 4, 6])]
)
def test_ticks_are_round(most: float, wanted: list[float]) -> None:
    assert ticks(most, 5) == pytest.approx(wanted)


def test_ticks_are_neither_few_nor_many() -> None:
    for most in [10**power * factor for power in range(-1, 7) for factor in (1, 1.01, 1.9, 2.5, 4.9, 7.7, 9.99)]:
        found = ticks(most, 5)
        assert found[0] == 0
        assert found[-1] <= most * (1 + 1e-9)
        assert 3 <= len(found) <= 6
