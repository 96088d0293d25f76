"""What all tests share: a clean environment, deterministic examples, a time budget for each folder, and order."""

import gc
import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings
from xdist.remote import Producer  # type: ignore[import-untyped]
from xdist.scheduler import LoadGroupScheduling  # type: ignore[import-untyped]

from posthouse.testing.postgres.fixtures import cluster

__all__ = ["cluster"]

#: Seconds that one test of a folder may take; folders that are not named have the project's default.
BUDGETS = {
    "tidy": 30,
    "unit": 30,
    "property": 60,
    "conformance": 60,
    "model": 60,
    "simulation": 600,
    "postgres": 60,
    "integration": 300,
    "e2e": 300,
    "rigs": 1_800,
}

TESTS = Path(__file__).parent

#: Objects made between two collections of garbage, and young collections between two older ones. Python's own 700 and
#: 10 are meant for small programs: with all tests in memory a fifth of the time went into looking at them again.
GARBAGE = (20_000, 20, 20)

#: Tests that share what takes long to make, by the beginning of their names: one worker has them all.
TOGETHER = ("tests/tidy/", "tests/simulation/test_seeds.py")

#: What takes longest begins first, so that no worker is left with it in the end.
LONGEST = (
    "tests/simulation/test_long_outage.py",
    "tests/e2e/test_drills.py",
    "tests/e2e/test_described_api.py",
    "tests/model/",
    "tests/e2e/",
    "tests/property/store/",
    "tests/property/inbound/",
    "tests/property/api/",
)

# The same examples on every machine; "thorough" looks for new ones: HYPOTHESIS_PROFILE=thorough.
settings.register_profile(
    "fixed", derandomize=True, deadline=None, max_examples=100, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("thorough", deadline=None, max_examples=5_000, print_blob=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fixed"))


def pytest_configure() -> None:
    """Take away what a developer's shell could change: node settings and proxies."""
    for name in list(os.environ):
        if name.startswith("POSTHOUSE_") or name.lower() in {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}:
            del os.environ[name]
    gc.set_threshold(*GARBAGE)
    # Where logging is not set up, structlog draws tracebacks with every local variable: seconds for some of ours.
    plain = structlog.dev.ConsoleRenderer(colors=False, exception_formatter=structlog.dev.plain_traceback)
    structlog.configure(processors=[*structlog.get_config()["processors"][:-1], plain])


def pytest_collection_finish() -> None:
    """All tests are there, and stay: garbage is looked for in what they make."""
    gc.freeze()


def pytest_report_header() -> str:
    """The versions that matter in a report."""
    names = ("apsw", "aiohttp", "uvloop", "hypothesis")
    return f"{platform.platform()}, " + ", ".join(f"{name} {version(name)}" for name in names)


class Scheduling(LoadGroupScheduling):  # type: ignore[misc]  # untyped
    """Gives each worker one test after the other, but what stands in ``TOGETHER`` to one of them.

    The marks that xdist has for that say nothing to pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return next((name for name in TOGETHER if nodeid.startswith(name)), nodeid)


@pytest.hookimpl(optionalhook=True)  # there may be no xdist
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """The scheduling above, if it is asked for by the name of the one that it stands on."""
    return Scheduling(config, log) if config.getvalue("dist") == "loadgroup" else None


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Give each test its folder's budget unless it names its own; with several workers, let the longest begin."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: next((i for i, name in enumerate(LONGEST) if item.nodeid.startswith(name)), 99))
    for item in items:
        budget = BUDGETS.get(item.path.relative_to(TESTS).parts[0]) if item.path.is_relative_to(TESTS) else None
        if budget is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(budget))
