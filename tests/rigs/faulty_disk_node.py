"""A node like any other, on a disk that is slow or small.

Usage: ``python tests/rigs/faulty_disk_node.py [--sync-seconds 0.5] [--disk-bytes 8000000]`` with options of
``posthouse serve``.
"""

import argparse
import sys
from pathlib import Path
from random import Random

from posthouse.app import run
from posthouse.assembly import Machine
from posthouse.config import load_config
from posthouse.testing.disk.recorder import Recorder
from posthouse.testing.disk.vfs import DiskVfs


def main() -> int:
    """Run the node until a signal ends it; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sync-seconds", type=float, default=0.0)
    parser.add_argument("--disk-bytes", type=int)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--allow-network", dest="allow_networks", action="append")
    parser.add_argument("--log-level")
    flags = vars(parser.parse_args())
    recorder = Recorder(Random(0), trace=None)
    recorder.faults.bytes_max = flags.pop("disk_bytes")
    recorder.faults.sync_seconds = flags.pop("sync_seconds")
    vfs = DiskVfs("faulty-disk", recorder)
    try:
        return run(load_config(flags, environ={}, config_file=None), Machine(vfs="faulty-disk"))
    finally:
        vfs.unregister()


if __name__ == "__main__":
    sys.exit(main())
