import pickle

import pytest

from posthouse.core import errors
from posthouse.core.errors import BlockedAddress, InvalidInput, Overloaded, PosthouseError, SignatureInvalid


def tree(root: type[PosthouseError]) -> list[type[PosthouseError]]:
    return [root, *(found for child in root.__subclasses__() for found in tree(child))]


ALL = [found for found in tree(PosthouseError) if found.__module__ == errors.__name__]


def make(kind: type[PosthouseError]) -> PosthouseError:
    return kind("no_match") if issubclass(kind, SignatureInvalid) else kind()


def test_codes_are_unique() -> None:
    assert len({kind.code for kind in ALL}) == len(ALL)


@pytest.mark.parametrize("kind", ALL)
def test_every_error_has_a_code_a_message_a_hint_and_a_status(kind: type[PosthouseError]) -> None:
    error = make(kind)
    assert kind.code.isidentifier()
    assert kind.code == kind.code.lower()
    assert error.message == str(error)
    assert error.message.endswith(".")
    assert error.advice.endswith(".")
    assert 400 <= kind.status <= 599


@pytest.mark.parametrize("kind", ALL)
def test_errors_survive_pickling(kind: type[PosthouseError]) -> None:
    error = make(kind)
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - made in the line above
    assert (type(copy), copy.message, copy.advice, vars(copy)) == (kind, error.message, error.advice, vars(error))


def test_what_is_said_at_the_place_wins_over_the_default() -> None:
    error = Overloaded("Too many events wait.", hint="Wait.", retry_after_s=2)
    assert (error.message, error.advice, error.retry_after_s) == ("Too many events wait.", "Wait.", 2)


def test_a_field_error_names_the_field_and_keeps_its_class() -> None:
    error = BlockedAddress.at("url", "blocked_address", "It is private.", hint="Use another.")
    assert type(error) is BlockedAddress
    assert error.errors == ({"path": "url", "code": "blocked_address", "message": "It is private."},)
    assert (error.message, error.advice) == ("It is private.", "Use another.")
    assert InvalidInput.at("a", "b", "C.").advice == InvalidInput.hint


def test_an_error_without_docstring_still_has_a_message() -> None:
    """Python run with -OO has no docstrings."""
    bare = type("Bare", (PosthouseError,), {"code": "bare", "__doc__": None})
    assert bare().message == "bare"
