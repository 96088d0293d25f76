"""Real webhook payloads to publish. ``data/NOTICE`` says where they come from."""

import gzip
from functools import cache
from importlib.resources import files

import msgspec


class Payload(msgspec.Struct, frozen=True):
    """One payload, with the type that it is published as."""

    type: str
    data: msgspec.Raw  #: JSON, sent byte for byte


@cache
def payloads() -> tuple[Payload, ...]:
    """All payloads, ordered by kind."""
    packed = files("posthouse.demo").joinpath("data/github-webhooks.ndjson.gz").read_bytes()
    return tuple(msgspec.json.Decoder(Payload).decode_lines(gzip.decompress(packed)))
