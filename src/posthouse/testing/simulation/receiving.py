"""Drawing what comes in: sources and their senders, what operators do about them, and ends at the steps of receiving.

Each part is drawn by a generator of its own, so that what else a seed means stays as it is.
"""

from dataclasses import replace
from random import Random
from typing import Final

from posthouse.testing.simulation.plan import (
    RECEIVING,
    CrashPlan,
    DedupeLoss,
    KeyFault,
    Plan,
    SourceAct,
    SourcePlan,
    SourceVerb,
    Trigger,
    generator,
)

PROVIDERS: Final = ("github", "cornerstone", "connectwise")

_RECEIVING: Final = 0.4  # of the histories
_BURST: Final = 300  # more than the window of a source holds
_BURSTS: Final = 0.5  # of the histories with a flood
_LOSSES: Final = 0.15  # of what recognises repetitions
_MORE_CRASHES: Final = (0, 1, 1, 2)  # in a history with crashes


def with_sources(plan: Plan) -> Plan:
    """``plan``, and in some histories sources with it."""
    chance = generator(plan.seed, "sources")
    if chance.random() >= _RECEIVING:
        return plan
    sources = _sources(chance, plan)
    crashes = _crashes(generator(plan.seed, "crashes while receiving"), plan) if plan.crashes else []
    return replace(
        plan,
        sources=sources,
        source_acts=_acts(generator(plan.seed, "source acts"), plan, sources),
        key_faults=_key_faults(generator(plan.seed, "keys"), plan),
        dedupe_losses=_dedupe_losses(generator(plan.seed, "dedupe losses"), plan),
        crashes=tuple(sorted((*plan.crashes, *crashes), key=lambda crash: crash.at)),
    )


def _sources(chance: Random, plan: Plan) -> tuple[SourcePlan, ...]:
    tenants = sorted({endpoint.tenant for endpoint in plan.endpoints})
    burst = bool(plan.flood) and chance.random() < _BURSTS
    return tuple(
        SourcePlan(
            number=number,
            provider=provider,
            tenant=chance.choice(tenants) if number else "default",
            pause=chance.choice((0.5, 1.0, 2.0)),
            batch_max=chance.choice((2, 6, 20)),
            repeat_share=chance.choice((0.0, 0.2, 0.4)),
            forged_share=chance.choice((0.0, 0.1)),
            odd_share=chance.choice((0.0, 0.1, 0.2)),
            refuses=chance.random() < 0.3,
            burst=_BURST if burst and number == 0 else 0,
        )
        for number, provider in enumerate(chance.sample(PROVIDERS, chance.randint(1, len(PROVIDERS))))
    )


def _acts(chance: Random, plan: Plan, sources: tuple[SourcePlan, ...]) -> tuple[SourceAct, ...]:
    acts = []
    for _ in range(chance.randint(1, 6)):
        at, source = chance.uniform(2, plan.seconds), chance.choice(sources).number
        verb = chance.choice(tuple(SourceVerb))
        acts.append(SourceAct(at, verb, source))
        if verb is SourceVerb.PAUSE and chance.random() < 0.8:
            acts.append(SourceAct(at + chance.uniform(0.5, 12), SourceVerb.RESUME, source))
    return tuple(sorted(acts, key=lambda act: act.at))


def _key_faults(chance: Random, plan: Plan) -> tuple[KeyFault, ...]:
    return tuple(
        KeyFault(chance.uniform(0, plan.seconds), chance.uniform(1, 20), hangs=chance.random() < 0.5)
        for _ in range(chance.choice((0, 0, 1, 2)))
    )


def _dedupe_losses(chance: Random, plan: Plan) -> tuple[DedupeLoss, ...]:
    if chance.random() >= _LOSSES:
        return ()
    return (DedupeLoss(chance.uniform(plan.seconds / 4, plan.seconds), drops=chance.random() < 0.5),)


def _crashes(chance: Random, plan: Plan) -> list[CrashPlan]:
    return [
        CrashPlan(
            at=chance.uniform(1, plan.seconds * 0.9),
            power=chance.random() < 0.4,
            trigger=Trigger.FAILPOINT,
            nth=chance.choice((1, 1, 2, 5)),
            point=chance.choice(RECEIVING),
            pause=chance.uniform(0.05, 3),
        )
        for _ in range(chance.choice(_MORE_CRASHES))
    ]
