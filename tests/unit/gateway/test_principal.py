"""Recognising API keys, and what their scopes allow."""

import pytest

from posthouse.core.errors import Forbidden, Unauthorized
from posthouse.core.model import ApiKey, Environment, Scope
from posthouse.gateway.catalogue import Catalogue
from posthouse.gateway.keys import base62
from posthouse.gateway.principal import ALLOWED, Authenticator, Permission, Principal, hash_of

KEY = "ph_live_abc"


def api_key(revoked_at: int | None = None) -> ApiKey:
    return ApiKey(
        key=1,
        hash=hash_of(KEY),
        prefix="ph_live_a",
        environment=Environment.LIVE,
        scope=Scope.READ,
        name="n",
        created_at=0,
        revoked_at=revoked_at,
    )


@pytest.fixture
def catalogue() -> Catalogue:
    made = Catalogue(None)  # type: ignore[arg-type]  # nothing is read from a store here
    made.apply_api_key(api_key(), 1)
    return made


@pytest.mark.parametrize("header", [f"Bearer {KEY}", f"bearer {KEY}", f"BEARER  {KEY} "])
def test_a_key_is_recognised(catalogue: Catalogue, header: str) -> None:
    principal = Authenticator(catalogue).authenticate(header)
    assert principal == Principal(Environment.LIVE, Scope.READ, 1)


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        KEY,
        f"Basic {KEY}",
        f"Bearer{KEY}",
        f"Bearer {KEY}x",
        f"Bearer {KEY[:-1]}",
        f"Bearer {KEY} {KEY}",
        "Bearer " + "x" * 300,
        "Bearer \udcff",
    ],
)
def test_everything_else_is_not(catalogue: Catalogue, header: str | None) -> None:
    with pytest.raises(Unauthorized):
        Authenticator(catalogue).authenticate(header)


def test_a_revoked_key_is_unknown(catalogue: Catalogue) -> None:
    catalogue.apply_api_key(api_key(revoked_at=5), 2)
    with pytest.raises(Unauthorized):
        Authenticator(catalogue).authenticate(f"Bearer {KEY}")


@pytest.mark.parametrize("scope", list(Scope))
@pytest.mark.parametrize("permission", list(Permission))
def test_a_scope_allows_what_the_matrix_says(scope: Scope, permission: Permission) -> None:
    principal = Principal(Environment.TEST, scope, 1)
    if permission in ALLOWED[scope]:
        principal.require(permission)
    else:
        with pytest.raises(Forbidden, match=permission.value):
            principal.require(permission)


def test_the_text_of_a_key_is_one_word_of_fixed_length() -> None:
    texts = [base62(bytes([value]) * 32) for value in (0, 1, 127, 255)]
    assert {len(text) for text in texts} == {43}
    assert all(text.isalnum() for text in texts)
    assert texts == sorted(set(texts))
