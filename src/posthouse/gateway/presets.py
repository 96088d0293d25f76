"""Which preset a source has."""

from functools import lru_cache

import msgspec

from posthouse.core.inbound import Source
from posthouse.providers.custom import custom_preset, custom_spec
from posthouse.providers.index import preset_named
from posthouse.providers.preset import Preset

CUSTOM = "custom"  #: the provider whose preset its source declares


def preset_of(source: Source) -> Preset:
    """The preset of a source, with the hosts that it allows besides.

    Raises InvalidInput if there is none of this name, or its declaration is not valid; no source is stored so.
    """
    return _preset(source.provider, source.rules.declaration, source.rules.key_hosts)


@lru_cache(maxsize=1_024)
def _preset(provider: str, declaration: str | None, key_hosts: tuple[str, ...]) -> Preset:
    if provider == CUSTOM:
        return custom_preset(custom_spec((declaration or "").encode()))
    preset = preset_named(provider)
    if key_hosts and takes_key_hosts(preset):
        scheme = msgspec.structs.replace(preset.scheme, hosts=(*preset.scheme.hosts, *key_hosts))  # type: ignore[attr-defined, type-var]
        return msgspec.structs.replace(preset, scheme=scheme)
    return preset


def takes_key_hosts(preset: Preset) -> bool:
    """Whether senders of this kind sign with keys that may stand at a host of their own."""
    return hasattr(preset.scheme, "hosts")
