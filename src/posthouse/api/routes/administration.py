"""``/v1/audit``, ``/v1/keys``, ``/v1/outbox`` and ``/v1/tenants``."""

from typing import Annotated

from fastapi import APIRouter, Query

from posthouse.api.cursors import decode_key, decode_name, encode_keys, encode_name
from posthouse.api.requests import KeyBody, PageQuery, TenantQuery
from posthouse.api.routes.caller import Caller, IdempotencyKey
from posthouse.api.tenant_requests import TenantBody, TenantChangeBody
from posthouse.api.views import AuditView, KeyView, KeyWithSecretView, OutboxView, Page, TenantView, page
from posthouse.core.model import Environment, Scope
from posthouse.gateway.books import Books
from posthouse.gateway.keys import Keys
from posthouse.gateway.outbox import Outbox
from posthouse.gateway.tenants import Tenants

_KEYS = "k"
_TENANTS = "t"


def audit_routes(books: Books) -> APIRouter:
    """The route of the books."""
    routes = APIRouter(prefix="/v1/audit", tags=["audit"])

    @routes.get("", summary="Recount the books from rows")
    async def audit(caller: Caller, query: Annotated[TenantQuery, Query()]) -> AuditView:
        return AuditView.of(await books.audit(caller.environment, query.tenant))

    return routes


def outbox_routes(outbox: Outbox) -> APIRouter:
    """The route of the outboxes."""
    routes = APIRouter(prefix="/v1/outbox", tags=["outbox"])

    @routes.get("", summary="Show what waits in the outboxes that this node drains")
    async def outboxes(caller: Caller) -> Page[OutboxView]:
        del caller  # the same for everybody
        return page([OutboxView.of(source, status) for source, status in await outbox.status()], None)

    return routes


def key_routes(keys: Keys) -> APIRouter:
    """The routes of API keys."""
    routes = APIRouter(prefix="/v1/keys", tags=["keys"])

    @routes.post("", status_code=201, summary="Create an API key")
    async def create_key(caller: Caller, body: KeyBody, idempotency_key: IdempotencyKey = None) -> KeyWithSecretView:
        issued = await keys.create(
            caller,
            scope=Scope(body.scope),
            name=body.name,
            environment=None if body.environment is None else Environment(body.environment),
            idempotency_key=idempotency_key,
        )
        return KeyWithSecretView.issued(issued)

    @routes.get("", summary="List API keys, oldest first")
    async def list_keys(caller: Caller, query: Annotated[PageQuery, Query()]) -> Page[KeyView]:
        found = keys.page(caller.environment, after=decode_key(_KEYS, query.cursor), limit=query.limit + 1)
        shown = found[: query.limit]
        cursor = encode_keys(_KEYS, shown[-1].key) if len(found) > query.limit else None
        return page([KeyView.of(api_key) for api_key in shown], cursor)

    @routes.delete("/{key_id}", summary="Revoke an API key")
    async def revoke_key(caller: Caller, key_id: str) -> KeyView:
        return KeyView.of(await keys.revoke(caller.environment, key_id))

    return routes


def tenant_routes(tenants: Tenants) -> APIRouter:
    """The routes of tenants."""
    routes = APIRouter(prefix="/v1/tenants", tags=["tenants"])

    @routes.post("", status_code=201, summary="Create a tenant")
    async def create_tenant(caller: Caller, body: TenantBody, idempotency_key: IdempotencyKey = None) -> TenantView:
        del idempotency_key  # a tenant's id makes a repeat recognisable
        return TenantView.of(await tenants.create(caller.environment, body.id, body.name, body.rules()))

    @routes.get("", summary="List tenants by id")
    async def list_tenants(caller: Caller, query: Annotated[PageQuery, Query()]) -> Page[TenantView]:
        after = decode_name(_TENANTS, query.cursor)
        found = tenants.page(caller.environment, after=after, limit=query.limit + 1)
        shown = found[: query.limit]
        cursor = encode_name(_TENANTS, shown[-1].id) if len(found) > query.limit else None
        return page([TenantView.of(tenant) for tenant in shown], cursor)

    @routes.get("/{tenant_id:path}", summary="Show a tenant")
    async def get_tenant(caller: Caller, tenant_id: str) -> TenantView:
        return TenantView.of(tenants.get(caller.environment, tenant_id))

    @routes.patch("/{tenant_id:path}", summary="Change a tenant")
    async def update_tenant(caller: Caller, tenant_id: str, body: TenantChangeBody) -> TenantView:
        return TenantView.of(await tenants.update(caller.environment, tenant_id, body.change()))

    return routes
