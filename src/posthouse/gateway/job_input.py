"""What a bulk job may look like: every field checked, every fault named at once."""

from collections.abc import Sequence
from typing import Final

import msgspec

from posthouse.core import limits
from posthouse.core.delivery import FINAL, State
from posthouse.core.errors import InvalidInput
from posthouse.core.jobs import REOPENING, SELECTS, JobKind, JobMode, parse_older_than
from posthouse.core.rate import parse_rate
from posthouse.core.routing import validate_pattern
from posthouse.gateway.faults import Faults

_ALL_HINT: Final = 'Name at least one condition in filter, or send "all": true to mean every delivery.'


class JobSpec(msgspec.Struct, frozen=True, kw_only=True):
    """A job as its creator describes it. None or empty: no condition."""

    kind: JobKind
    tenant: str | None = None
    endpoint_id: str | None = None
    source_id: str | None = None
    event_id: str | None = None
    types: tuple[str, ...] = ()
    states: tuple[State, ...] = ()
    reasons: tuple[str, ...] = ()
    ordering_key: str | None = None
    since: int | None = None  #: Unix ms
    until: int | None = None  #: Unix ms
    older_than: str | None = None  #: an age, or an RFC 3339 time
    mode: JobMode = JobMode.ALL
    dry_run: bool = False
    rate: str | None = None
    everything: bool = False  #: what has no condition means all deliveries, and has to say so

    @property
    def has_condition(self) -> bool:
        """Whether the filter leaves anything out."""
        conditions = (
            self.tenant,
            self.endpoint_id,
            self.source_id,
            self.event_id,
            self.types,
            self.states,
            self.reasons,
            self.ordering_key,
            self.since,
            self.until,
            self.older_than,
        )
        return any(condition not in (None, ()) for condition in conditions)


def check_spec(spec: JobSpec) -> None:
    """Raise InvalidInput unless ``spec`` makes sense; every fault is named."""
    faults = Faults()
    faults.check("filter.types", _check_types, spec.types)
    _check_states(faults, spec)
    if spec.reasons:
        _check_reasons(faults, spec)
    if spec.since is not None and spec.until is not None and spec.since >= spec.until:
        faults.add("filter.until", "out_of_range", "It is not after since.", hint="Swap the two times.")
    if spec.older_than is not None:
        faults.check("filter.older_than", lambda text: parse_older_than(text, 0), spec.older_than)
    if spec.rate is not None:
        faults.check("rate", parse_rate, spec.rate)
    if spec.mode is JobMode.LATEST and spec.kind not in REOPENING:
        kinds = " and ".join(sorted(REOPENING))
        faults.add("mode", "mode", f"Only jobs that {kinds} have the mode 'latest'.", hint="Leave mode out.")
    if spec.everything and spec.has_condition:
        faults.add("all", "all", "It says every delivery, and the filter names conditions.", hint=_ALL_HINT)
    if not spec.everything and not spec.has_condition:
        faults.add("filter", "all", "The filter names no condition.", hint=_ALL_HINT)
    faults.raise_if_any()


def _check_types(patterns: Sequence[str]) -> None:
    if len(patterns) > limits.PATTERNS_MAX:
        message = f"At most {limits.PATTERNS_MAX} event patterns."
        raise InvalidInput.at("", "too_many", message, hint="Make several jobs.")
    for position, pattern in enumerate(patterns):
        try:
            validate_pattern(pattern)
        except InvalidInput as error:
            raise InvalidInput.at(f"[{position}]", "event_pattern", error.message, hint=error.advice) from error


def _check_states(faults: Faults, spec: JobSpec) -> None:
    allowed = SELECTS[spec.kind]
    for position, state in enumerate(spec.states):
        if state not in allowed:
            faults.add(
                f"filter.states[{position}]",
                "state",
                f"A job of the kind {spec.kind} takes no delivery that is {state}.",
                hint=f"Use {', '.join(sorted(allowed))}.",
            )


def _check_reasons(faults: Faults, spec: JobSpec) -> None:
    if not SELECTS[spec.kind] & FINAL:
        faults.add(
            "filter.reasons",
            "reasons",
            f"A job of the kind {spec.kind} takes open deliveries; only settled ones have a reason.",
            hint="Leave reasons out.",
        )
    if len(spec.reasons) > limits.JOB_REASONS_MAX:
        faults.add(
            "filter.reasons", "too_many", f"At most {limits.JOB_REASONS_MAX} reasons.", hint="Make several jobs."
        )
    if any(not 1 <= len(reason) <= limits.JOB_REASON_CHARS_MAX for reason in spec.reasons):
        faults.add(
            "filter.reasons",
            "invalid",
            f"A reason has 1 to {limits.JOB_REASON_CHARS_MAX} characters.",
            hint="Use reasons as deliveries show them, such as 'attempts_spent'.",
        )
