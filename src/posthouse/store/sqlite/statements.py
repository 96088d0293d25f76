"""The SQL of the engine, by name.

Besides BEGIN, COMMIT, ROLLBACK and savepoints the engine has no other SQL, and none is ever built from strings: only
what copies whole stores, or walks through tables for retention, makes its statements, of the names in
`store/shared/tables.py`.
"""

from typing import Final

from posthouse.store.shared.statements import load

#: Every statement by name.
SQL: Final = load("posthouse.store.sqlite")
