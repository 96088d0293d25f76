"""The SQL of the engine, by name.

Besides BEGIN, COMMIT, ROLLBACK, the statements of the migrations and the making of a schema the engine has no other
SQL. None is built from strings but where tables are named one by one: the making of days, whose tables bear numbers,
and what copies whole stores, by the names in `store/shared/tables.py` or in the server's own list of tables.
"""

from typing import Final

from posthouse.store.shared.statements import load

#: Every statement by name.
SQL: Final = load("posthouse.store.postgres")
