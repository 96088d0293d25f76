"""What every route knows of its caller."""

from typing import Annotated

from fastapi import Depends, Header
from starlette.requests import Request

from posthouse.api.gate import PRINCIPAL
from posthouse.gateway.principal import Principal


async def _principal(request: Request) -> Principal:  # a plain function would be run on a thread
    principal: Principal = request.scope[PRINCIPAL]
    return principal


Caller = Annotated[Principal, Depends(_principal)]
IdempotencyKey = Annotated[
    str | None,
    Header(
        alias="Idempotency-Key",
        description="Makes a repeat recognisable: the same key and body give the same answer, done once.",
        examples=["5f1c7f0e-6c1d-4f0e-9c39-0b0a3f1f7d1e"],
    ),
]
