"""What holds for every preset."""

import re
from pathlib import Path

import pytest
from hypothesis import given, note, settings
from hypothesis import strategies as st

from posthouse.core.errors import InvalidInput, SignatureInvalid
from posthouse.core.routing import validate_event_type
from posthouse.providers import senders
from posthouse.providers.index import PRESETS, preset_named
from posthouse.providers.preset import Preset, Reading
from posthouse.providers.received import Received, Unreadable

NAMES = ("content-type", "x-signature", "webhook-id", "x-hook-secret", "authorization", "x-github-event")
BODIES = (
    st.binary(max_size=60)
    | st.sampled_from(
        [
            b"",
            b"null",
            b"[]",
            b"{}",
            b"[1e999,]",
            b"[1e999]",
            b'{"type":"\\ud800","n":1e999}',
            b"[" * 5_000,
            b"1" * 5_000,
            b'{"events":[{}]}',
            b"a=b",
        ]
    )
    | st.builds(lambda key, digits: b'{"%b":"%b"}' % (key, b"1" * digits), st.just(b"created"), st.integers(0, 5_000))
)

REQUESTS = st.builds(
    Received.of,
    method=st.sampled_from(["POST", "GET", "HEAD"]),
    url=st.sampled_from(["https://e.com/in/x?hub.mode=subscribe&hub.challenge=1", "", "https://[", "\udcff"]),
    headers=st.lists(st.tuples(st.sampled_from(NAMES), st.text(max_size=30) | st.just("\udcff")), max_size=4).map(
        tuple
    ),
    body=BODIES,
    at=st.just(1_800_000_000_000),
)


@pytest.fixture(params=sorted(PRESETS))
def preset(request: pytest.FixtureRequest) -> Preset:
    return PRESETS[request.param]


def test_each_module_is_in_the_index() -> None:
    modules = {path.stem for path in Path(senders.__file__).parent.glob("[!_]*.py")}
    assert {name.replace("-", "_") for name in PRESETS} == modules


def test_an_unknown_name_is_told_all_names() -> None:
    with pytest.raises(InvalidInput, match="no preset") as caught:
        preset_named("acme")
    assert caught.value.advice is not None
    assert all(name in caught.value.advice for name in PRESETS)


def test_a_preset_says_what_people_need(preset: Preset) -> None:
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", preset.name)
    assert preset.title
    assert preset.docs.startswith("https://")
    assert preset.secret_help.endswith(".")
    assert preset.sender.known
    assert preset.window_seconds >= 0


def test_what_it_answers_means_what_it_should_to_this_sender(preset: Preset) -> None:
    """Accepted ends it; an overload is answered so that it comes again, if anything makes it come again."""
    answers, sender = preset.answers, preset.sender
    assert not sender.retries(answers.accepted)
    assert 200 <= answers.accepted < 300
    ever = any(sender.retries(status) for status in range(400, 600))
    assert sender.retries(answers.overload) is ever


@settings(max_examples=4 * settings().max_examples)
@given(received=REQUESTS, secrets=st.lists(st.text(max_size=30) | st.just("\udcff"), max_size=2))
def test_whatever_comes_it_is_refused_or_read(received: Received, secrets: list[str]) -> None:
    """By every preset there is; with a reason, and nothing else."""
    for preset in PRESETS.values():
        note(preset.name)
        try:
            preset.scheme.needs(received)
            preset.scheme.verify(received, secrets, now_s=1_800_000_000)
            if preset.handshake is not None:
                preset.handshake(received, secrets)
        except SignatureInvalid as error:
            assert error.reason  # noqa: PT017 - either is right
        try:
            reading = preset.read(received, received.body)
        except Unreadable:
            reading = Reading()
        for item in reading.items:
            validate_event_type(item.type)
            assert item.sequence is None or 0 <= item.sequence < 1 << 63
