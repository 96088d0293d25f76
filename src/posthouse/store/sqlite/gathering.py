"""Calls of one kind that wait for the same transaction become one operation of the writer."""

from collections.abc import Callable, Sequence
from typing import TypeVar

import apsw

from posthouse.store.shared import gathering
from posthouse.store.sqlite.writer import Steps, Writer

Item = TypeVar("Item")
Result = TypeVar("Result")


class Gatherer(gathering.Gatherer[apsw.Connection, Item, Steps[Result], Result]):
    """Submits one kind of operation on sequences of items."""

    def __init__(self, writer: Writer, operation: Callable[[apsw.Connection, Sequence[Item]], Steps[Result]]) -> None:
        super().__init__(writer.submit, operation)
