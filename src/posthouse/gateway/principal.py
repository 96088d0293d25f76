"""Who asks: the API key behind a request, and what its scope allows."""

from enum import StrEnum
from hashlib import sha256
from types import MappingProxyType
from typing import Final

import msgspec

from posthouse.core.errors import Forbidden, Unauthorized
from posthouse.core.model import ApiKey, Environment, Scope
from posthouse.gateway.catalogue import Catalogue

_SCHEME: Final = "bearer "
_HEADER_CHARS_MAX: Final = 256


class Permission(StrEnum):
    """What a request needs."""

    PUBLISH = "publish"  #: publish events
    READ = "read"  #: read anything
    MANAGE = "manage"  #: change anything else


#: The whole matrix: scope → what it allows.
ALLOWED: Final = MappingProxyType(
    {
        Scope.ADMIN: frozenset(Permission),
        Scope.PUBLISH: frozenset({Permission.PUBLISH}),
        Scope.READ: frozenset({Permission.READ}),
    }
)


class Principal(msgspec.Struct, frozen=True):
    """An API key that was recognised."""

    environment: Environment
    scope: Scope
    key: int  #: of the API key

    def require(self, permission: Permission) -> None:
        """Raise Forbidden unless the scope allows ``permission``."""
        if permission not in ALLOWED[self.scope]:
            raise Forbidden(f"A key with the scope '{self.scope}' does not allow to {permission}.")


class Authenticator:
    """Recognises API keys in memory; nothing is read from the store."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue

    def authenticate(self, header: str | None) -> Principal:
        """The principal behind an Authorization header. Raises Unauthorized.

        The key is looked up by its SHA-256, so the time that it takes says nothing about other keys.
        """
        if header is None:
            raise Unauthorized("There is no Authorization header.")
        if len(header) > _HEADER_CHARS_MAX or header[: len(_SCHEME)].lower() != _SCHEME:
            raise Unauthorized("The Authorization header is not 'Bearer <API key>'.")
        api_key = self._catalogue.api_key_by_hash(hash_of(header[len(_SCHEME) :].strip()))
        if api_key is None:
            raise Unauthorized("The API key is not known, or it was revoked.")
        return principal_of(api_key)


def hash_of(text: str) -> bytes:
    """What is stored of an API key's text: its SHA-256. The text has 256 random bits, so a fast hash is right."""
    return sha256(text.encode("utf-8", "surrogatepass")).digest()


def principal_of(api_key: ApiKey) -> Principal:
    """The principal that ``api_key`` makes."""
    return Principal(api_key.environment, api_key.scope, api_key.key)
