"""The address of a database, taken apart."""

import pytest

from posthouse.core.errors import ConfigurationError
from posthouse.store.postgres.dsn import Dsn, is_dsn, parse_dsn


def test_a_plain_address() -> None:
    assert parse_dsn("postgresql://app:s%40cret@db.example:6432/post") == Dsn(
        hosts=(("db.example", 6432),), database="post", user="app", password="s@cret"
    )


def test_several_hosts() -> None:
    """Whichever of them takes writes is used."""
    dsn = parse_dsn("postgres://app@a:1,b,[::1]:3/post")
    assert dsn.hosts == (("a", 1), ("b", 5432), ("::1", 3))
    assert (dsn.user, dsn.password) == ("app", None)


@pytest.mark.parametrize(
    ("options", "hosts"),
    [
        ("host=/run/postgresql", (("/run/postgresql", 5432),)),
        ("host=%2Fvar%2Fx&port=7", (("/var/x", 7),)),
        ("host=a,b&port=7", (("a", 7), ("b", 7))),
        ("host=a,b&port=7,8", (("a", 7), ("b", 8))),
    ],
)
def test_hosts_as_options(options: str, hosts: tuple[tuple[str, int], ...]) -> None:
    assert parse_dsn(f"postgresql:///post?{options}&user=app").hosts == hosts


def test_options() -> None:
    dsn = parse_dsn("postgresql://a/post?schema=hooks&durability=server&sslmode=verify-full&sslrootcert=%2Fca.pem")
    assert (dsn.schema, dsn.durable, dsn.pooled) == ("hooks", False, False)
    assert parse_dsn("postgresql://a/post?pgbouncer=true").pooled
    assert dsn.tls == (("sslmode", "verify-full"), ("sslrootcert", "/ca.pem"))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/var/lib/posthouse",
        "mysql://a/post",
        "postgresql://",
        "postgresql:///post",
        "postgresql://a",
        "postgresql://a:0/post",
        "postgresql://a:x/post",
        "postgresql://a:70000/post",
        "postgresql://[::1/post",
        "postgresql:///post?host=a,b,c&port=1,2",
        "postgresql://a/post?shcema=x",
        "postgresql://a/post?schema=Big",
        "postgresql://a/post?schema=a;b",
        "postgresql://a/post?schema=",
        "postgresql://a/post?durability=none",
        "postgresql://a/post?pgbouncer=prepared",
        "postgresql://a/post?sslmode=maybe",
        "postgresql://a/post?sslmode",
        "postgresql://a/post?target_session_attrs=any",
    ],
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError):
        parse_dsn(text)


def test_a_password_is_never_shown() -> None:
    text = "postgresql://app:secret@a/post"
    assert "secret" not in repr(parse_dsn(text))
    with pytest.raises(ConfigurationError) as told:
        parse_dsn(text + "?password2=secret")
    assert "secret" not in str(told.value)


def test_a_folder_is_no_address() -> None:
    assert is_dsn("postgresql://a/b")
    assert is_dsn("postgres://a/b")
    assert not is_dsn("postgresql")
    assert not is_dsn(7)
