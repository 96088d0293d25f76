"""Where a URL leads, asked when an endpoint is saved. The transport asks again each time that it dials."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from posthouse.core.address import AddressPolicy
from posthouse.core.errors import BlockedAddress
from posthouse.core.url import literal_address, parse_target

#: All addresses of a host name. Raises OSError if there are none.
Resolve = Callable[[str], Awaitable[Sequence[str]]]

RESOLVE_SECONDS_MAX: Final = 5.0


class TargetCheck:
    """Refuses URLs that lead to an address that must not be called."""

    def __init__(self, policy: AddressPolicy, resolve: Resolve) -> None:
        self._policy = policy
        self._resolve = resolve

    async def check(self, url: str) -> None:
        """Raise BlockedAddress if any address of the URL's host is refused, and InvalidInput if it is no URL.

        A name that does not resolve now is let through: it is checked when it is dialled.
        """
        target = parse_target(url)
        literal = literal_address(target)
        for address in [literal] if literal is not None else await self._addresses(target.host):
            refusal = self._policy.refusal(address)
            if refusal is not None:
                where = "The address" if literal is not None else f"The host name has the address {address}, which"
                raise BlockedAddress.at("url", refusal, f"{where} must not be called: {refusal.replace('_', ' ')}.")

    async def _addresses(self, host: str) -> Sequence[str]:
        try:
            async with asyncio.timeout(RESOLVE_SECONDS_MAX):
                return await self._resolve(host)
        except (OSError, UnicodeError):  # a time-out is an OSError
            return []
