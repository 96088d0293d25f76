"""The model of a page cache over sectors: what a power cut may leave of a file, and what it must leave."""

from collections.abc import Callable
from random import Random

import pytest

from posthouse.testing.disk.content import SECTOR, Content

SEEDS = range(300)


def outcomes(make: Callable[[], Content]) -> set[bytes]:
    """Everything that cuts of many seeds leave."""
    return {make().cut_power(Random(seed)) for seed in SEEDS}


def test_what_was_synced_survives_every_cut() -> None:
    def make() -> Content:
        content = Content(b"a" * 100)
        content.write(50, b"b" * 1_000)
        content.truncate(900)
        content.sync()
        return content

    assert outcomes(make) == {b"a" * 50 + b"b" * 850}


def test_every_sector_is_as_it_was_after_some_of_the_writes_to_it() -> None:
    """Written without growing: no byte of a sector is older or newer than the rest of it."""
    sectors = 6
    for seed in SEEDS:
        chance = Random(seed)
        content = Content(bytes(sectors * SECTOR))
        view = bytearray(sectors * SECTOR)
        possible = [{bytes(SECTOR)} for _ in range(sectors)]
        for _ in range(chance.randrange(1, 12)):
            offset = chance.randrange(sectors * SECTOR - 1)
            data = chance.randbytes(chance.randrange(1, min(1_500, sectors * SECTOR - offset) + 1))
            content.write(offset, data)
            view[offset : offset + len(data)] = data
            for sector in range(sectors):
                possible[sector].add(bytes(view[sector * SECTOR : (sector + 1) * SECTOR]))
        left = content.cut_power(chance)
        for sector in range(sectors):
            assert left[sector * SECTOR : (sector + 1) * SECTOR] in possible[sector]


def test_writes_are_kept_lost_reordered_and_torn() -> None:
    def make() -> Content:
        content = Content(b"-" * 3 * SECTOR)
        content.write(0, b"1" * SECTOR)
        content.write(SECTOR, b"2" * 2 * SECTOR)
        return content

    found = {left[::SECTOR] for left in outcomes(make)}
    assert {b"---", b"122", b"1--", b"-22", b"-2-", b"--2"} <= found


def test_an_append_may_leave_nothing_zeros_or_garbage() -> None:
    def make() -> Content:
        content = Content(b"old")
        content.write(SECTOR, b"new" * SECTOR)
        return content

    found = outcomes(make)
    assert b"old" in found
    assert all(left.startswith(b"old") for left in found)
    grown = {left for left in found if len(left) == 4 * SECTOR}
    assert any(left[SECTOR:] == b"new" * SECTOR for left in grown)
    assert any(left[3:] == bytes(4 * SECTOR - 3) for left in grown)
    assert any(left[3:SECTOR].strip(b"\0") for left in grown), "what stood there before"


def test_a_truncation_that_was_not_synced_may_have_happened() -> None:
    def make() -> Content:
        content = Content(b"x" * 2_000)
        content.truncate(700)
        return content

    assert outcomes(make) == {b"x" * 700, b"x" * 2_000}


def test_a_cut_is_the_end_of_all_doubt() -> None:
    content = Content(bytes(2_000))
    content.write(0, b"x" * 2_000)
    left = content.cut_power(Random(3))
    assert [content.cut_power(Random(seed)) for seed in range(20)] == [left] * 20


def test_what_a_failed_sync_gave_up_no_later_sync_brings_back() -> None:
    """As systems do it: after the error the page counts as clean, and nobody writes it any more."""
    kept = set()
    for seed in SEEDS:
        content = Content(bytes(2 * SECTOR))
        content.write(0, b"1" * SECTOR)
        content.write(SECTOR, b"2" * SECTOR)
        content.fail_sync(Random(seed))
        content.sync()
        kept.add(content.cut_power(Random(seed))[::SECTOR])
    assert kept == {b"\0\0", b"1\0", b"\0" + b"2", b"12"}


def test_a_sector_that_is_written_anew_takes_along_what_was_given_up() -> None:
    for seed in SEEDS:
        content = Content(bytes(SECTOR))
        content.write(0, b"1")
        content.fail_sync(Random(seed))
        content.write(1, b"2")
        content.sync()
        assert content.cut_power(Random(seed))[:2] == b"12"


@pytest.mark.parametrize(("offset", "size"), [(0, 512), (1, 511), (1, 512), (511, 2), (100, 2_000)])
def test_the_size_is_that_which_a_process_sees(offset: int, size: int) -> None:
    content = Content(b"12345")
    content.write(offset, b"x" * size)
    assert content.size == offset + size
    content.truncate(3)
    assert content.size == 3
    content.sync()
    assert len(content.cut_power(Random(0))) == 3


def test_the_same_chance_leaves_the_same() -> None:
    def left(seed: int) -> bytes:
        content = Content(bytes(4_000))
        for i in range(20):
            content.write(i * 190, bytes([i]) * 700)
        return content.cut_power(Random(seed))

    assert [left(seed) for seed in range(20)] == [left(seed) for seed in range(20)]
    assert len({left(seed) for seed in range(20)}) > 10
