"""A PostgreSQL for tests: a cluster of their own, and a new database for each of them."""
