"""The SQL of the engine, by name.

Besides BEGIN, COMMIT, ROLLBACK, the statements of the migrations and the making of a schema the engine has no other
SQL, and none is ever built from strings: only what copies whole stores makes its statements, of the names in
`store/shared/tables.py` or in the server's own list of tables.
"""

from typing import Final

from posthouse.store.shared.statements import load

#: Every statement by name.
SQL: Final = load("posthouse.store.postgres")
