"""The statements by which ranges of a table are compared and copied, made from the table of both engines.

Elsewhere statements stand in files. These follow from `tables.py` alone: names come from there, values are bound.
"""

from typing import Any, Final

from posthouse.store.shared.tables import POSTGRESQL, Column, Table

#: What a row has in the columns of `Table.order`.
Place = tuple[Any, ...]
Bound = tuple[str, list[Any]]  #: a statement and what is bound to it

_LOW: Final = (1 << 32) - 1  #: sums of so many bits of so many rows do not run over


class Range:
    """The rows of a table behind one place up to another; None: from the first, to the last."""

    def __init__(self, table: Table, engine: str, after: Place | None, upto: Place | None) -> None:
        self._table = table
        self._engine = engine
        self._values: list[Any] = []
        parts = [f"t.{name} = {value}" for name, value in table.fixed.get(engine, {}).items()]
        if after is not None:
            parts.append(self._compared(">", after))
        if upto is not None:
            parts.append(self._compared("<=", upto))
        self._where = f" WHERE {' AND '.join(parts)}" if parts else ""

    def rows(self) -> Bound:
        """All of them, in their order."""
        columns = ", ".join(f"{self._expression(column)} AS {column.name}" for column in self._table.columns)
        return f"SELECT {columns}{self._from()} ORDER BY {self._order()}", self._values

    def end(self, count: int) -> Bound:
        """The place of the ``count``-th of them."""
        return f"SELECT {self._order()}{self._from()} ORDER BY {self._order()} LIMIT 1 OFFSET {count - 1}", self._values

    def marks(self) -> Bound:
        """How many they are, and the sums that tell them from others."""
        cast = "::bigint" if self._engine == POSTGRESQL else ""
        sums = "".join(f", coalesce(sum(t.{name} & {_LOW}), 0){cast}" for name in self._table.marks)
        return f"SELECT count(*){sums}{self._from()}", self._values

    def deletion(self, only: str = "") -> Bound:
        """Away with them; ``only`` those for which an expression holds."""
        if not only:
            return f"DELETE{self._from()}", self._values
        return f"DELETE{self._from()} {'AND' if self._where else 'WHERE'} {only}", self._values

    def _from(self) -> str:
        return f" FROM {self._table.name} AS t{self._where}"

    def _order(self) -> str:
        return ", ".join(f"t.{name}" for name in self._table.order)

    def _expression(self, column: Column) -> str:
        if column.asked is None or self._engine == POSTGRESQL:
            return f"t.{column.name}"
        return column.asked

    def _compared(self, how: str, place: Place) -> str:
        kinds = {column.name: column.kind for column in self._table.columns}
        holders = []
        for name, value in zip(self._table.order, place, strict=True):
            self._values.append(value)
            cast = f"${len(self._values)}::{kinds[name].value}" if self._engine == POSTGRESQL else "?"
            holders.append(cast)
        return f"({self._order()}) {how} ({', '.join(holders)})"


def written(table: Table, engine: str) -> tuple[list[str], list[Any]]:
    """The columns that are written, and what stands in the last of them whatever the row."""
    constant = {**table.fixed.get(engine, {}), **table.void}
    return [*(column.name for column in table.columns_in(engine)), *constant], list(constant.values())
