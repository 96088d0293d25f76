"""A model of a database server apart from the nodes: what it keeps, what it forgets, and how its answers get lost."""
