"""How long work on a whole store says how far it is."""

from collections.abc import Callable

#: Called with what is being done (a word, or the name of a table), how much of it is done, and how much there is in
#: all; 0: nobody knows. Called often: whoever shows it looks at the clock.
Tell = Callable[[str, int, int], None]


def tell_nobody(_what: str, _done: int, _total: int) -> None:
    """For who does not want to know."""
