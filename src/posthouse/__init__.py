"""Posthouse: a webhook gateway that never loses an event that it acknowledged."""

from importlib.metadata import version as _version

__all__ = ["__version__"]

__version__ = _version("posthouse")
