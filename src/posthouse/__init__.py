"""Posthouse: a webhook gateway that never loses an event that it acknowledged."""

from typing import Any

__all__ = ["__version__"]

__version__: str


def __getattr__(name: str) -> Any:
    """``__version__``, read from the installed metadata when it is asked for: that takes 40 ms."""
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # noqa: PLC0415 - see above

    return version("posthouse")
