"""Law: after a COMMIT that failed the node says so, ends, and recovers from disk; what got its 202 is there."""

import resource
from pathlib import Path

import pytest
from rig_node import RigNode, rig_node

from posthouse.sdk.client import Client, Problem, Unreachable

pytestmark = pytest.mark.rig

EVENTS_MAX = 2_000
END_SECONDS_MAX = 30.0


def publish_until_refused(client: Client) -> tuple[list[str], str]:
    """Publish events of 8 KiB; ids of those with a 202, and the code of the refusal."""
    acknowledged = []
    for number in range(EVENTS_MAX):
        try:
            acknowledged.append(client.post("/v1/events", {"type": "t", "data": f"{number}" + "x" * 8_192})["id"])
        except Problem as problem:
            return acknowledged, problem.code
        except Unreachable:
            return acknowledged, "unreachable"
    raise AssertionError("the disk never refused")


def limit_files(node: RigNode, more_bytes: int) -> None:
    """Let no file of the running node grow by more than this: its writes fail from then on."""
    size = max(path.stat().st_size for path in node.data.iterdir()) + more_bytes
    _, hard = resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE)
    resource.prlimit(node.process.pid, resource.RLIMIT_FSIZE, (size, hard))


def test_a_node_whose_disk_fails_ends_and_nothing_acknowledged_is_missing_afterwards(tmp_path: Path) -> None:
    with rig_node(tmp_path) as node:
        node.start()
        node.add_endpoint("http://127.0.0.1:9/", ["*"])
        limit_files(node, 1 << 20)
        with Client(node.url, node.api_key, timeout_s=30.0, tries=1) as client:
            acknowledged, code = publish_until_refused(client)
        assert acknowledged
        assert code in {"store_unavailable", "unreachable"}, "an unknown outcome is never called success"
        assert node.process.wait(END_SECONDS_MAX) == 1
        assert "store_failed" in node.log()

        node.start()
        with node.client() as client:
            for event_id in acknowledged:
                assert client.get(f"/v1/events/{event_id}")["id"] == event_id
        assert node.books().imbalance == 0
        assert node.stop() == 0
