"""Posthouse: a webhook gateway that never loses an event that it acknowledged."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from posthouse.sdk.verify import SignatureInvalid, verify

__all__ = ["SignatureInvalid", "__version__", "verify"]

__version__: str


def __getattr__(name: str) -> Any:
    """What applications import, loaded when it is asked for: the metadata of the version alone take 40 ms."""
    if name == "__version__":
        from importlib.metadata import version  # noqa: PLC0415 - see above

        return version("posthouse")
    if name in __all__:
        from posthouse.sdk import verify as door  # noqa: PLC0415 - the presets are not for every command

        return getattr(door, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
