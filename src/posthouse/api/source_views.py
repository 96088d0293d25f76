"""What the API answers about sources and providers."""

from collections.abc import Sequence
from typing import Any, Literal, Self

import msgspec
from pydantic import Field

from posthouse.api.endpoint_views import SecretView
from posthouse.api.views import Timestamp, View, time_text
from posthouse.core.envelope import rfc3339
from posthouse.core.ids import SOURCE, make_id
from posthouse.core.inbound import Source
from posthouse.core.model import Secret
from posthouse.providers.preset import Preset


class SourceView(View):
    """A source."""

    id: str
    name: str
    provider: str
    tenant: str
    url: str = Field(description="What the sender calls. Whoever knows it can send requests to it.")
    state: Literal["active", "paused"]
    description: str
    fresh_seconds: int | None
    heartbeat_seconds: int | None
    body_bytes_max: int
    while_paused: Literal["hold", "refuse"]
    key_hosts: list[str]
    custom: dict[str, Any] | None = Field(description="What the sender does, if its provider is `custom`.")
    secrets: list[SecretView] = Field(description="Those that count now, newest first. Their values are never shown.")
    created_at: Timestamp
    updated_at: Timestamp

    @classmethod
    def of(cls, source: Source, secrets: Sequence[Secret], url: str) -> Self:
        """The view of ``source``, which is called by ``url``."""
        rules = source.rules
        return cls.model_validate(
            {
                "id": make_id(SOURCE, source.key),
                "name": source.name,
                "provider": source.provider,
                "tenant": source.tenant,
                "url": url,
                "state": source.state.value,
                "description": source.description,
                "fresh_seconds": rules.fresh_seconds,
                "heartbeat_seconds": rules.heartbeat_seconds,
                "body_bytes_max": rules.body_bytes_max,
                "while_paused": rules.while_paused.value,
                "key_hosts": list(rules.key_hosts),
                "custom": None if rules.declaration is None else msgspec.json.decode(rules.declaration),
                "secrets": [
                    {"created_at": rfc3339(s.created_at), "expires_at": time_text(s.expires_at)} for s in secrets
                ],
                "created_at": rfc3339(source.created_at),
                "updated_at": rfc3339(source.updated_at),
            }
        )


class DeletedSourceView(View):
    """A source that is gone."""

    id: str


class ProviderView(View):
    """What Posthouse knows of a sender."""

    name: str
    title: str
    docs: str = Field(description="The provider's own page on this.")
    needs_secret: bool = Field(description="false: its requests prove nothing.")
    secret_help: str = Field(description="Where its secret is found or made, and what it looks like.")
    heartbeat_seconds: int | None = Field(description="The rhythm in which it says that it is alive, if it does.")

    @classmethod
    def of(cls, preset: Preset) -> Self:
        """The view of ``preset``."""
        return cls(
            name=preset.name,
            title=preset.title,
            docs=preset.docs,
            needs_secret=preset.scheme.has_secret,
            secret_help=preset.secret_help,
            heartbeat_seconds=preset.heartbeat_seconds,
        )
