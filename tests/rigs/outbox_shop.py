"""An application that sells: each sale is a transaction that writes its own table and publishes events, or rolls back.

Usage: ``python tests/rigs/outbox_shop.py DSN SEED``. It runs until it is killed.
"""

import asyncio
import contextlib
import sys
from random import Random
from typing import Any
from uuid import UUID

import asyncpg

from posthouse.sdk.outbox import publish

TILLS = 3  #: connections that sell side by side
CHAINS = 4  #: rows that sales wait for each other at
OPEN_SECONDS_MAX = 0.02  #: that a sale stays open between its statements
GIVEN_UP = 0.3  #: of the sales
NEVER = 99  #: the position of what is rolled back to a savepoint

TABLES = """
CREATE TABLE tried (id text PRIMARY KEY);
CREATE TABLE chains (chain integer PRIMARY KEY, length integer NOT NULL);
CREATE TABLE sales (id text PRIMARY KEY, chain integer NOT NULL, place integer NOT NULL, events integer NOT NULL);
INSERT INTO chains SELECT chain, 0 FROM generate_series(0, 3) AS chain;
"""


class GivenUp(Exception):
    """The sale, or a part of it, is rolled back."""


def consider(chance: Random) -> None:
    """Give up now and then."""
    if chance.random() < GIVEN_UP:
        raise GivenUp


async def sell(connection: Any, chance: Random) -> None:
    """One sale: it waits for the one before it in its chain, and publishes what has happened."""
    sale = str(UUID(int=chance.getrandbits(128)))
    await connection.execute("INSERT INTO tried VALUES ($1)", sale)
    async with connection.transaction():
        chain = chance.randrange(CHAINS)
        place = await connection.fetchval(
            "UPDATE chains SET length = length + 1 WHERE chain = $1 RETURNING length", chain
        )
        events = chance.randrange(1, 4)
        for position in range(events):
            await publish(connection, event(sale, chain, place, position))
            await connection.execute("SELECT pg_sleep($1)", chance.uniform(0, OPEN_SECONDS_MAX))
        with contextlib.suppress(GivenUp):
            async with connection.transaction():
                await publish(connection, event(sale, chain, place, NEVER))
                raise GivenUp
        await connection.execute("INSERT INTO sales VALUES ($1, $2, $3, $4)", sale, chain, place, events)
        consider(chance)


def event(sale: str, chain: int, place: int, position: int) -> dict[str, object]:
    """What is published: enough to find its sale and its place again."""
    return {"type": "sale.made", "data": {"sale": sale, "chain": chain, "place": place, "position": position}}


async def till(dsn: str, chance: Random) -> None:
    """Sell for ever."""
    connection = await asyncpg.connect(dsn)
    while True:
        with contextlib.suppress(GivenUp):
            await sell(connection, chance)


async def main(dsn: str, seed: int) -> None:
    """Sell at all tills."""
    await asyncio.gather(*(till(dsn, Random(f"{seed}/{number}")) for number in range(TILLS)))


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
