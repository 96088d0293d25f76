"""What a check-up found, and how each measurement is judged. Pure: measuring is done elsewhere."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

from posthouse.cli.wording import byte_count, duration, milliseconds

GIB: Final = 1 << 30
DISK_FREE_WRONG: Final = 200 << 20  #: bytes; a write-ahead log of a busy node may grow so large
DISK_FREE_WARNING: Final = 2 * GIB
FSYNC_SLOW_MS: Final = 20.0  #: a commit waits for one fsync, so accepting an event takes at least as long
FSYNC_TAIL_SLOW_MS: Final = 200.0
FSYNC_UNREAL_MS: Final = 0.005  #: faster than any device answers
CLOCK_STEP_WARNING_MS: Final = 20.0
CLOCK_OFFSET_WARNING_S: Final = 2.0  #: the Date header has whole seconds
CLOCK_OFFSET_WRONG_S: Final = 60.0  #: receivers refuse signatures that are five minutes off
OPEN_FILES_SPARE: Final = 512  #: beside the connections to endpoints: callers, the store, libraries

#: File systems whose locks and fsync do not hold what the store relies on.
NETWORK_FILESYSTEMS: Final = frozenset(
    {"9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.sshfs", "glusterfs", "lustre", "ncpfs", "nfs", "nfs4"}
    | {"smb3", "smbfs", "vboxsf", "virtiofs"}
)
MEMORY_FILESYSTEMS: Final = frozenset({"ramfs", "tmpfs"})


class Verdict(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARNING = "warning"  #: works, but look at it
    WRONG = "wrong"  #: mend it: data or deliveries are at risk
    SKIPPED = "skipped"  #: could not be checked here


class Finding(NamedTuple):
    """One thing that was looked at."""

    name: str
    verdict: Verdict
    message: str
    advice: str = ""  #: what to do; empty when nothing is


def judge_disk(free: int, total: int) -> Finding:
    """Whether the store has room to grow."""
    message = f"{byte_count(free)} free of {byte_count(total)}"
    if free < DISK_FREE_WRONG:
        return Finding("disk space", Verdict.WRONG, message, "Free some space now: a full disk stops accepting.")
    if free < DISK_FREE_WARNING:
        return Finding("disk space", Verdict.WARNING, message, "Free some space, or move the data directory.")
    return Finding("disk space", Verdict.OK, message)


def judge_filesystem(kind: str | None) -> Finding:
    """Whether the file system keeps what was synced, and its locks."""
    if kind is None:
        return Finding("file system", Verdict.SKIPPED, "its type cannot be read here")
    if kind in NETWORK_FILESYSTEMS:
        advice = "Put the data directory on a local disk: over a network, locks and fsync may not hold."
        return Finding("file system", Verdict.WRONG, f"{kind}, a network file system", advice)
    if kind in MEMORY_FILESYSTEMS:
        advice = "Put the data directory on a disk: what is here is gone after a restart of the machine."
        return Finding("file system", Verdict.WARNING, f"{kind}, in memory", advice)
    return Finding("file system", Verdict.OK, kind)


def judge_fsync(durations_ms: list[float]) -> Finding:
    """Whether syncing is fast enough to live with, and slow enough to be true. Needs at least one duration."""
    ordered = sorted(durations_ms)
    median = ordered[len(ordered) // 2]
    p99 = ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    message = f"median {milliseconds(median)}, p99 {milliseconds(p99)} ({len(ordered)} syncs of 4 KiB)"
    if median < FSYNC_UNREAL_MS:
        advice = "Nothing is that fast: find out whether this disk really syncs, or events are lost with the power."
        return Finding("fsync", Verdict.WARNING, message, advice)
    if median > FSYNC_SLOW_MS or p99 > FSYNC_TAIL_SLOW_MS:
        advice = "Every acknowledgement waits for a sync: use a faster disk, or publish in batches."
        return Finding("fsync", Verdict.WARNING, message, advice)
    return Finding("fsync", Verdict.OK, message)


def judge_open_files(soft: int, hard: int, in_flight_max: int) -> Finding:
    """Whether the node may open all connections that its settings allow. A negative limit means none."""
    needed = in_flight_max + OPEN_FILES_SPARE
    message = f"limit {soft:,}" if soft >= 0 else "no limit"
    if 0 <= soft < needed:
        can = "" if 0 <= hard < needed else f" ('ulimit -n {max(needed, 65_536 if hard < 0 else hard)}')"
        advice = f"Raise it to {needed:,} or more{can}, or lower in_flight_max."
        return Finding("open files", Verdict.WRONG, f"{message}, and {needed:,} are needed", advice)
    return Finding("open files", Verdict.OK, message)


def judge_clock_steps(step_ms: float, watched_s: float) -> Finding:
    """Whether the wall clock ran as evenly as the monotonic one while it was watched."""
    message = f"differs from the monotonic clock by {abs(step_ms):.1f} ms in {duration(watched_s)}"
    if abs(step_ms) > CLOCK_STEP_WARNING_MS:
        advice = "Let a time service slew the clock instead of stepping it (chrony, systemd-timesyncd)."
        return Finding("clock", Verdict.WARNING, message, advice)
    return Finding("clock", Verdict.OK, message)


def judge_clock_offset(offset_s: float) -> Finding:
    """Whether the node and this machine agree on the time."""
    message = f"the node is {abs(offset_s):.0f} s {'ahead of' if offset_s > 0 else 'behind'} this machine"
    advice = "Set both clocks with a time service: receivers refuse signatures that are minutes off."
    if abs(offset_s) >= CLOCK_OFFSET_WRONG_S:
        return Finding("node clock", Verdict.WRONG, message, advice)
    if abs(offset_s) > CLOCK_OFFSET_WARNING_S:
        return Finding("node clock", Verdict.WARNING, message, advice)
    return Finding("node clock", Verdict.OK, "agrees with this machine")


def judge_key_mode(mode: int, path: str) -> Finding:
    """Whether others can read the key file, from its permission bits."""
    if mode & 0o077:
        return Finding("API key file", Verdict.WRONG, f"{path} has mode {mode & 0o777:o}", f"Run 'chmod 600 {path}'.")
    return Finding("API key file", Verdict.OK, f"{path}, readable by its owner alone")


def judge_books(books: Mapping[str, int]) -> Finding:
    """Whether everything that was accepted is accounted for."""
    if books["imbalance"]:
        advice = "Keep the data directory as it is; 'posthouse audit' shows whose deliveries they are."
        return Finding("books", Verdict.WRONG, f"{books['imbalance']:,} deliveries off", advice)
    parts = [f"{books[name]:,} {name}" for name in ("delivered", "waiting", "retrying", "exhausted") if books[name]]
    message = f"balance: {books['owed']:,} owed" + (f" = {' + '.join(parts)}" if parts else "")
    if books["exhausted"]:
        advice = "See them with 'posthouse deliveries list --status exhausted'; 'posthouse retry' tries again."
        return Finding("books", Verdict.WARNING, message, advice)
    return Finding("books", Verdict.OK, message)
