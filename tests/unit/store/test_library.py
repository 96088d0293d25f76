"""Which SQLite may open a store."""

import apsw
import pytest

from posthouse.core.errors import UnsafeLibrary
from posthouse.store.sqlite.connection import BusyPolling, check_library


@pytest.mark.parametrize("version", ["3.44.6", "3.44.12", "3.50.7", "3.50.8", "3.51.3", "3.53.0", "3.54.1", "4.0.0"])
def test_repaired_versions_may(version: str) -> None:
    check_library(version)


@pytest.mark.parametrize(
    "version", ["3.7.0", "3.40.1", "3.44.5", "3.45.0", "3.49.2", "3.50.6", "3.51.0", "3.51.2", "3.52.0"]
)
def test_versions_that_lose_commits_may_not(version: str) -> None:
    with pytest.raises(UnsafeLibrary, match=version):
        check_library(version)


def test_the_installed_one_may() -> None:
    check_library(apsw.sqlite_lib_version())


def test_busy_polling_gives_up_at_once_unless_patient() -> None:
    assert not BusyPolling(patient=False)(0)
    assert BusyPolling(patient=True)(0)
    assert not BusyPolling(patient=True)(1_000_000)
