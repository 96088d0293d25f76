"""A node runs only where its events are."""

from contextlib import closing
from pathlib import Path

import apsw
import pytest

from posthouse.core.errors import StoreMoved
from posthouse.store.open import open_store
from posthouse.store.shared.custody import OWN, Custody, Holding
from posthouse.store.sqlite.custody import custody_in, put_custody
from posthouse.testing.manual_clock import ManualClock


async def test_a_new_store_is_its_own(tmp_path: Path) -> None:
    await (await open_store(tmp_path, clock=ManualClock())).close()
    with closing(apsw.Connection(str(tmp_path / "posthouse.db"))) as connection:
        assert custody_in(connection) == OWN


@pytest.mark.parametrize(
    ("state", "says"), [(Holding.MOVED, "moved to elsewhere"), (Holding.ARRIVING, "filled from elsewhere")]
)
async def test_no_node_runs_on_what_belongs_elsewhere(tmp_path: Path, state: Holding, says: str) -> None:
    await (await open_store(tmp_path, clock=ManualClock())).close()
    with closing(apsw.Connection(str(tmp_path / "posthouse.db"))) as connection:
        put_custody(connection, Custody(state, "elsewhere", 1, 2))
        with pytest.raises(StoreMoved, match=says):
            await open_store(tmp_path, clock=ManualClock())
        put_custody(connection, OWN)
    await (await open_store(tmp_path, clock=ManualClock())).close()
