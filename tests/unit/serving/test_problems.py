"""Problem documents: every error of the tree has one."""

import json
from collections.abc import Iterator

import pytest

from posthouse.core import errors
from posthouse.core.errors import InvalidInput, Overloaded, PosthouseError, Unauthorized
from posthouse.serving.problems import encode_problem, error_for_status


def kinds(kind: type[PosthouseError] = PosthouseError) -> Iterator[type[PosthouseError]]:
    yield kind
    for child in kind.__subclasses__():
        if child.__module__ == errors.__name__:
            yield from kinds(child)


@pytest.mark.parametrize("kind", [kind for kind in kinds() if kind is not errors.SignatureInvalid])
def test_every_error_is_a_complete_document(kind: type[PosthouseError]) -> None:
    body, headers = encode_problem(kind(), "/v1/x")
    document = json.loads(body)
    assert document == {
        "type": f"urn:posthouse:problem:{kind.code}",
        "title": document["title"],
        "status": kind.status,
        "detail": document["title"],
        "code": kind.code,
        "hint": kind.hint,
        "instance": "/v1/x",
    }
    assert document["title"]
    assert dict(headers)[b"content-length"] == str(len(body)).encode()


def test_what_is_special_about_a_case_is_told() -> None:
    error = InvalidInput.at("url", "bad", "It is bad.", hint="Do better.")
    document = json.loads(encode_problem(error, "/" + "x" * 10_000)[0])
    assert document["errors"] == [{"path": "url", "code": "bad", "message": "It is bad."}]
    assert (document["title"], document["detail"], document["hint"]) == (
        "The request is not valid.",
        "It is bad.",
        "Do better.",
    )
    assert len(document["instance"]) == 512


def test_headers_say_what_to_do_next() -> None:
    assert dict(encode_problem(Overloaded(retry_after_s=3), "/")[1])[b"retry-after"] == b"3"
    assert b"www-authenticate" in dict(encode_problem(Unauthorized(), "/")[1])
    assert dict(encode_problem(error_for_status(405), "/", allow="GET")[1])[b"allow"] == b"GET"


@pytest.mark.parametrize(("status", "code"), [(404, "not_found"), (405, "method_not_allowed"), (418, "internal_error")])
def test_statuses_of_the_framework_become_errors_of_ours(status: int, code: str) -> None:
    assert error_for_status(status).code == code
