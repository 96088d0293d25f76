"""The faults that drills put behind a node's ports: there when switched on, and only there."""

from pathlib import Path

import pytest

from posthouse.core.errors import StoreUnavailable
from posthouse.core.failpoints import Failpoint
from posthouse.drills.faulty_node import (
    CRASH_TYPE,
    FAULTS,
    SWITCH_FILE,
    Crashing,
    Full,
    InducedFault,
    Skipping,
    Switch,
)
from posthouse.testing.scripted_transport import ScriptedTransport, answer
from posthouse.transport.protocol import Request


def raised(skipping: Skipping) -> set[Failpoint]:
    """The boundaries at which it raises."""
    found = set()
    for failpoint in Failpoint:
        try:
            skipping(failpoint)
        except InducedFault:
            found.add(failpoint)
    return found


def test_skipping_follows_its_switch(tmp_path: Path) -> None:
    skipping = Skipping(tmp_path)
    assert raised(skipping) == set()
    (tmp_path / SWITCH_FILE).write_text(Switch.SKIP)
    assert raised(skipping) == {Failpoint.ACCEPT_ANSWERED, Failpoint.ADOPT_READING}
    (tmp_path / SWITCH_FILE).write_text(Switch.UNREADABLE)
    assert raised(skipping) == {Failpoint.ADOPT_READING}
    (tmp_path / SWITCH_FILE).unlink()
    assert raised(skipping) == set()


def test_a_full_disk_takes_no_transaction_while_its_switch_says_so(tmp_path: Path) -> None:
    full = Full(tmp_path)
    for failpoint in Failpoint:
        full(failpoint)
    (tmp_path / SWITCH_FILE).write_text(Switch.FULL)
    with pytest.raises(StoreUnavailable):
        full(Failpoint.COMMIT_BEGUN)
    for failpoint in set(Failpoint) - {Failpoint.COMMIT_BEGUN}:
        full(failpoint)


async def test_the_crashing_transport_crashes_on_one_type_only() -> None:
    transport = Crashing(ScriptedTransport(lambda _: answer(200)))
    well = Request("http://127.0.0.1/", {}, b'{"type":"drill.a","timestamp":"","data":{}}')
    assert (await transport.send(well)).status == 200
    with pytest.raises(InducedFault):
        await transport.send(Request("http://127.0.0.1/", {}, f'{{"type":"{CRASH_TYPE}","data":{{}}}}'.encode()))
    await transport.close()


def test_every_fault_makes_a_machine(tmp_path: Path) -> None:
    for make in FAULTS.values():
        assert make(tmp_path) is not None
