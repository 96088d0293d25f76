"""A node whose store is in a PostgreSQL database: it drains the outbox that stands in there.

Usage: ``python tests/rigs/outbox_node.py --database DSN`` with options of ``posthouse serve``.
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from posthouse import assembly
from posthouse.app import run
from posthouse.config import load_config
from posthouse.store.open import open_store
from posthouse.store.protocol import Store


def main() -> int:
    """Run the node until a signal ends it; its exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--database", required=True)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int)
    parser.add_argument("--allow-network", dest="allow_networks", action="append")
    parser.add_argument("--log-level")
    flags = vars(parser.parse_args())
    dsn: str = flags.pop("database")
    flags["data"].mkdir(exist_ok=True)

    async def open_database(_directory: Path, **options: Any) -> Store:
        return await open_store(dsn, **options)

    vars(assembly)["open_store"] = open_database
    return run(load_config(flags, environ={}, config_file=None))


if __name__ == "__main__":
    sys.exit(main())
