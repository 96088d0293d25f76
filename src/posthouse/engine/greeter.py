"""The greeter: what endpoints get besides deliveries where their format has it, a handshake first and then heartbeats.

An endpoint whose handshake is not answered is held like one that is paused; what it is owed waits and loses nothing.
Neither kind of request is a delivery: no row tells of it, and it owes nothing. Both take their part of the rates and of
the room, go out alone, and only to endpoints that are active.
"""

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Final

from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.model import Endpoint, EndpointState, slot_of
from posthouse.core.ports import Clock, Entropy
from posthouse.engine.board import Board
from posthouse.engine.contacts import Contact
from posthouse.engine.dispatcher import Dispatcher
from posthouse.engine.ownership import Leases
from posthouse.engine.sender import Sender, Unmet, Unusable
from posthouse.engine.wakes import NEVER, Wakes
from posthouse.engine.warden import Warden
from posthouse.engine.windows import Desk
from posthouse.formats.form import Form, Made
from posthouse.formats.index import FORMS
from posthouse.gateway.catalogue import Catalogue
from posthouse.telemetry import Log, log
from posthouse.transport.protocol import Exchange

_AGAIN_SECONDS: Final = 1.0  # where there is no room for a request
_NO_SECRET: Final = "The answer does not carry what the handshake asks for."  # noqa: S105 - a sentence


#: Makes durable that this endpoint has answered a handshake; whether it is still the one that was greeted.
Agreed = Callable[[Endpoint], Awaitable[bool]]


class Greeter:
    """Sends handshakes and heartbeats when they are due.

    ``agreed(endpoint)`` keeps that the receiver has answered the handshake that was made for ``endpoint``, and says
    whether that counts; if it does, the engine is told of the changed endpoint before it returns.
    """

    def __init__(
        self,
        board: Board,
        *,
        catalogue: Catalogue,
        leases: Leases,
        dispatcher: Dispatcher,
        sender: Sender,
        warden: Warden,
        clock: Clock,
        entropy: Entropy,
        agreed: Agreed,
    ) -> None:
        self._board = board
        self._catalogue = catalogue
        self._leases = leases
        self._dispatcher = dispatcher
        self._sender = sender
        self._warden = warden
        self._clock = clock
        self._entropy = entropy
        self._agreed = agreed
        self._wakes: Wakes[Contact] = Wakes(clock, self._see)

    def begin(self, slots: Collection[int]) -> None:
        """Look after each endpoint in these slots whose format has more than deliveries, also if it is owed nothing."""
        for endpoint in self._catalogue.every_endpoint():
            if slot_of(endpoint.key) in slots:
                self.created(endpoint)

    def look(self) -> None:
        """Send what is due, as the timers do."""
        self._wakes.fire()

    def close(self) -> None:
        """Send nothing more."""
        self._wakes.close()

    # -- who gets what, and when ----------------------------------------------------------------

    def created(self, endpoint: Endpoint) -> None:
        """There may be no desk for this endpoint: make one if there is something to send to it now or later."""
        form = FORMS.get(endpoint.rules.format)
        if form is not None and form.speaks and slot_of(endpoint.key) in self._leases.epochs:
            self._board.desk(endpoint.key)

    def made(self, desk: Desk) -> None:
        """A desk is new. When its endpoint had its latest heartbeat nobody knows: the next comes within one period."""
        self._begin(desk, self._entropy.random())

    def changed(self, desk: Desk) -> None:
        """The endpoint is another one by now; a receiver that just agreed gets its first heartbeat after one period."""
        contact, form = desk.contact, FORMS.get(desk.endpoint.rules.format)
        if contact is None or form is None or not form.speaks:
            self._begin(desk, self._entropy.random())
        elif contact.is_greeting is not desk.is_unmet or contact.url != desk.endpoint.url:
            self._begin(desk, 1.0)
        else:
            self._see(contact)

    def _begin(self, desk: Desk, part: float) -> None:
        """Greet an endpoint now, or let its heart beat after this part of a period."""
        form = FORMS.get(desk.endpoint.rules.format)
        if form is None or not form.speaks:
            desk.contact = None
            return
        waits = 0.0 if desk.is_unmet else NEVER if form.heartbeat is None else part * form.heartbeat_seconds
        desk.contact = Contact(desk, self._clock.monotonic() + waits)
        self._see(desk.contact)

    def _see(self, contact: Contact) -> None:
        """Send what is due, else look again when it is. While its endpoint is held, a change of that looks again."""
        desk = contact.desk
        is_known = desk.contact is contact and self._board.find(desk.endpoint.key) is desk
        if contact.is_busy or not is_known or desk.slot not in self._leases.epochs:
            return
        if desk.endpoint.state is not EndpointState.ACTIVE or desk.unusable is not None:
            return
        form, now, turns = FORMS[desk.endpoint.rules.format], self._clock.monotonic(), self._board.turns
        if contact.due_at <= now and desk.gate.is_down and not contact.is_greeting:
            contact.due_at = now + form.heartbeat_seconds  # probes look whether it is up
        at = max(contact.due_at, turns.ready_at(desk))
        if at > now:
            self._wakes.set(contact, at)
        elif self._dispatcher.capacity <= 0 or not turns.has_room(desk):
            self._wakes.set(contact, now + _AGAIN_SECONDS)
        else:
            contact.due_at = contact.again_at(now) if contact.is_greeting else now + form.heartbeat_seconds
            contact.is_busy = True
            turns.begin(desk, [], now)
            self._dispatcher.spawn(self._speak(contact, form))

    # -- requests -------------------------------------------------------------------------------

    async def _speak(self, contact: Contact, form: Form) -> None:
        try:
            await (self._greet if contact.is_greeting else self._beat)(contact, form)
        finally:
            contact.is_busy = False
            self._see(contact)

    async def _greet(self, contact: Contact, form: Form) -> None:
        desk, endpoint, handshake = contact.desk, contact.desk.endpoint, form.handshake
        answered = None if handshake is None else await self._send(contact, handshake.make, judged=False)
        if handshake is None or answered is None:
            return
        sent, exchange = answered
        if exchange.failure is not None or not handshake.is_answered(sent, exchange.status, exchange.headers):
            self._unanswered(contact, exchange)
        elif await self._agreed(endpoint):
            if contact.failures:
                log(Log.ENDPOINT_ANSWERS, endpoint=make_id(ENDPOINT, endpoint.key))
            self._warden.heard(desk, 0, exchange)

    def _unanswered(self, contact: Contact, exchange: Exchange) -> None:
        """Say so once, and greet again later."""
        if not contact.failures:
            endpoint = make_id(ENDPOINT, contact.desk.endpoint.key)
            log(Log.ENDPOINT_DOWN, endpoint=endpoint, detail=f"Handshake: {exchange.error or _NO_SECRET}")
        contact.failed(self._clock.monotonic(), self._clock.now_ms())

    async def _beat(self, contact: Contact, form: Form) -> None:
        answered = None if form.heartbeat is None else await self._send(contact, form.heartbeat, judged=True)
        if answered is not None:
            # Of no event, and not of the one that any failure before was of, so that each heartbeat counts.
            self._warden.heard(contact.desk, -self._clock.now_ms(), answered[1])

    async def _send(
        self, contact: Contact, make: Callable[[Sequence[str], int], Made], *, judged: bool
    ) -> tuple[Made, Exchange] | None:
        """One request and what came of it; None if nothing was sent. It gives back its room in any case."""
        desk = contact.desk
        exchange: Exchange | None = None
        try:
            if desk.contact is not contact:  # the endpoint was changed in this very moment
                return None
            sent, exchange = await self._sender.call(desk, make, judged=judged)
        except (Unmet, Unusable) as error:
            self._dispatcher.refused(desk, error)
            return None
        finally:
            self._dispatcher.land(desk, [], exchange)
            self._dispatcher.kick()
        return sent, exchange
