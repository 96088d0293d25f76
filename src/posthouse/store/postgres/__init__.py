"""The PostgreSQL engine of the store: many nodes share one database. Imported only where a DSN asks for it."""
