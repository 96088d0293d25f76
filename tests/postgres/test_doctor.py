"""What doctor says of a database."""

import pytest

from posthouse.cli.database_checks import check_database
from posthouse.cli.findings import Verdict
from posthouse.store.postgres import server
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import TEMPLATE, UNSAFE, connect


def test_a_server_that_loses_what_it_acknowledged_is_wrong(cluster: Cluster) -> None:
    (finding,) = check_database(cluster.dsn(TEMPLATE))
    assert (finding.name, finding.verdict) == ("database", Verdict.WRONG)
    assert "fsync=off" in finding.message
    assert "fsync = on" in finding.advice


def test_a_database_that_is_not_there_is_named(cluster: Cluster) -> None:
    (finding,) = check_database(cluster.dsn("absent"))
    assert finding.verdict is Verdict.WRONG
    assert '"absent"' in finding.message
    assert "address of the database" in finding.advice


@pytest.mark.parametrize("begun", ["INSERT INTO held VALUES (1)", "SELECT FROM held"])
async def test_a_transaction_that_is_in_the_way_is_named(
    cluster: Cluster, hooks: str, begun: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "LONG_S", 0)
    other = await connect(cluster, hooks)
    await other.execute("CREATE TABLE held (n integer); SET application_name = 'report'")
    transaction = other.transaction(isolation="repeatable_read")
    await transaction.start()
    await other.execute(begun)
    warnings = (await server.examine(cluster.dsn(hooks), rules=UNSAFE)).warnings
    assert [w for w in warnings if f"process {other.get_server_pid()} (report) in database {hooks}" in w]
    await transaction.rollback()
    await other.close()
