"""Drawing plans: which kinds of histories there are, and how a number becomes one of them."""

from dataclasses import dataclass
from random import Random
from typing import Final

from posthouse.testing.disk import Call, DiskError, FileKind
from posthouse.testing.simulation.database.drawing import on_a_database
from posthouse.testing.simulation.plan import (
    BAD,
    CHECKPOINTING,
    MIGRATING,
    RUNNING,
    STOPPING,
    Act,
    CrashPlan,
    DiskFault,
    EndpointPlan,
    FreezePlan,
    HostPlan,
    Mood,
    Phase,
    Plan,
    Plate,
    PublisherPlan,
    StepPlan,
    StopPlan,
    Trigger,
    Verb,
    Wire,
    WireFault,
    generator,
)
from posthouse.testing.simulation.pressure import pressed
from posthouse.testing.simulation.receiving import with_sources

Range = tuple[int, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A kind of history: how much of what."""

    name: str
    weight: int
    seconds: Range = (30, 60)
    endpoints: Range = (2, 8)
    publishers: Range = (2, 4)
    acts: Range = (6, 16)
    trouble: float = 0.5  #: share of receivers that ever answer badly
    crashes: Range = (0, 0)
    freezes: Range = (0, 0)
    wire_faults: Range = (0, 0)
    disk_faults: Range = (0, 0)
    steps: Range = (0, 0)
    stops: Range = (0, 0)
    flood: Range = (0, 0)
    long_retries: bool = False


PROFILES: Final = (
    Profile(
        name="busy",
        weight=8,
        crashes=(1, 3),
        freezes=(0, 2),
        wire_faults=(1, 3),
        disk_faults=(0, 1),
        steps=(0, 2),
        stops=(0, 1),
    ),
    Profile(name="calm", weight=2, acts=(4, 10), stops=(0, 1)),
    Profile(name="storm", weight=3, wire_faults=(4, 8), trouble=0.8, crashes=(0, 1)),
    Profile(name="bad disk", weight=3, disk_faults=(2, 5), crashes=(0, 2)),
    Profile(name="crashes", weight=4, crashes=(4, 8), stops=(0, 2), trouble=0.3),
    Profile(name="frozen", weight=3, freezes=(2, 4), steps=(0, 2), crashes=(0, 1)),
    Profile(
        name="flood", weight=2, endpoints=(2, 5), publishers=(1, 2), flood=(280, 600), crashes=(0, 2), stops=(0, 1)
    ),
    Profile(name="long retries", weight=2, long_retries=True, trouble=0.9, crashes=(0, 2), steps=(0, 2)),
)

_RETRIES: Final = (
    "custom:1s,2s,3s,5s,8s",
    "custom:1s,1s,1s,1s,1s,1s,1s,1s",
    "custom:2s,5s,10s,20s",
    "custom:1s",
    "none",
)
_LONG_RETRIES: Final = ("three-weeks", "standard-webhooks", "custom:1s,30s,5m,1h,1d")
_PATTERNS: Final = (
    ("*",),
    ("*",),
    ("order.*",),
    ("order.paid", "user.*"),
    ("user.*",),
    ("order.created",),
    ("none.at.all",),
)
#: What operators may do in any history; what they do about rules and jobs is drawn in ``pressure``.
_VERBS: Final = tuple(verb for verb in Verb if verb not in {Verb.ORDER, Verb.RATE})
_BURST: Final = 11_000
_BURST_SHARE: Final = 0.25  # of the floods


def draw(seed: int) -> Plan:
    """The plan of a seed."""
    chance = generator(seed, "plan")
    profile = chance.choices(PROFILES, [profile.weight for profile in PROFILES])[0]
    seconds = float(chance.randint(*profile.seconds))
    hosts = _hosts(chance, profile, seconds)
    endpoints = _endpoints(chance, profile, hosts, seconds)
    tenants = sorted({endpoint.tenant for endpoint in endpoints})
    flood = chance.randint(*profile.flood)
    crashes, stops = _crashes(chance, profile, seconds)
    for _ in range(chance.randint(*profile.stops)):
        stops = (*stops, StopPlan(chance.uniform(2, seconds), chance.uniform(0.1, 2)))
    plan = Plan(
        seed=seed,
        profile=profile.name,
        seconds=seconds,
        in_flight_max=chance.choice((512, 512, 64, 24)),
        in_flight_per_endpoint=chance.choice((8, 8, 3, 1)),
        commit_interval_ms=chance.choice((4, 4, 0, 20)),
        drain_seconds=chance.choice((30.0, 5.0, 0.0)),
        flood=flood,
        burst=_BURST if flood and chance.random() < _BURST_SHARE else 0,
        hosts=hosts,
        endpoints=endpoints,
        publishers=_publishers(chance, profile, tenants),
        acts=_acts(chance, profile, endpoints, seconds),
        wire_faults=_wire_faults(chance, profile, hosts, seconds),
        disk_faults=_disk_faults(chance, profile, seconds),
        crashes=crashes,
        freezes=_freezes(chance, profile, seconds),
        steps=_steps(chance, profile, seconds),
        stops=stops,
    )
    return on_a_database(with_sources(pressed(plan)))


def _hosts(chance: Random, profile: Profile, seconds: float) -> tuple[HostPlan, ...]:
    hosts = []
    for number in range(chance.randint(*profile.endpoints)):
        phases: list[Phase] = []
        if number and chance.random() < profile.trouble:  # the first one is always well
            at = chance.uniform(0, seconds / 2)
            for _ in range(chance.randint(1, 3)):
                phases.append(Phase(at, chance.choice(BAD), chance.choice((1.0, 0.5, 0.2))))
                at += chance.uniform(2, 12)
                phases.append(Phase(at, Mood.FINE, 1.0))
                at += chance.uniform(1, 10)
            if chance.random() < 0.1:
                phases.append(Phase(at, Mood.GONE, 1.0))
                phases.append(Phase(at + 3, Mood.FINE, 1.0))
        dead = bool(phases) and chance.random() < 0.1
        if dead:
            phases.append(Phase(seconds / 2, chance.choice((Mood.ERROR, Mood.DROP, Mood.HANG)), 1.0))
        phases.sort(key=lambda phase: phase.at)
        hosts.append(HostPlan(number, f"r{number}.example", f"203.0.114.{number + 1}", tuple(phases), dead))
    return tuple(hosts)


def _endpoints(
    chance: Random, profile: Profile, hosts: tuple[HostPlan, ...], seconds: float
) -> tuple[EndpointPlan, ...]:
    tenants = ("default", "acme", "globex")[: chance.randint(1, 3)]
    count = len(hosts) + (chance.random() < 0.3)  # sometimes two share a host
    return tuple(
        EndpointPlan(
            number=number,
            host=number if number < len(hosts) else chance.randrange(len(hosts)),
            by_address=chance.random() < 0.3,
            tenant=chance.choice(tenants) if number else "default",
            events=chance.choice(_PATTERNS) if number else ("*",),
            retry=chance.choice(_LONG_RETRIES if profile.long_retries else _RETRIES),
            timeout_ms=chance.choice((1_000, 2_000, 5_000, 10_000)),
            connect_timeout_ms=chance.choice((500, 2_000, 5_000)),
            own_secret=chance.random() < 0.5,
            born_at=0.0 if number == 0 or chance.random() < 0.7 else chance.uniform(0, seconds * 0.7),
            managed=number > 0 and chance.random() < 0.6,
        )
        for number in range(count)
    )


def _publishers(chance: Random, profile: Profile, tenants: list[str]) -> tuple[PublisherPlan, ...]:
    heavy = chance.random() < 0.1
    return tuple(
        PublisherPlan(
            number=number,
            tenant=chance.choice(tenants) if number else "default",
            pause=chance.choice((0.3, 0.8, 2.0)),
            batch_share=chance.choice((0.0, 0.2, 0.6)),
            batch_max=chance.choice((3, 10)),
            named_share=chance.choice((0.0, 0.7, 1.0)),
            odd_share=chance.choice((0.0, 0.1, 0.25)),
            data_bytes=chance.choice((10_000, 50_000)) if heavy else chance.choice((40, 400, 3_000)),
            patience=chance.choice((2.0, 5.0, 20.0)),
        )
        for number in range(chance.randint(*profile.publishers))
    )


def _acts(chance: Random, profile: Profile, endpoints: tuple[EndpointPlan, ...], seconds: float) -> tuple[Act, ...]:
    managed = [endpoint for endpoint in endpoints if endpoint.managed]
    acts = []
    for _ in range(chance.randint(*profile.acts)):
        at = chance.uniform(1, seconds)
        verb = chance.choice(_VERBS)
        if not managed and verb not in {Verb.AUDIT, Verb.LOOK, Verb.RETRY, Verb.CANCEL}:
            verb = Verb.AUDIT
        endpoint = chance.choice(managed).number if managed else 0
        acts.append(Act(at, verb, endpoint))
        if verb is Verb.PAUSE and chance.random() < 0.8:
            acts.append(Act(at + chance.uniform(1, 15), Verb.RESUME, endpoint))
    acts += [Act(chance.uniform(1, seconds), Verb.AUDIT, 0) for _ in range(2)]
    return tuple(sorted(acts, key=lambda act: act.at))


def _wire_faults(
    chance: Random, profile: Profile, hosts: tuple[HostPlan, ...], seconds: float
) -> tuple[WireFault, ...]:
    faults = []
    for _ in range(chance.randint(*profile.wire_faults)):
        wire = chance.choice(tuple(Wire))
        host = None if chance.random() < 0.25 else chance.randrange(1, max(2, len(hosts)))
        if host is None and wire in {Wire.NO_NAME, Wire.SLOW_NAME}:
            host = 1
        faults.append(WireFault(chance.uniform(1, seconds), chance.uniform(1, 10), wire, host))
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _disk_faults(chance: Random, profile: Profile, seconds: float) -> tuple[DiskFault, ...]:
    faults = []
    for _ in range(chance.randint(*profile.disk_faults)):
        at = chance.uniform(1, seconds)
        plate = chance.choice((Plate.CALL, Plate.CALL, Plate.FULL, Plate.SLOW))
        if plate is not Plate.CALL:
            faults.append(DiskFault(at, plate, seconds=chance.uniform(1, 8)))
            continue
        call = chance.choice((Call.WRITE, Call.WRITE, Call.SYNC, Call.SYNC, Call.READ, Call.TRUNCATE, Call.OPEN))
        faults.append(
            DiskFault(
                at,
                plate,
                call=call,
                file=chance.choice((None, FileKind.WAL, FileKind.DATABASE)),
                error=chance.choice(tuple(DiskError)) if call is Call.WRITE else DiskError.IO,
                nth=chance.choice((1, 2, 3, 5, 8, 20)),
            )
        )
    return tuple(sorted(faults, key=lambda fault: fault.at))


def _crashes(chance: Random, profile: Profile, seconds: float) -> tuple[tuple[CrashPlan, ...], tuple[StopPlan, ...]]:
    """The crashes, and the stops that some of them need to come to their failpoint."""
    crashes: list[CrashPlan] = []
    stops: list[StopPlan] = []
    for _ in range(chance.randint(*profile.crashes)):
        at = chance.uniform(0, seconds)
        trigger = chance.choices(tuple(Trigger), (3, 6, 3, 2))[0]
        point = nth = None
        if trigger is Trigger.FAILPOINT:
            kind = chance.choices((RUNNING, MIGRATING, STOPPING, CHECKPOINTING), (16, 2, 2, 1))[0]
            point = chance.choice(kind)
            nth = chance.choice((1, 1, 2, 3, 5, 8)) if kind is RUNNING else 1
            if kind is MIGRATING:
                at = 0.0
            elif kind is STOPPING:
                stops.append(StopPlan(at + 0.5, chance.uniform(0.1, 2)))
        crashes.append(
            CrashPlan(
                at=at,
                power=chance.random() < 0.4,
                trigger=trigger,
                nth=nth or chance.randint(1, 60),
                point=point,
                pause=chance.uniform(0.05, 3),
            )
        )
    return tuple(sorted(crashes, key=lambda crash: crash.at)), tuple(stops)


def _freezes(chance: Random, profile: Profile, seconds: float) -> tuple[FreezePlan, ...]:
    freezes = []
    for _ in range(chance.randint(*profile.freezes)):
        rival = chance.random() < 0.7
        awake = rival and chance.random() < 0.4
        patient = rival and not awake and chance.random() < 0.7
        length = chance.uniform(10, 13) if patient and chance.random() < 0.5 else chance.uniform(1, 25 if rival else 15)
        freezes.append(
            FreezePlan(
                at=chance.uniform(1, seconds),
                seconds=0.0 if awake else length,
                rival=rival,
                patient=patient,
                slots=chance.choice((256, 256, 128, 16)),
                holds=chance.uniform(0.05, 6),
                releases=chance.random() < 0.7,
                slow=chance.random() < 0.4,
            )
        )
    return tuple(sorted(freezes, key=lambda freeze: freeze.at))


def _steps(chance: Random, profile: Profile, seconds: float) -> tuple[StepPlan, ...]:
    steps = []
    for _ in range(chance.randint(*profile.steps)):
        size = chance.choice((500, 5_000, 60_000, 3_600_000, 10_800_000))
        steps.append(StepPlan(chance.uniform(1, seconds), chance.choice((1, -1)) * chance.randint(size // 5, size)))
    return tuple(sorted(steps, key=lambda step: step.at))
