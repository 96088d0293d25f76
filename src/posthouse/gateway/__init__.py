"""The use-cases: one verb a function, one transaction each."""
