"""Shapes: what the rules of an endpoint make of its events and of its answers, compiled once."""

from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

import msgspec

from posthouse.core.batch import batch_body, batch_id
from posthouse.core.delivery import State
from posthouse.core.envelope import body as envelope_body
from posthouse.core.envelope import reference
from posthouse.core.model import Event
from posthouse.core.rules import FILTER_ERROR, FILTERED, TRANSFORM_ERROR, Payload, Rules
from posthouse.core.signature import Signer
from posthouse.core.success import parse_success
from posthouse.expressions.errors import ExpressionError
from posthouse.expressions.events import EventView
from posthouse.expressions.filter import Filter
from posthouse.expressions.transform import Transform
from posthouse.formats.form import Made
from posthouse.formats.index import FORMS
from posthouse.gateway.endpoints import TEST_EVENT_TYPE
from posthouse.transport.protocol import Exchange, Failure

_MS: Final = 1_000
_2XX: Final = parse_success("").statuses


class Verdict(NamedTuple):
    """What a rule makes of a delivery, so that nothing is sent for it."""

    state: State  #: EXHAUSTED or DISCARDED
    reason: str  #: one of those that core.rules names


_FILTERED: Final = Verdict(State.DISCARDED, FILTERED)
_FILTER_ERROR: Final = Verdict(State.EXHAUSTED, FILTER_ERROR)
_TRANSFORM_ERROR: Final = Verdict(State.EXHAUSTED, TRANSFORM_ERROR)


class Shape:
    """How requests to one endpoint look, and which answers are good.

    Args:
        rules: of the endpoint. Raises InvalidInput or ExpressionError if they cannot be used.
    """

    __slots__ = (
        "_filter",
        "_form",
        "_is_thin",
        "_success",
        "_success_text",
        "_transform",
        "is_batched",
        "is_plain",
        "judges",
    )

    def __init__(self, rules: Rules) -> None:
        success = parse_success(rules.success)
        self._success = success.statuses
        self._success_text = success.text
        self.judges = success.statuses != _2XX  #: another set of statuses than every 2xx is success
        self._is_thin = rules.payload is Payload.THIN
        self._filter = None if rules.filter is None else Filter(rules.filter)
        self._transform = None if rules.transform is None else Transform(rules.transform)
        self.is_batched = rules.batch is not None  #: also with a single event in it
        self._form = FORMS.get(rules.format)  # None: the usual one
        evaluates = self._filter is not None or self._transform is not None
        #: Each event goes alone and as the publisher wrote it, in the usual format, and none is withheld.
        self.is_plain = not (self.is_batched or self._is_thin or evaluates or self._form is not None)

    def data(self, event: Event) -> bytes | Verdict:
        """The data (JSON) to send of ``event``, or why nothing is.

        A filter decides when the event is accepted, and here again: what it could not be evaluated for is owed, and
        somebody may have changed it. It does not keep a test event back, which was asked for.
        """
        if self._filter is None and self._transform is None:
            return reference(event) if self._is_thin else event.data
        view = EventView.of(event)
        if self._filter is not None and event.type != TEST_EVENT_TYPE:
            try:
                if not self._filter.matches(view):
                    return _FILTERED
            except ExpressionError:
                return _FILTER_ERROR
        if self._is_thin:
            return reference(event)
        try:
            return event.data if self._transform is None else self._transform.apply(view)
        except ExpressionError:
            return _TRANSFORM_ERROR

    def request(
        self, items: Sequence[tuple[Event, bytes]], *, signer: Signer, secrets: Callable[[], Sequence[str]], now: int
    ) -> Made:
        """The request that holds these events, each with its data; signed, and made at ``now``, Unix ms.

        ``secrets``: those of ``signer``, the current one first, for a format that signs in another way.
        """
        if self._form is not None:
            return self._form.make(items, secrets(), now)
        if self.is_batched:
            message_id, body = batch_id(event.id for event, _ in items), batch_body(items, now=now)
        else:
            ((event, data),) = items
            message_id, body = event.id, envelope_body(event, data)
        return Made(signer.headers(message_id, now // _MS, body), body)

    def judge(self, exchange: Exchange) -> Exchange:
        """``exchange``, failed or not as the endpoint's own statuses say."""
        status = exchange.status
        if status is None or exchange.failure not in {None, Failure.STATUS}:
            return exchange
        if status in self._success:
            good = exchange.failure is None
            return exchange if good else msgspec.structs.replace(exchange, failure=None, error=None)
        if exchange.failure is not None:
            return exchange
        error = f"The endpoint answered {status}, and {self._success_text} count as success."
        return msgspec.structs.replace(exchange, failure=Failure.STATUS, error=error)
