"""A simulated disk for the embedded store: it loses power, lies, fills up and fails when it is told to.

SQLite runs on it unchanged, through a VFS over real files. The disk knows at every instant what is
durable, and so what a power cut would leave::

    with memory_folder() as folder, Disk(folder, random.Random(7)) as disk:
        store = await open_store(disk.directory, clock=clock, vfs=disk.vfs)
        ...
        disk.crash(power=True)
        store = await open_store(disk.directory, clock=clock, vfs=disk.vfs)  # what a new process finds
"""

from posthouse.testing.disk.calls import Call, DiskError, FileKind
from posthouse.testing.disk.disk import Disk, memory_folder
from posthouse.testing.disk.faults import DiskFaults, Fault
from posthouse.testing.disk.recorder import DiskStatistics

__all__ = ["Call", "Disk", "DiskError", "DiskFaults", "DiskStatistics", "Fault", "FileKind", "memory_folder"]
