"""Whose the contents of the file are."""

from typing import Final

import apsw

from posthouse.store.shared.custody import Custody, custody_of
from posthouse.store.sqlite.rows import rows_of
from posthouse.store.sqlite.statements import SQL

_CUSTODY: Final = SQL["custody"]
_PUT_CUSTODY: Final = SQL["put_custody"]


def custody_in(connection: apsw.Connection) -> Custody:
    """Whose they are."""
    (row,) = rows_of(connection, _CUSTODY)
    return custody_of(row)


def put_custody(connection: apsw.Connection, custody: Custody) -> None:
    """Whose they are from now on, once the transaction is committed."""
    connection.execute(_PUT_CUSTODY, (custody.state, custody.place, custody.since, custody.key_floor))
