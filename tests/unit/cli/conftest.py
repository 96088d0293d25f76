import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest

from posthouse.cli import session
from posthouse.cli.main import main
from posthouse.sdk.client import Client

Answer = httpx2.Response | Callable[[httpx2.Request], httpx2.Response]


class Ended(NamedTuple):
    """How a command line ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """What stdout holds, as exactly one JSON document."""
        return json.loads(self.out)

    @property
    def problem(self) -> Any:
        """What stderr holds, as exactly one JSON document."""
        return json.loads(self.err)


class ScriptedApi:
    """A node that answers by script and remembers what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx2.Request] = []
        self._script: dict[tuple[str, str], list[Answer]] = {}

    def on(self, call: str, *answers: Answer | object, status: int = 200) -> None:
        """Answer ``call`` (``GET /v1/audit``) with these, one after the other; the last one for ever."""
        method, _, path = call.partition(" ")
        self._script[method, path] = [
            a if isinstance(a, httpx2.Response) or callable(a) else httpx2.Response(status, json=a) for a in answers
        ]

    def refuse(self, call: str, status: int, code: str, detail: str, **more: Any) -> None:
        """Refuse ``call`` with a problem document."""
        self.on(call, problem(status, code, detail, **more))

    def body(self, number: int = -1) -> Any:
        """The JSON of a request."""
        return json.loads(self.requests[number].content)

    def query(self, number: int = -1) -> dict[str, str]:
        """The query parameters of a request."""
        return dict(self.requests[number].url.params.items())

    def handle(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        answers = self._script.get((request.method, request.url.raw_path.decode().partition("?")[0]))
        if not answers:
            return problem(404, "not_found", "There is no such thing.")
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return answer(request) if callable(answer) else answer


def problem(status: int, code: str, detail: str, **more: Any) -> httpx2.Response:
    """A refusal as the node writes it."""
    document = {"title": detail, "status": status, "code": code, "hint": "Do something else.", **more}
    headers = {"content-type": "application/problem+json"}
    return httpx2.Response(status, content=json.dumps(document), headers=headers)


@pytest.fixture(autouse=True)
def _apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No command sees this machine's variables or directories."""
    for name in [name for name in os.environ if name.startswith("POSTHOUSE_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> ScriptedApi:
    scripted = ScriptedApi()

    def open_client(url: str, api_key: str | None, *, tries: int, timeout_s: float) -> Client:
        return Client(
            url,
            api_key,
            tries=tries,
            timeout_s=timeout_s,
            transport=httpx2.MockTransport(scripted.handle),
            sleep=lambda _: None,
        )

    monkeypatch.setattr(session, "open_client", open_client)
    return scripted


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    def run(*arguments: str | Sequence[str]) -> Ended:
        code = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return Ended(code, out, err)

    return run
