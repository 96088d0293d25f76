"""Documents that requests name: the last line before a request of somebody else's choice leaves."""

import pytest

from posthouse.inbox.proofs import Documents, Unavailable
from posthouse.providers.preset import Fetch
from posthouse.telemetry import Metrics
from posthouse.testing.manual_clock import ManualClock
from posthouse.testing.scripted_transport import ScriptedTransport, answer

HOSTS = ("keys.example.com", "*.example.org")


@pytest.mark.parametrize(
    "url",
    [
        "http://keys.example.com/k",
        "https://keys.example.com:8443/k",
        "https://keys.example.com@evil.example/k",
        "https://keys.example.com.evil.example/k",
        "https://a.b.example.org/k",
        "https://example.org/k",
        "https://169.254.169.254/latest/meta-data",
        "file:///etc/passwd",
        "",
    ],
)
async def test_no_other_host_is_ever_asked(url: str) -> None:
    """Although a preset has let it through."""
    transport = ScriptedTransport()
    documents = Documents(transport, ManualClock(), Metrics())
    with pytest.raises(Unavailable, match="not allowed"):
        await documents.get(Fetch(url, HOSTS))
    assert transport.requests == []


@pytest.mark.parametrize("url", ["https://keys.example.com/k", "https://eu.example.org/k", "https://EU.Example.org/k"])
async def test_an_allowed_host_is_asked(url: str) -> None:
    transport = ScriptedTransport(lambda _: answer(body=b"the key"))
    documents = Documents(transport, ManualClock(), Metrics())
    assert [await documents.get(Fetch(url, HOSTS)) for _ in range(2)] == [b"the key", b"the key"]
    assert [request.url for request in transport.requests] == [url]
