"""``/v1/nodes``."""

from fastapi import APIRouter

from posthouse.api.node_views import NodeView
from posthouse.api.routes.caller import Caller
from posthouse.api.views import Page, page
from posthouse.gateway.nodes import Nodes


def node_routes(nodes: Nodes) -> APIRouter:
    """The route of the register of nodes."""
    routes = APIRouter(prefix="/v1/nodes", tags=["nodes"])

    @routes.get("", summary="List the nodes that work on the store, by name")
    async def list_nodes(caller: Caller) -> Page[NodeView]:
        del caller  # the same for everybody
        return page([NodeView.of(detail) for detail in await nodes.all()], None)

    return routes
