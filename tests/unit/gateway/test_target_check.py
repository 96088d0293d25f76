"""Where a URL leads is asked when it is saved."""

import asyncio

import pytest

from posthouse.core.address import AddressPolicy
from posthouse.core.errors import BlockedAddress, InvalidInput
from posthouse.gateway import target_check
from posthouse.gateway.target_check import TargetCheck


class Names:
    def __init__(self, *addresses: str, error: Exception | None = None) -> None:
        self.addresses = addresses
        self.error = error
        self.asked: list[str] = []

    async def __call__(self, host: str) -> tuple[str, ...]:
        self.asked.append(host)
        if self.error is not None:
            raise self.error
        return self.addresses


def check(names: Names, *allow: str) -> TargetCheck:
    return TargetCheck(AddressPolicy(allow), names)


async def test_an_address_is_not_resolved() -> None:
    names = Names()
    await check(names).check("https://93.184.215.14/x")
    with pytest.raises(BlockedAddress):
        await check(names).check("https://127.0.0.1/x")
    await check(names, "127.0.0.0/8").check("https://127.0.0.1/x")
    assert names.asked == []


async def test_every_address_of_a_name_must_be_allowed() -> None:
    await check(Names("93.184.215.14", "2606:2800:21f::1")).check("https://good.test/")
    for bad in ("10.0.0.1", "::1", "::ffff:169.254.169.254", "not an address"):
        with pytest.raises(BlockedAddress) as refusal:
            await check(Names("93.184.215.14", bad)).check("https://bad.test/")
        assert refusal.value.errors[0]["path"] == "url"


@pytest.mark.parametrize("error", [OSError("no such name"), TimeoutError(), UnicodeError("label too long")])
async def test_a_name_that_does_not_resolve_is_let_through(error: Exception) -> None:
    await check(Names(error=error)).check("https://later.test/")


async def test_a_name_server_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(target_check, "RESOLVE_SECONDS_MAX", 0.001)

    async def hang(host: str) -> list[str]:
        await asyncio.Event().wait()
        return [host]

    await TargetCheck(AddressPolicy(), hang).check("https://slow.test/")


async def test_what_is_no_url_is_refused() -> None:
    with pytest.raises(InvalidInput):
        await check(Names()).check("https://user@x.test/")
