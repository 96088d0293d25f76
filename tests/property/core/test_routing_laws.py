import re

from hypothesis import given
from hypothesis import strategies as st

from posthouse.core.errors import InvalidInput
from posthouse.core.routing import Router, validate_event_type, validate_pattern

# A small alphabet, so that types and patterns often meet.
WORDS = st.text("ab", min_size=1, max_size=2)
SEPARATORS = st.sampled_from(".:/-_")
PIECES = st.lists(st.tuples(WORDS, SEPARATORS), max_size=3).map(lambda pairs: "".join(w + s for w, s in pairs))
TYPES = st.builds(str.__add__, PIECES, WORDS)
PATTERNS = st.one_of(st.just("*"), TYPES, PIECES.filter(bool).map(lambda prefix: prefix + "*"))


def takes(pattern: str, event_type: str) -> bool:
    """The rule as a regular expression: the star stands for anything."""
    return re.fullmatch(re.escape(pattern).replace(r"\*", ".*"), event_type) is not None


@given(st.dictionaries(st.integers(0, 50), st.lists(PATTERNS, max_size=4), max_size=8), st.lists(TYPES, max_size=8))
def test_a_router_finds_just_the_endpoints_with_a_pattern_that_takes_the_type(
    patterns: dict[int, list[str]], types: list[str]
) -> None:
    """Ascending, each once, and the same when it is asked again."""
    router = Router(patterns)
    for event_type in types + types:
        expected = sorted(key for key, wanted in patterns.items() if any(takes(p, event_type) for p in wanted))
        assert list(router.match(event_type)) == expected


@given(TYPES, PATTERNS)
def test_what_is_built_by_the_rules_is_valid(event_type: str, pattern: str) -> None:
    validate_event_type(event_type)
    validate_pattern(pattern)


@given(st.text(max_size=140))
def test_any_text_is_valid_or_refused_and_a_type_is_also_a_pattern(text: str) -> None:
    try:
        validate_event_type(text)
    except InvalidInput:
        return
    validate_pattern(text)
    assert Router({1: [text]}).match(text) == (1,)


@given(st.text("ab.*:", max_size=6))
def test_a_valid_pattern_has_no_star_but_at_its_end(pattern: str) -> None:
    try:
        validate_pattern(pattern)
    except InvalidInput:
        return
    assert "*" not in pattern[:-1]
    assert pattern == "*" or not pattern.endswith("*") or pattern[-2] in ".:"
