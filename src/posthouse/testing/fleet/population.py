"""Endpoints and their load, as counts by slot: tenants of very different size, and a few endpoints that get most."""

from collections.abc import Iterator
from random import Random
from typing import Final

import msgspec

from posthouse.core.ids import EPOCH_MS, next_key
from posthouse.core.limits import ENDPOINTS_PER_TENANT_MAX
from posthouse.core.model import SLOTS, slot_of

_YEAR_MS: Final = 365 * 86_400_000
#: The tail of the load of single endpoints (Pareto): the smaller, the heavier.
TAILS: Final = {"even": 0.0, "heavy": 1.5, "extreme": 1.1}


class Population(msgspec.Struct, frozen=True):
    """What lies in each slot.

    Attributes:
        endpoints: how many.
        load: how much traffic they get, in parts of the mean endpoint's.
        hottest: what the busiest endpoint gets, as a part of everything.
        largest: what the busiest tenant gets, as a part of everything.
    """

    endpoints: list[int]
    load: list[float]
    hottest: float
    largest: float


def populate(endpoints: int, *, tenants: int, tail: str, seed: int) -> Population:
    """Draw a population: the n-th tenant has 1/n of what the first one has, at most what a tenant may have."""
    chance = Random(seed)  # noqa: S311 - seeded chance makes a history repeatable
    alpha = TAILS[tail]
    counts, load = [0] * SLOTS, [0.0] * SLOTS
    hottest = largest = 0.0
    for size in _sizes(endpoints, tenants):
        of_tenant = 0.0
        for _ in range(size):
            slot = slot_of(next_key(0, EPOCH_MS + int(chance.random() * _YEAR_MS), 1))
            traffic = chance.paretovariate(alpha) if alpha else 1.0
            counts[slot] += 1
            load[slot] += traffic
            of_tenant += traffic
            hottest = max(hottest, traffic)
        largest = max(largest, of_tenant)
    total = sum(load)
    return Population(counts, load, hottest / total, largest / total)


def _sizes(endpoints: int, tenants: int) -> Iterator[int]:
    """Endpoints of each tenant, all of them together."""
    whole = sum(1 / rank for rank in range(1, tenants + 1))
    left = endpoints
    for rank in range(1, tenants + 1):
        size = min(left - (tenants - rank), ENDPOINTS_PER_TENANT_MAX, max(1, round(endpoints / rank / whole)))
        left -= size
        yield size
    while left > 0:  # what the largest ones may not have
        size = min(left, ENDPOINTS_PER_TENANT_MAX)
        left -= size
        yield size
