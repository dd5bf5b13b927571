"""A lost call is asked again, within bounds; what is an answer is not; what sends is not."""

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.chain.endpoints import (
    Endpoints,
    Lost,
    Persistence,
    Reply,
    retry_after_s,
    split_urls,
    wait_for_chain,
)  # fmt: skip
from linklearner.domain.errors import InvalidConfig, Refused, Unavailable
from linklearner.domain.notation import shown_url

ANSWER = b'{"jsonrpc":"2.0","id":1,"result":"0x1"}'
ONE, TWO = "http://one.example/secret-key", "http://two.example"


class World:
    """Time that passes only by sleeping, and a node for each URL: what it does with the next posts, and from then on."""

    def __init__(self, urls: str = ONE, **script: list[Any]) -> None:
        self.now = 0.0
        self.posts: list[tuple[str, Any]] = []
        self.pauses: list[float] = []
        self.script: dict[str, list[Any]] = {ONE: script.get("one", []), TWO: script.get("two", [])}
        self.chain = {ONE: "0x2e2c", TWO: "0x2e2c"}
        self.endpoints = Endpoints(
            urls, self._post, monotonic=lambda: self.now, sleep=self._sleep, jitter=lambda low, high: high
        )

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds
        assert self.now < 1000

    async def _post(self, url: str, body: bytes, seconds: float) -> Reply:
        question = json.loads(body)
        self.posts.append((url, question["method"]))
        does = self.script[url].pop(0) if self.script[url] else Reply(200, ANSWER)
        if does == "hang":
            self.now += seconds
            raise Lost("TimeoutError")
        if isinstance(does, Exception):
            raise does
        if question["method"] == "eth_chainId":
            return Reply(200, json.dumps({"result": self.chain[url]}).encode())
        assert isinstance(does, Reply)
        return does

    async def ask(self) -> bytes:
        return await self.endpoints.ask(b'{"jsonrpc":"2.0","id":1,"method":"eth_call"}')

    @property
    def asked(self) -> list[str]:
        return [url for url, method in self.posts if method == "eth_call"]


@pytest.mark.parametrize(
    "lost",
    [
        Lost("ClientPayloadError"),
        Reply(502, b"<html>"),
        Reply(503),
        Reply(500),
        Reply(429),
        Reply(200, b"<html>maintenance</html>"),
        Reply(200, ANSWER[:20]),
        Reply(200, b""),
        Reply(200, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32005,"message":"rate limit exceeded"}}'),
    ],
    ids=str,
)
async def test_a_lost_question_is_asked_again(lost: Any) -> None:
    world = World(one=[lost, lost])
    assert await world.ask() == ANSWER
    assert len(world.asked) == 3


@pytest.mark.parametrize("message", ["execution reverted: StaleBase: no", "invalid params", "header not found"])
async def test_an_answer_is_never_asked_for_again(message: str) -> None:
    refusal = json.dumps({"jsonrpc": "2.0", "id": 1, "error": {"code": -32602, "message": message}}).encode()
    world = World(one=[Reply(200, refusal)])
    assert await world.ask() == refusal
    assert len(world.asked) == 1


async def test_one_call_in_ten_may_be_lost() -> None:
    dice = random.Random(1)
    script = [Reply(502) if dice.random() < 0.1 else Reply(200, ANSWER) for _ in range(5_000)]
    world = World(one=script)
    for _ in range(4_000):
        assert await world.ask() == ANSWER


async def test_what_sends_is_posted_once_and_the_next_time_elsewhere() -> None:
    world = World(f"{ONE},{TWO}", one=[Reply(200, ANSWER)] * 2 + [Reply(502)])
    send = b'{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction"}'
    with pytest.raises(Unavailable):
        await world.endpoints.hand_in(send)
    assert [url for url, method in world.posts if method.startswith("eth_send")] == [ONE]
    await world.endpoints.hand_in(send)
    assert [url for url, method in world.posts if method.startswith("eth_send")] == [ONE, TWO]


async def test_several_urls_are_taken_in_turns_where_one_fails() -> None:
    world = World(f"{ONE}, {TWO}")
    await world.ask()
    world.script[ONE] = [Reply(502)] * 100
    for _ in range(3):
        assert await world.ask() == ANSWER
    assert world.asked == [ONE, ONE, TWO, TWO, TWO]  # and stays where it works


async def test_a_url_that_refuses_us_is_left_to_the_others_and_not_asked_six_times_alone() -> None:
    world = World(f"{ONE},{TWO}")
    await world.ask()
    world.script[ONE] = [Reply(401)]
    assert await world.ask() == ANSWER
    alone = World(one=[Reply(401)] * 9)
    with pytest.raises(Unavailable, match="HTTP 401: it wants a key"):
        await alone.ask()
    assert len(alone.asked) == 1


async def test_retry_after_is_honoured_within_the_deadline() -> None:
    world = World(one=[Reply(429, b"", "7")])
    assert await world.ask() == ANSWER
    assert 7 <= world.now < 8
    patient = World(one=[Reply(429, b"", "31536000")])
    with pytest.raises(Unavailable, match="429"):
        await patient.ask()
    assert len(patient.asked) == 1 and patient.now < 1
    with pytest.raises(Unavailable, match="429"):  # nor is it bothered before its time
        await patient.ask()
    assert len(patient.asked) == 1


async def test_while_one_url_wants_a_pause_the_other_is_asked() -> None:
    world = World(f"{ONE},{TWO}")
    await world.ask()
    world.script[ONE] = [Reply(429, b"", "20")]
    assert await world.ask() == ANSWER
    assert world.now < 1 and world.asked[-1] == TWO


async def test_all_attempts_together_have_one_deadline() -> None:
    world = World(one=["hang"] * 99)
    with pytest.raises(Unavailable, match="cannot be reached"):
        await world.ask()
    assert world.now <= Persistence.total_s + 0.01


async def test_a_url_of_another_chain_is_found_at_the_start_or_left_out_later() -> None:
    world = World(f"{ONE},{TWO}")
    world.chain[TWO] = "0x1"
    with pytest.raises(InvalidConfig, match="another chain"):
        await world.endpoints.check()
    world = World(f"{ONE},{TWO}", two=[Lost("away")])
    world.chain[TWO] = "0x1"
    await world.endpoints.check()  # it is away
    world.script[ONE] = [Reply(502)]
    assert await world.ask() == ANSWER
    assert world.asked == [ONE, ONE]  # it came back, and is another chain


async def test_a_url_with_other_contracts_is_left_out() -> None:
    world = World(f"{ONE},{TWO}")
    await world.endpoints.check()
    world.endpoints.expect_code("0x" + 20 * "ab")
    code = [
        Reply(200, json.dumps({"result": text}).encode()) for text in ("0x1", "0x1", "0x6001", "0x1", "0x1", "0x6002")
    ]
    world.script = {ONE: [*code[:3], Reply(502)], TWO: code[3:]}
    assert await world.ask() == ANSWER
    assert set(world.asked) == {ONE}


def test_no_secret_of_a_url_is_shown() -> None:
    url = "https://user:pass@node.example:8443/v3/KEY?token=T#F"
    assert shown_url(url) == "https://node.example:8443"
    for bad in ("ftp://user:pass@node.example", "http//KEY", "http://[::1", "", "http://ok.example,,", "http://h:0"):
        with pytest.raises(InvalidConfig) as refused:
            split_urls(bad)
        assert "pass" not in refused.value.message


async def test_no_failure_shows_the_secret_of_its_url() -> None:
    for lost in (Lost("x"), Reply(502), Reply(401), Reply(429, b"", "999")):
        with pytest.raises(Unavailable) as refused:
            await World(one=[lost] * 9).ask()
        assert "secret-key" not in refused.value.message + str(refused.value.facts)


async def test_a_request_that_is_too_large_is_refused_at_once() -> None:
    world = World(one=[Reply(413)] * 9)
    with pytest.raises(Refused):
        await world.ask()
    assert len(world.asked) == 1


@given(st.text())
def test_any_retry_after_is_a_number_of_seconds(header: str) -> None:
    assert retry_after_s(header, 0.0) >= 0


def test_retry_after_may_be_a_date() -> None:
    assert retry_after_s("Thu, 01 Jan 1970 00:01:00 GMT", 48.0) == 12.0


@pytest.mark.parametrize(("fails", "succeeds"), [(3, True), (99, False)])
async def test_a_start_waits_for_its_chain_within_bounds_and_says_so(fails: int, succeeds: bool) -> None:
    now, said = [0.0], []
    left = [fails]

    async def connect() -> None:
        if left[0]:
            left[0] -= 1
            raise Unavailable("nobody answers")

    async def sleep(seconds: float) -> None:
        now[0] += seconds

    tell: Callable[[str], object] = said.append
    waiting = wait_for_chain(connect, 60.0, sleep=sleep, monotonic=lambda: now[0], tell=tell)
    if succeeds:
        await waiting
    else:
        with pytest.raises(Unavailable):
            await waiting
        assert 60 <= now[0] <= 66
    assert len(said) == 1 and "nobody answers" in said[0]


async def test_callers_that_fail_together_do_not_skip_a_url() -> None:
    world = World(f"{ONE},{TWO}")
    await world.endpoints.check()
    world.script[ONE] = [Reply(502)] * 4
    await asyncio.gather(*(world.ask() for _ in range(4)))
    assert set(world.asked[4:]) == {TWO}


@pytest.mark.parametrize(
    ("status", "advice"),
    [(401, "check the key and the address"), (403, "check the key and the address"), (404, "check the address and the key"),
     (405, "check the address and the key"), (308, "give the URL that it leads to"), (500, "retry later"), (503, "retry later")],
)  # fmt: skip
@pytest.mark.parametrize("way", ["ask", "hand_in"])
async def test_a_status_comes_with_what_to_do(status: int, advice: str, way: str) -> None:
    world = World(one=[Reply(status)] * 9)
    with pytest.raises(Unavailable, match=f"HTTP {status}") as refused:
        await getattr(world.endpoints, way)(b'{"jsonrpc":"2.0","id":1,"method":"eth_call"}')
    assert advice in refused.value.message
    assert ("retry" in refused.value.message) == (status >= 500)
    assert "secret-key" not in refused.value.message
