"""Endpoints, sources and tenants from what is stored: one that was not written by us takes no other along.

Some of their columns hold JSON. Where one has another shape than it should, something stands for its value that is
safe, until somebody writes the column anew.
"""

from collections.abc import Mapping
from typing import Any, Final, Generic, TypeVar

import msgspec

from posthouse.core.inbound import Source, SourceRules
from posthouse.core.model import Endpoint, Secret, Tenant
from posthouse.core.rules import Rules, TenantRules

_Thing = TypeVar("_Thing", bound=Endpoint | Source | Tenant)


class Kind(Generic[_Thing]):
    """How things of one kind are read."""

    def __init__(self, type_: type[_Thing], shapes: Mapping[str, tuple[Any, Any]]) -> None:
        """``shapes``: of each column with JSON the shape, and what stands for a value that has another one."""
        self._type = type_
        self._stand_ins = {name: stand_in for name, (_, stand_in) in shapes.items()}
        self._columns = {name: msgspec.json.Decoder(shape) for name, (shape, _) in shapes.items()}
        self._one = msgspec.json.Decoder(type_)
        self._all = msgspec.json.Decoder(tuple[type_, ...])  # type: ignore[valid-type]
        self._documents = msgspec.json.Decoder(dict[str, msgspec.Raw])

    def all_of(self, document: str) -> tuple[_Thing, ...]:
        """The things in a JSON array of documents."""
        try:
            things: tuple[_Thing, ...] = self._all.decode(document)
        except msgspec.ValidationError:
            return tuple(self.of_document(bytes(each)) for each in _ARRAY.decode(document))
        return things

    def of_document(self, document: str | bytes) -> _Thing:
        """The thing in one JSON document, with the names of its fields."""
        try:
            return self._one.decode(document)
        except msgspec.ValidationError:
            fields: dict[str, Any] = msgspec.json.decode(document)
            columns = self._documents.decode(document)
            return self._mended(fields, {name: bytes(columns[name]) for name in self._columns})

    def of_columns(self, row: Mapping[str, Any]) -> _Thing:
        """The thing in a row, with the names of its fields; columns with JSON hold its text."""
        return self._mended(dict(row), row)

    def _mended(self, fields: dict[str, Any], texts: Mapping[str, Any]) -> _Thing:
        for name, column in self._columns.items():
            try:
                fields[name] = column.decode(texts[name])
            except msgspec.DecodeError:
                fields[name] = self._stand_ins[name]
        return msgspec.convert(fields, self._type)


_ARRAY: Final = msgspec.json.Decoder(tuple[msgspec.Raw, ...])

#: With what stands for a column an endpoint is owed everything, and no rule lets it be sent to.
ENDPOINTS: Final = Kind(
    Endpoint,
    {
        "events": (tuple[str, ...], ("*", "")),
        "headers": (tuple[tuple[str, str], ...], (("", ""),)),
        "secrets": (tuple[Secret, ...], ()),
        "rules": (Rules, {"rate": ""}),
    },
)
#: With what stands for a column a source knows nobody, so what comes waits in quarantine.
SOURCES: Final = Kind(Source, {"secrets": (tuple[Secret, ...], ()), "rules": (SourceRules, {})})
#: A tenant whose rules cannot be used has none.
TENANTS: Final = Kind(Tenant, {"rules": (TenantRules, {})})
