"""`http_auth` with a real HTTP service in this process: its answers, its failures, and who gives up when."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_twisted
from pydantic import ValidationError
from twisted.internet import reactor as _reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.protocol import Factory, Protocol
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface.verify import verifyObject

from tests.faults.embedded import until
from tests.plugins.policies import logged, made, visitor
from trabbits.interfaces import IConnectionPolicy, Refusal
from trabbits.plugins.catalogue import discover
from trabbits.plugins.http_auth import http_auth

reactor: Any = _reactor


class Service(Resource):
    """Answers `code` and `body`; never if `silent`."""

    isLeaf = True  # noqa: N815 - Twisted's
    code = 200
    body = b""
    silent = False
    location = b""

    def __init__(self) -> None:
        super().__init__()
        self.questions: list[Any] = []
        self.headers: list[Any] = []
        self.pending = 0
        self.most = 0

    def render_POST(self, request: Any) -> Any:
        self.questions.append(json.loads(request.content.read()))
        self.headers.append(request.requestHeaders)
        self.pending += 1
        self.most = max(self.most, self.pending)
        request.notifyFinish().addBoth(self.over)
        if self.silent:
            return NOT_DONE_YET
        request.setResponseCode(self.code)
        if self.location:
            request.setHeader(b"Location", self.location)
        reactor.callLater(0.01, self.answer, request)
        return NOT_DONE_YET

    def answer(self, request: Any) -> None:
        if request.channel is not None:
            request.write(self.body)
            request.finish()

    def over(self, _: Any) -> None:
        self.pending -= 1


class Rude(Protocol):
    """Hangs up on every request."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.loseConnection()


@pytest_twisted.async_yield_fixture
async def service() -> AsyncIterator[Service]:
    resource = Service()
    port = reactor.listenTCP(0, Site(resource), interface="127.0.0.1")
    resource.url = f"http://127.0.0.1:{port.getHost().port}/ask"  # type: ignore[attr-defined]
    yield resource
    await port.stopListening()


def asking(url: str, **options: Any) -> Any:
    return made(http_auth, reactor, url=url, **options)


def test_fulfils_the_interface_and_is_found() -> None:
    verifyObject(IConnectionPolicy, made(http_auth, url="http://localhost/"))
    assert discover().get(IConnectionPolicy, "http_auth") is http_auth


@pytest_twisted.ensureDeferred
async def test_the_question(service: Any) -> None:
    policy = asking(service.url, token="t0p")
    properties = {"product": "pika", "raw": b"\xff", "nested": {"list": [1, 2.5, None, True, float("inf")]}}
    client = visitor("me", "/vhost", **properties)
    assert await policy.admit(client) is None
    policy.left(client)
    (question,) = service.questions
    assert question == {
        "session": client.session,
        "address": "192.0.2.1:50000",
        "user": "me",
        "virtual_host": "/vhost",
        "properties": {"product": "pika", "raw": "\ufffd", "nested": {"list": [1, 2.5, None, True, "inf"]}},
    }
    (headers,) = service.headers
    assert headers.getRawHeaders("Authorization") == ["Bearer t0p"]
    assert headers.getRawHeaders("Content-Type") == ["application/json"]


@pytest.mark.parametrize(
    ("code", "body", "answer"),
    [
        (200, b"", None),
        (204, b"", None),
        (201, b"x" * 5_000_000, None),
        (403, b"no room\nand more", Refusal(403, "ACCESS_REFUSED - no room")),
        (401, b"", Refusal(403, "ACCESS_REFUSED - refused by the authorization service")),
        (403, b"\xff\x00odd\x1b[0m", Refusal(403, "ACCESS_REFUSED - \ufffdodd[0m")),
        (403, b"y" * 5_000_000, Refusal(403, f"ACCESS_REFUSED - {'y' * 200}")),
    ],
)
@pytest_twisted.ensureDeferred
async def test_answers(service: Any, code: int, body: bytes, answer: Refusal | None) -> None:
    service.code, service.body = code, body
    assert await asking(service.url).admit(visitor()) == answer
    await until(lambda: not service.pending, 5, lambda: service.pending)


async def nothing_listens(service: Any) -> str:
    port = reactor.listenTCP(0, Factory(), interface="127.0.0.1")
    number = port.getHost().port
    await port.stopListening()
    return f"http://127.0.0.1:{number}/"


async def answers_500(service: Any) -> str:
    service.code = 500
    return str(service.url)


async def redirects(service: Any) -> str:
    """Not followed: it would be asked with the token somewhere else."""
    service.code, service.location = 307, b"/elsewhere"
    return str(service.url)


async def says_nothing(service: Any) -> str:
    service.silent = True
    return str(service.url)


@pytest.mark.parametrize("fail_open", [False, True])
@pytest.mark.parametrize("trouble", [nothing_listens, answers_500, redirects, says_nothing])
@pytest_twisted.ensureDeferred
async def test_trouble(service: Any, trouble: Any, fail_open: bool) -> None:
    url = await trouble(service)
    with logged() as texts:
        answer = await asking(url, fail_open=fail_open, timeout=0.3).admit(visitor())
    if fail_open:
        assert answer is None
    else:
        assert answer.code == 541
        assert "authorization service" in answer.text
    assert any("http_auth" in text and url in text for text in texts)
    assert len(service.questions) <= 1
    await until(lambda: not service.pending, 5, lambda: service.pending)


@pytest_twisted.ensureDeferred
async def test_a_service_that_hangs_up() -> None:
    port = reactor.listenTCP(0, Factory.forProtocol(Rude), interface="127.0.0.1")
    answer = await asking(f"http://127.0.0.1:{port.getHost().port}/").admit(visitor())
    assert answer.code == 541
    await port.stopListening()


@pytest_twisted.ensureDeferred
async def test_a_client_that_leaves_takes_its_question_with_it(service: Any) -> None:
    service.silent = True
    policy = asking(service.url, fail_open=True)
    answer = policy.admit(visitor())
    await until(lambda: service.pending, 5, lambda: service.questions)
    with logged() as texts:
        answer.cancel()
        with pytest.raises(CancelledError):
            await answer
        await until(lambda: not service.pending, 5, lambda: service.pending)
    assert not [text for text in texts if "http_auth" in text]


@pytest_twisted.ensureDeferred
async def test_never_more_questions_at_once_than_allowed(service: Any) -> None:
    policy = asking(service.url, connections=3)
    answers: list[Deferred[Any]] = [policy.admit(visitor()) for _ in range(20)]
    assert [await each for each in answers] == [None] * 20
    assert service.most == 3


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"url": "ftp://x/"},
        {"url": "x"},
        {"url": "http://"},
        {"url": "http://x:99999/"},
        {"url": "http://me:secret@x/"},
        {"url": "http://x/ y"},
        {"url": "http://x/", "timeout": 0.0},
        {"url": "http://x/", "timeout": 61.0},
        {"url": "http://x/", "connections": 0},
        {"url": "http://x/", "fail_open": "yes"},
    ],
)
def test_mistakes_in_the_options(options: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        made(http_auth, **options)


def test_the_token_is_not_shown() -> None:
    options = http_auth.options.model_validate({"url": "http://x/", "token": "t0p"})
    assert "t0p" not in repr(options)
