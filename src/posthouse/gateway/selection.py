"""Which endpoints want an event, by their filters, when it is accepted."""

from collections.abc import Mapping, Sequence

from posthouse.core.limits import FILTER_STEPS_PER_REQUEST_MAX, FILTERS_PER_REQUEST_MAX
from posthouse.core.model import Event
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.filter import Filter


class Selection:
    """Evaluates the filters that the events of one request meet, within one budget for all of them.

    What is not evaluated, or cannot be, is owed: the engine evaluates it again when it sends.
    """

    def __init__(self) -> None:
        self._left = FILTERS_PER_REQUEST_MAX
        self._steps_left = FILTER_STEPS_PER_REQUEST_MAX

    def wanted(self, event: Event, owed: Sequence[int], filters: Mapping[int, str]) -> tuple[int, ...]:
        """Those of ``owed`` whose filter does not say false. ``filters``: endpoint key → filter."""
        view = EventView.of(event)
        return tuple(key for key in owed if key not in filters or self._wants(filters[key], view))

    def _wants(self, text: str, view: EventView) -> bool:
        if self._left <= 0 or self._steps_left <= 0:
            return True
        self._left -= 1
        before = view.steps
        try:
            return Filter(text).matches(view)
        except ExpressionError:
            return True
        finally:
            self._steps_left -= view.steps - before
