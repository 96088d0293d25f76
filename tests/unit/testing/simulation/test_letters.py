"""Law: what simulated senders write is what the presets read in it, and is signed as they check it."""

from itertools import count
from random import Random

import pytest

from posthouse.core.errors import SignatureInvalid
from posthouse.providers.index import PRESETS
from posthouse.providers.received import Received, Unreadable
from posthouse.testing.simulation.key_host import key_at
from posthouse.testing.simulation.letters import SECRETS, Writer
from posthouse.testing.simulation.machine import EPOCH_MS
from posthouse.testing.simulation.plan import KEY_HOST, SourcePlan
from posthouse.testing.simulation.receiving import PROVIDERS
from posthouse.testing.simulation.records import Letter

LETTERS = 150


def letters(provider: str) -> list[Letter]:
    plan = SourcePlan(
        number=0,
        provider=provider,
        tenant="default",
        pause=1.0,
        batch_max=6,
        repeat_share=0.3,
        forged_share=0.2,
        odd_share=0.3,
        refuses=False,
    )
    writer = Writer(plan, Random(7), count(1), lambda: EPOCH_MS)
    return [writer.write(SECRETS[provider]) for _ in range(LETTERS)]


def is_genuine(received: Received, provider: str) -> bool:
    scheme = PRESETS[provider].scheme
    try:
        fetch = scheme.needs(received)
        document = None
        if fetch is not None:
            key = key_at(fetch.url.removeprefix(f"https://{KEY_HOST}"))
            document = b'{"signing_key":"%b"}' % key.encode()
        scheme.verify(received, [SECRETS[provider]], now_s=EPOCH_MS // 1_000, fetched=document)
    except SignatureInvalid:
        return False
    return True


@pytest.mark.parametrize("provider", PROVIDERS)
def test_what_a_letter_means_is_what_is_read_in_it(provider: str) -> None:
    preset = PRESETS[provider]
    written = letters(provider)
    assert len({letter.body for letter in written}) == LETTERS
    identities: dict[str, str] = {}
    for letter in written:
        received = Received.of("POST", "https://a.example/in/t", letter.headers, letter.body, EPOCH_MS)
        assert is_genuine(received, provider) is not letter.forged
        if not letter.readable:
            with pytest.raises(Unreadable):
                preset.read(received, letter.body)
            continue
        reading = preset.read(received, letter.body)
        assert reading.is_heartbeat is letter.beat
        read = [(i.type, i.data, i.occurred_at, i.ordering_key, preset.window_ms(i)) for i in reading.items]
        assert read == [(i.type, i.data, i.occurred_ms, i.ordering_key, i.window_ms) for i in letter.items]
        assert [i.contradiction is not None for i in reading.items] == [i.contradicts for i in letter.items]
        for meant, item in zip(letter.items, reading.items, strict=True):
            stands_for = item.identity or item.data.decode()
            assert identities.setdefault(meant.identity, stands_for) == stands_for


@pytest.mark.parametrize("provider", PROVIDERS)
def test_something_is_wrong_with_some_letters_only(provider: str) -> None:
    written = letters(provider)
    for share in (
        sum(letter.forged for letter in written),
        sum(any(item.contradicts for item in letter.items) for letter in written),
    ):
        assert LETTERS / 20 < share < LETTERS / 2
