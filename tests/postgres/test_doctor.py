"""What doctor says of a database."""

from posthouse.cli.database_checks import check_database
from posthouse.cli.findings import Verdict
from posthouse.testing.postgres.cluster import Cluster
from posthouse.testing.postgres.databases import TEMPLATE


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
