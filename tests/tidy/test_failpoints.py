"""Every boundary of accept, adopt, send, settle, lease, migrate and commit has its failpoint, before and after."""

import ast
from collections import Counter

import pytest

from posthouse.core.failpoints import OF_DATABASES, Failpoint
from posthouse.store.protocol import InboundFacet, Intake, Ownership, WorkFacet
from posthouse.transport.protocol import Transport

#: Calls over which work passes from one keeper to another, by the object that offers them. Where one of them is
#: awaited outside the store, a failpoint stands before and behind it.
BOUNDARIES = {
    Intake: {"accept"},
    InboundFacet: {"take", "fetch", "pass_on"},
    WorkFacet: {"survey", "fetch", "settle"},
    Ownership: {"acquire", "release"},
    Transport: {"send"},
}

#: Methods of the same objects that are no step of those operations, and why.
OTHERS = {
    WorkFacet: {
        "retry": "an operator's command: one transaction, all its boundaries are those of commit",
        "discard": "as retry",
        "retime": "corrects due times after the clock was set back; decides nothing about a delivery",
        "discard_endpoint": "as retry; it is repeated until nothing is left",
        "supersede": "one transaction, all its boundaries are those of commit; a lost answer is asked again",
        "reorder": "as discard_endpoint",
        "health": "reads what a node before this one knew; decides nothing about a delivery",
        "put_health": "writes down what is known of an endpoint; decides nothing about a delivery",
    },
    InboundFacet: {
        "waiting": "reads; what it finds is fetched over the boundaries of that",
        "postpone": "one row, and nothing depends on it but when a key is asked for again",
        "resolve": "an operator's command, or expiry: one transaction, all its boundaries are those of commit",
        "restore_dedupe": "makes a copy of what is there, in steps that each may be repeated",
        "prune_dedupe": "as restore_dedupe",
        "put_rhythms": "notes; a lost one costs a later alarm",
        "open_incident": "a fact that is noticed again while it lasts",
        "close_incident": "as open_incident",
        **dict.fromkeys(
            (
                "quarantine",
                "expired",
                "quarantined_bytes",
                "requests",
                "request",
                "origin",
                "audit",
                "rhythms",
                "incidents",
            ),
            "reads",
        ),
    },
    Ownership: {
        "owners": "reads; nothing is decided by it but what acquire decides again",
        "nodes": "as owners",
        "join": "a row of the register; a repeat gets the same number, and nothing is owned by it",
        "beat": "a sign of life; a lost one is as one that was not given",
        "leave": "takes a name off the register whose slots were released before",
        "calm": "a wait less for who owns the slot next",
        "bury": "what acquire finds of the dead, it takes with or without it",
    },
    Transport: {"close": "ends; owes nothing"},
}

#: Functions that make such a call for another purpose, and which.
ELSEWHERE = {
    "finish_deletions": "asks which queues exist, to go on discarding; adopts nothing",
    "call": "sends a handshake or a heartbeat, which is of no delivery; what is not answered is sent again",
    "_ask": "fetches a key; whatever becomes of it, the request that needs it is in the inbox",
    "_first": "looks for a delivery to probe with; it goes out like any other, over all boundaries of send and settle",
}

#: Where those calls are made, and the statements of the store that begin and end a transaction.
CALLERS = ("engine/", "gateway/", "inbox/")
STATEMENTS = ("COMMIT", "BEGIN IMMEDIATE")


def reached(tree: ast.AST) -> list[tuple[int, str]]:
    """Line and name of each failpoint that is reached in ``tree``."""
    return [
        (node.lineno, node.args[0].attr)
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in {"reach", "_reach"}
        and node.args
        and isinstance(node.args[0], ast.Attribute)
    ]


def functions(tree: ast.Module) -> list[ast.FunctionDef | ast.AsyncFunctionDef]:
    return [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]


def boundary_calls(function: ast.AST) -> list[int]:
    """Lines on which a boundary is crossed by awaiting one of the calls on a store's or transport's object."""
    names = set().union(*BOUNDARIES.values())
    return [
        node.value.lineno
        for node in ast.walk(function)
        if isinstance(node, ast.Await)
        and isinstance(node.value, ast.Call)
        and isinstance(node.value.func, ast.Attribute)
        and node.value.func.attr in names
        and isinstance(node.value.func.value, ast.Attribute)
        and node.value.func.value.attr in {"_store", "work", "intake", "ownership", "_transport"}
    ]


def test_every_method_that_moves_work_is_a_boundary_or_says_why_not() -> None:
    for offered, named in BOUNDARIES.items():
        methods = {name for name in vars(offered) if not name.startswith("_") and callable(getattr(offered, name))}
        assert methods == named | set(OTHERS.get(offered, ())), offered.__name__


def places(python_files: dict[str, ast.Module], *, within: str, but: str = "//") -> Counter[str]:
    """How often each failpoint is reached in a folder, without another one in it."""
    return Counter(
        name
        for path, tree in python_files.items()
        if path.startswith(f"src/posthouse/{within}") and not path.startswith(f"src/posthouse/{but}")
        for _, name in reached(tree)
    )


def test_each_failpoint_is_reached_at_one_place(python_files: dict[str, ast.Module]) -> None:
    names = {point.name for point in set(Failpoint) - OF_DATABASES}
    assert places(python_files, within="", but="store/postgres/") == Counter(dict.fromkeys(names, 1))


def test_the_other_engine_reaches_none_twice(python_files: dict[str, ast.Module]) -> None:
    """What is one statement there has no steps; the commit of each is a boundary as here."""
    found = places(python_files, within="store/postgres/")
    assert set(found.values()) == {1}
    assert found.keys() > {"COMMIT_BEGUN", "COMMIT_DUE", "COMMIT_KNOWN", "LEASE_WRITTEN", "MIGRATE_DONE"}
    assert found.keys() > {point.name for point in OF_DATABASES}


def test_what_is_sent_and_what_is_lost_there_have_their_failpoints(python_files: dict[str, ast.Module]) -> None:
    for module, names in {
        "lane": {"COMMIT_BEGUN", "COMMIT_DUE", "COMMIT_SENT", "COMMIT_KNOWN"},
        "presence": {"LANE_LOST", "LANE_BACK"},
        "migrating": {"MIGRATE_BEGUN", "MIGRATE_APPLIED", "MIGRATE_RECORDED", "MIGRATE_DONE"},
    }.items():
        tree = python_files[f"src/posthouse/store/postgres/{module}.py"]
        assert {name for _, name in reached(tree)} == names


def test_every_boundary_has_a_failpoint_before_and_behind_it(python_files: dict[str, ast.Module]) -> None:
    found = 0
    for path, tree in python_files.items():
        if not path.startswith(tuple(f"src/posthouse/{folder}" for folder in CALLERS)):
            continue
        for function in functions(tree):
            if function.name in ELSEWHERE:
                continue
            lines = [line for line, _ in reached(function)]
            for line in boundary_calls(function):
                found += 1
                assert any(at < line for at in lines), f"{path}:{line}: no failpoint before this call"
                assert any(at > line for at in lines), f"{path}:{line}: no failpoint behind this call"
    assert found == sum(map(len, BOUNDARIES.values())), "each boundary is crossed at one place"


@pytest.mark.parametrize("module", ["writer", "migrating"])
def test_every_transaction_has_failpoints_around_its_end(python_files: dict[str, ast.Module], module: str) -> None:
    tree = python_files[f"src/posthouse/store/sqlite/{module}.py"]
    text = ast.unparse(tree)
    assert all(f"'{statement}'" in text for statement in STATEMENTS)
    for function in functions(tree):
        lines = [line for line, _ in reached(function)]
        for node in ast.walk(function):
            if isinstance(node, ast.Constant) and node.value == "COMMIT":
                assert any(at > node.lineno for at in lines), f"{module}: nothing stands behind the COMMIT"
    first = {name.partition("_")[0] for _, name in reached(tree)}
    assert first == ({"COMMIT", "CHECKPOINT"} if module == "writer" else {"MIGRATE"})


def test_each_step_of_an_operation_in_the_store_has_its_failpoints(python_files: dict[str, ast.Module]) -> None:
    for module, names in {
        "intake": {"ACCEPT_BEGUN", "ACCEPT_IDENTIFIED", "ACCEPT_WRITTEN"},
        "settling": {"SETTLE_FENCED", "SETTLE_WRITTEN"},
        "ownership": {"LEASE_WRITTEN"},
    }.items():
        tree = python_files[f"src/posthouse/store/sqlite/{module}.py"]
        assert {name for _, name in reached(tree)} == names
