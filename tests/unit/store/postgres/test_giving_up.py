"""What has no answer through a pooler: nobody can see whether it is still under way, so it is given up after a time."""

from types import SimpleNamespace
from typing import Any

import pytest

from posthouse.store.postgres import store
from posthouse.testing.postgres.wire import ScriptedWire


async def test_it_is_given_up_only_after_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    nobody: Any = None  # is asked
    phone: Any = SimpleNamespace(pooled=True)
    is_gone = store._looker(phone, nobody)
    first, second = ScriptedWire(), ScriptedWire()
    assert not await is_gone(first)
    monkeypatch.setattr(store, "GIVEN_UP_S", 0.0)
    assert await is_gone(first)
    monkeypatch.setattr(store, "GIVEN_UP_S", 60.0)
    assert not await is_gone(second), "each from when it was looked at first"


async def test_without_a_pooler_the_server_is_asked() -> None:
    class Readers:
        async def quick(self, name: str, *args: object) -> list[dict[str, bool]]:
            assert (name, args) == ("is_gone", (1, "test"))
            return [{"gone": True}]

    readers: Any = Readers()
    phone: Any = SimpleNamespace(pooled=False)
    assert await store._looker(phone, readers)(ScriptedWire())
