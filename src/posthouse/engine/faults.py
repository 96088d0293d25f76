"""Faults of the program while it delivers: each becomes an attempt that people see, and the third in a row the last."""

from posthouse.core.delivery import State
from posthouse.core.ids import ENDPOINT, make_id
from posthouse.core.model import Attempt, Lane, Obligation
from posthouse.core.ports import Clock, Entropy
from posthouse.core.retry import FAULT, decide_after_fault
from posthouse.engine.seldom import SeldomLog
from posthouse.engine.windows import Desk
from posthouse.store.protocol import LedgerFacet, Settlement
from posthouse.telemetry import Log, Metrics


class Faults:
    """Turns what was raised into an outcome. What becomes of the delivery is decided by core from its attempt rows."""

    def __init__(self, ledger: LedgerFacet, clock: Clock, entropy: Entropy, metrics: Metrics) -> None:
        self._ledger = ledger
        self._clock = clock
        self._entropy = entropy
        self._metrics = metrics
        self._log = SeldomLog(Log.DELIVERY_FAULT, clock)

    async def outcome(self, desk: Desk, obligation: Obligation, epoch: int, error: BaseException) -> Settlement:
        """The settlement of an attempt that ``error`` ended. The attempts before it are read from the store."""
        outcomes: list[str] = []
        if obligation.attempts:
            made = await self._ledger.attempts(obligation.event_key, obligation.endpoint_key)
            outcomes = [attempt.outcome for attempt in made[-obligation.attempts :]]
        now = self._clock.now_ms()
        decision = decide_after_fault(
            desk.schedule, outcomes, opened_at=obligation.opened_at, now=now, jitter=self._entropy.random()
        )
        self._metrics.attempts[FAULT] += 1
        return Settlement(
            obligation=obligation,
            epoch=epoch,
            attempt=Attempt(
                number=obligation.last_number + 1,
                started_at=now,
                outcome=FAULT,
                # The type alone: the text of an error may repeat what it stumbled over.
                error=f"Posthouse itself failed: {type(error).__name__}.",
            ),
            state=decision.state,
            settled_at=now,
            due_at=decision.due_at if decision.state is State.RETRYING else 0,
            lane=Lane.RETRY,
            reason=decision.reason,
        )

    def note(self, error: BaseException, endpoint_key: int) -> None:
        """Let people know of a fault."""
        self._log(error, endpoint=make_id(ENDPOINT, endpoint_key))
