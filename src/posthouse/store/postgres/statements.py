"""The SQL of the engine, by name.

Besides BEGIN, COMMIT, ROLLBACK, the statements of the migrations, the making of a schema and the making of days, whose
tables bear numbers, the engine has no other SQL, and none else is ever built from strings.
"""

from typing import Final

from posthouse.store.shared.statements import load

#: Every statement by name.
SQL: Final = load("posthouse.store.postgres")
