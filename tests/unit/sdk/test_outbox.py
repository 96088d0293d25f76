"""publish() refuses what the API refuses, knows its libraries, and needs none of them."""

import re
import subprocess
import sys
from typing import Any

import msgspec
import pytest

from posthouse.core import limits
from posthouse.core.errors import InvalidInput, MalformedJson, PosthouseError, TooLarge
from posthouse.core.model import Environment
from posthouse.gateway.publish import Publisher
from posthouse.sdk.client import NewEvent
from posthouse.sdk.outbox import _uuid7, outbox_schema, publish


class Recording:
    """A connection of asyncpg, as far as publish() looks."""

    def __init__(self) -> None:
        self.statements: list[tuple[str, tuple[object, ...]]] = []

    def is_in_transaction(self) -> bool:
        return True

    async def execute(self, statement: str, *args: object) -> None:
        self.statements.append((statement, args))


Recording.__module__ = "asyncpg.connection"


class Mine(Recording):
    """What an application made of it."""


BAD: list[bytes] = [
    b"",
    b"{",
    b"[]",
    b'{"type":"a"}',
    b'{"data":1}',
    b'{"type":"a","data":1,"colour":"red"}',
    b'{"type":1,"data":1}',
    b'{"type":"","data":1}',
    b'{"type":"a b","data":1}',
    b'{"type":"a","data":"\\u0000"}',
    b'{"type":"a","data":"\xff"}',
    b'{"type":"a","data":' + b"[" * 70 + b"]" * 70 + b"}",
    b'{"type":"a","data":1,"id":"a.b"}',
    b'{"type":"a","data":1,"id":"evt_0000000000000"}',
    b'{"type":"a","data":1,"tenant":""}',
    b'{"type":"a","data":1,"tenant":"no blank"}',
    b'{"type":"a","data":1,"ordering_key":""}',
    b'{"type":"a","data":1,"occurred_at":"yesterday"}',
    b'{"type":"a","data":"' + b"x" * limits.EVENT_BODY_BYTES_MAX + b'"}',
]


class Nothing:
    """What a publisher needs that gets no further than to check."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"nothing was to be asked for {name}")

    def now_ms(self) -> int:
        return 0


@pytest.mark.parametrize("body", BAD, ids=lambda body: repr(body[:40]))
async def test_what_the_api_refuses_is_refused_with_the_same_words(body: bytes) -> None:
    nothing: Any = Nothing()
    with pytest.raises(PosthouseError) as by_api:
        await Publisher(nothing, nothing, nothing, nothing, nothing).publish(Environment.LIVE, body, None)
    connection = Recording()
    with pytest.raises(PosthouseError) as by_outbox:
        await publish(connection, body)
    assert connection.statements == []
    assert type(by_outbox.value) is type(by_api.value)
    assert (by_outbox.value.message, by_outbox.value.errors, by_outbox.value.advice) == (
        by_api.value.message,
        by_api.value.errors,
        by_api.value.advice,
    )


def test_the_refusals_are_of_several_kinds() -> None:
    kinds = set()
    for body in BAD:
        with pytest.raises(PosthouseError) as refused:
            publish(Recording(), body)
        kinds.add(type(refused.value))
    assert kinds == {InvalidInput, MalformedJson, TooLarge}


async def test_an_event_is_a_mapping_or_the_clients_or_json() -> None:
    connection = Mine()
    raw = msgspec.Raw(b'{"n": 1.0}')
    ids = [
        await publish(connection, {"type": "a", "data": raw, "id": "x"}),
        await publish(connection, NewEvent(type="a", data=raw, id="x")),
        await publish(connection, b'{"type":"a", "data": {"n": 1.0}, "id":"x"}'),
    ]
    assert ids == ["x"] * 3
    values = ("x", "live", "default", "a", None, None, b'{"n": 1.0}')
    assert {args for _, args in connection.statements} == {values}
    (statement,) = {statement for statement, _ in connection.statements}
    assert statement.startswith("INSERT INTO posthouse.posthouse_outbox_v1 (id, environment, tenant, type,")


async def test_an_environment_and_a_schema_are_checked() -> None:
    with pytest.raises(InvalidInput):
        await publish(Recording(), {"type": "a", "data": 1}, environment="staging")
    for name in ("a.b", 'a"', "", "A", "1a", "x" * 64):
        with pytest.raises(ValueError, match="plain name"):
            publish(Recording(), {"type": "a", "data": 1}, schema=name)
        with pytest.raises(ValueError, match="plain name"):
            outbox_schema(gateway=name)


def test_an_unknown_connection_is_refused() -> None:
    with pytest.raises(TypeError, match=r"class builtins\.object"):
        publish(object(), {"type": "a", "data": 1})


def test_an_id_of_our_own_is_a_uuid_of_version_7() -> None:
    assert _uuid7(0x0190_1234_5678, 0) == "01901234-5678-7000-8000-000000000000"
    assert _uuid7(0x0190_1234_5678, (1 << 74) - 1) == "01901234-5678-7fff-bfff-ffffffffffff"
    ids = [_uuid7(ms, (1 << 74) - 1 - ms) for ms in range(1_800_000_000_000, 1_800_000_000_100)]
    assert ids == sorted(ids)


def test_grants_are_made_for_those_who_are_named() -> None:
    assert "GRANT" not in outbox_schema()
    script = outbox_schema(schema="mail", application="shop", gateway="keeper")
    assert set(re.findall(r"TO (\w+);", script)) == {"shop", "keeper"}
    assert "posthouse." not in script


def test_none_of_the_libraries_is_loaded() -> None:
    """An application has one of them, and a gateway none."""
    program = (
        "import sys, posthouse.sdk.outbox; "
        "sys.exit(bool({'sqlalchemy', 'asyncpg', 'psycopg', 'django', 'httpx2'} & sys.modules.keys()))"
    )
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
