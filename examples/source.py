"""Receive what GitHub sends: make a source, play the sender, see what came of it.

POSTHOUSE_URL and POSTHOUSE_API_KEY say where the node is and who asks.
"""

import hmac
import json
import os
import time
from urllib.request import Request, urlopen

from posthouse.sdk.client import Client

SECRET = "what you typed into the settings of the webhook"  # noqa: S105 - an example


def main() -> None:
    """Send three requests, one of them a repetition."""
    with Client(os.environ["POSTHOUSE_URL"], os.environ["POSTHOUSE_API_KEY"]) as client:
        source = client.post("/v1/sources", {"name": "our repositories", "provider": "github", "secrets": [SECRET]})
        for delivery, number in (("delivery-1", 7), ("delivery-2", 8), ("delivery-1", 7)):
            print(f"{delivery}: {play_github(source['url'], delivery, number)}")
        # The answers say that the requests are kept. Reading them takes a moment more.
        path = f"/v1/requests?source={source['id']}"
        found = client.get(path)["data"]
        while any(request["waiting"] for request in found):
            time.sleep(0.02)
            found = client.get(path)["data"]
        print(f"{sum(r['events'] for r in found)} events, {sum(r['duplicates'] for r in found)} repetition")


def play_github(url: str, delivery: str, number: int) -> int:
    """What GitHub does when an issue is opened; the status of the answer."""
    body = json.dumps({"action": "opened", "issue": {"number": number}}).encode()
    headers = {
        "Content-Type": "application/json",
        "X-GitHub-Event": "issues",
        "X-GitHub-Delivery": delivery,
        "X-Hub-Signature-256": "sha256=" + hmac.digest(SECRET.encode(), body, "sha256").hex(),
    }
    with urlopen(Request(url, body, headers)) as answer:  # noqa: S310 - the URL is the node's own
        status: int = answer.status
    return status


if __name__ == "__main__":
    main()
