"""What all tests share: a clean environment, deterministic examples, a time budget for each folder."""

import os
import platform
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

#: Seconds that one test of a folder may take; folders that are not named have the project's default.
BUDGETS = {
    "tidy": 30,
    "unit": 30,
    "property": 60,
    "conformance": 60,
    "model": 60,
    "integration": 300,
    "e2e": 300,
    "rigs": 1_800,
}

TESTS = Path(__file__).parent

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


def pytest_report_header() -> str:
    """The versions that matter in a report."""
    names = ("apsw", "aiohttp", "uvloop", "hypothesis")
    return f"{platform.platform()}, " + ", ".join(f"{name} {version(name)}" for name in names)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give each test its folder's budget unless it names its own."""
    for item in items:
        budget = BUDGETS.get(item.path.relative_to(TESTS).parts[0]) if item.path.is_relative_to(TESTS) else None
        if budget is not None and item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(budget))
