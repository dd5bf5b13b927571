"""What the page's server answers, to whom, and what it never does."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest
from aiohttp import web
from google.protobuf import json_format
from google.rpc import status_pb2

from devchain import Devchain
from linklearner.domain.errors import Exhausted, InvalidConfig
from linklearner.domain.tasks import Balance, Mined
from linklearner.rpc.access import Credential, Role
from linklearner.rpc.server import RpcServer
from linklearner.rpc.status import DETAILS_KEY
from linklearner.testing.gateway import FakeGateway, weights_of
from services.page import bridge, rpc
from services.page.config import PageConfig
from services.page.faucet import Faucet, Gift
from services.page.limits import Allowance, network_of
from services.page.server import PageServer

JSON = {"Content-Type": "application/json"}
GATEWAY = "/linklearner.v1.ChainGatewayService"
NEWCOMER = b"\7" * 20
QUIET = PageConfig(
    listen="127.0.0.1:0", credential="", model_server="", gateway="127.0.0.1:1", rpc_url="http://127.0.0.1:1"
)


@asynccontextmanager
async def served(**changes: Any) -> AsyncIterator[tuple[httpx.AsyncClient, FakeGateway]]:
    """A page whose gateway is a double with one version."""
    async with AsyncExitStack() as stack:
        gateway = FakeGateway()
        gateway.publish(weights_of(0))
        address = await stack.enter_async_context(gateway.served())
        page = await stack.enter_async_context(PageServer.start(replace(QUIET, **{"gateway": address, **changes})))
        yield await stack.enter_async_context(httpx.AsyncClient(base_url=page.url, trust_env=False)), gateway


async def connect(client: httpx.AsyncClient, method: str, message: Any = None, **headers: str) -> httpx.Response:
    return await client.post(method, content=json.dumps(message or {}), headers={**JSON, **headers})


async def test_reading_calls_are_handed_on_and_answered_as_connect_does() -> None:
    async with served() as (client, _):
        answer = await connect(client, f"{GATEWAY}/GetTask", {"task": "1"})
        assert (answer.status_code, answer.headers["content-type"]) == (200, "application/json; charset=utf-8")
        assert answer.json()["task"]["version"]["version"] == "1"
        missing = await connect(client, f"{GATEWAY}/GetTask", {"task": "99"})
        told = missing.json()
        assert (missing.status_code, told["code"]) == (404, "not_found")
        [detail] = told["details"]
        assert detail["type"] == "google.rpc.ErrorInfo"
        assert base64.b64decode(detail["value"] + "==") and detail["debug"]["reason"]


@pytest.mark.parametrize(
    "method", ["Transfer", "SubmitUpdate", "LockStake", "OpenTask", "SettleRound", "ListAccounts", "GetModel", "No"]
)
async def test_what_spends_or_streams_is_not_offered(method: str) -> None:
    async with served() as (client, _):
        answer = await connect(client, f"{GATEWAY}/{method}")
        assert (answer.status_code, answer.json()["code"]) == (501, "unimplemented")


async def test_only_what_reads_is_in_the_table() -> None:
    """A new method of the protos is closed until somebody writes it down here."""
    offered = {path.rpartition("/")[2] for path in bridge.methods()}
    assert offered == {
        "GetChain", "ListTasks", "GetTask", "GetRound", "GetBalance", "GetEarnings", "GetTerms", "CreateChallenge", "OpenSession",
        "CloseSession", "ServerReady", "ModelReady", "ModelMetadata", "ModelInfer",
    }  # fmt: skip
    async with served() as (client, _):  # nor does a server without a model server offer what that has
        assert (await connect(client, "/linklearner.v1.SessionService/GetTerms")).status_code == 501


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b'{"task": -1}', b'{"tusk": 1}', b"\xff", b'{"task":' + b"[" * 1000]
)
async def test_what_is_no_message_is_the_callers_fault(body: bytes) -> None:
    async with served() as (client, _):
        answer = await client.post(f"{GATEWAY}/GetTask", content=body, headers=JSON)
        assert (answer.status_code, answer.json()["code"]) == (400, "invalid_argument")


async def test_a_gateway_that_is_away_is_unavailable_and_comes_back() -> None:
    async with served(gateway="127.0.0.1:1") as (client, _):
        answer = await connect(client, f"{GATEWAY}/GetChain")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")


class Channel:
    """Keeps what a call is sent with."""

    def __init__(self) -> None:
        self.metadata: list[Any] = []

    def unary_unary(self, path: str, *, request_serializer: Any, response_deserializer: Any) -> Any:
        async def call(request: Any, *, timeout: float, metadata: Any) -> Any:
            self.metadata.append(metadata)
            return response_deserializer(b"")

        return call


async def test_a_page_s_bearer_token_goes_to_the_model_server_alone() -> None:
    gateway, model_server = Channel(), Channel()
    made = bridge.Bridge({bridge.GATEWAY: gateway, bridge.MODEL_SERVER: model_server})  # type: ignore[dict-item]
    for path in (f"{GATEWAY}/GetChain", "/inference.GRPCInferenceService/ModelInfer"):
        await made.call(path, b"{}", bearer="Bearer x", timeout_ms="100")
    assert (gateway.metadata, model_server.metadata) == ([()], [(("authorization", "Bearer x"),)])


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "SELF"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://127.0.0.1:1"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
        ({"Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example", "Origin": "http://evil.example"}, 403),  # DNS rebinding
        ({"Host": "127.0.0.1.evil.example"}, 403),
        ({"Host": "localhost"}, 200),
        ({"Host": "learn.example", "Origin": "https://learn.example"}, 200),
        ({"Host": "learn.example", "Origin": "http://learn.example:81"}, 403),
        ({"Content-Type": "text/plain"}, 415),
        ({"Content-Type": ""}, 415),
        ({"Content-Encoding": "gzip"}, 415),
    ],
)
async def test_other_pages_are_not_answered(headers: dict[str, str], status: int) -> None:
    async with served(origins="https://learn.example") as (client, _):
        sent = {**JSON, **headers}
        if sent.get("Origin") == "SELF":
            sent["Origin"] = str(client.base_url).rstrip("/")
        for path in ("/rpc", f"{GATEWAY}/GetChain"):
            answer = await client.post(
                path,
                content=b'{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}' if path == "/rpc" else b"{}",
                headers=sent,
            )
            assert answer.status_code == status, path
            assert "access-control-allow-origin" not in answer.headers


async def test_a_wallet_s_extension_reaches_the_chain_and_nothing_else() -> None:
    async with served() as (client, _):
        headers = {**JSON, "Origin": "chrome-extension://nkbihfbeogaeaoehlefnkodbefgpgknn"}
        body = b'{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}'
        assert (await client.post("/rpc", content=body, headers=headers)).json()["result"] == []
        assert (await client.post(f"{GATEWAY}/GetChain", content=b"{}", headers=headers)).status_code == 403


async def test_the_chain_is_reached_by_the_methods_of_pages_and_wallets() -> None:
    async with Devchain.start() as devchain, served(rpc_url=f"http://127.0.0.1:1, {devchain.url}") as (client, _):

        async def ask(*methods: str) -> Any:
            batch = [{"jsonrpc": "2.0", "id": i, "method": method, "params": []} for i, method in enumerate(methods)]
            return (await client.post("/rpc", json=batch)).json()

        assert [one["result"] for one in await ask("eth_chainId", "eth_accounts")] == [hex(7105636), []]
        for one in await ask(
            "eth_sendTransaction", "eth_sign", "evm_mine", "personal_sign", "debug_traceCall", "admin_peers", "x" * 500
        ):
            assert one["error"]["code"] == -32601
        for body in (
            b"[]",
            b"1",
            b"null",
            b'{"method":1}',
            b'{"id":{},"method":"eth_chainId"}',
            b"[" * 100,
            b"[" + b"1," * 60 + b"1]",
        ):
            answer = await client.post("/rpc", content=body, headers=JSON)
            assert answer.status_code == 200 and json.dumps(answer.json()).count("error") >= 1
        assert (await client.post("/rpc", content=b" " * (3 << 20), headers=JSON)).status_code == 413


async def test_a_chain_that_is_away_is_said_in_json_rpc() -> None:
    async with served() as (client, _):
        answer = (await client.post("/rpc", json={"jsonrpc": "2.0", "id": 9, "method": "eth_chainId"})).json()
        assert (answer["id"], answer["error"]["code"]) == (9, -32000)


@asynccontextmanager
async def talking(body: bytes, pieces: int = 1) -> AsyncIterator[tuple[str, list[int]]]:
    """A node that answers with whatever bytes, so many times; how many pieces it got rid of."""
    sent: list[int] = [0]

    async def post(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse()
        await answer.prepare(request)
        for _ in range(pieces):
            await answer.write(body)
            sent[0] += 1
        await answer.write_eof()
        return answer

    application = web.Application()
    application.router.add_post("/", post)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield f"http://127.0.0.1:{runner.addresses[0][1]}", sent
    finally:
        await runner.cleanup()


ASK = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId", "params": []}


@pytest.mark.parametrize(
    "body",
    [
        b'{"result":' + b"[" * 160_000, b'{"result":NaN}', b'{"result":1e999}', b'{"result":1,"result":2}', b"[]", b"\xff", b"",
        b'{"result":' + b"9" * 5000 + b"}",
    ],
    ids=["deep", "NaN", "infinite", "twice", "list", "not UTF-8", "nothing", "digits"],
)  # fmt: skip
async def test_what_a_node_says_is_read_as_strictly_as_elsewhere(body: bytes) -> None:
    async with talking(body) as (url, _), served(rpc_url=url) as (client, _):
        answer = await client.post("/rpc", content=json.dumps(ASK), headers=JSON)
        assert answer.status_code == 200
        assert json.loads(answer.content, parse_constant=pytest.fail)["error"]["code"] == -32000


async def test_a_node_that_never_ends_is_read_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_ANSWER", 1 << 20)
    async with talking(b" " * (1 << 16), 20_000) as (url, sent), served(rpc_url=url) as (client, _):
        answer = await client.post("/rpc", content=json.dumps(ASK), headers=JSON, timeout=60)
        assert answer.json()["error"]["code"] == -32000
        assert sent[0] < 2000  # of more than a gigabyte, what the sockets between hold


async def test_the_answers_of_a_batch_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rpc, "MAX_ANSWER", 1000)
    async with talking(b'{"result":"' + b"x" * 300 + b'"}') as (url, _), served(rpc_url=url) as (client, _):
        answer = await client.post("/rpc", content=json.dumps([ASK] * 5), headers=JSON)
        assert ["result" in one for one in answer.json()] == [True, True, True, False, False]


@pytest.mark.parametrize("milliseconds", ["9" * 5000, "\u0663", "-1", "1.5", "x"])
async def test_a_timeout_that_is_none_is_not_the_server_s_trouble(milliseconds: str) -> None:
    async with served() as (client, _):
        headers = {b"Content-Type": b"application/json", b"Connect-Timeout-Ms": milliseconds.encode()}
        answer = await client.post(f"{GATEWAY}/GetChain", content=b"{}", headers=headers)
        assert answer.status_code == 200


async def test_a_bearer_that_no_header_of_grpc_holds_is_the_caller_s_fault() -> None:
    async with (
        RpcServer("127.0.0.1:0", lambda server: None, ()) as server,
        served(model_server=server.address) as (client, _),
    ):
        for bearer in (b"Bearer \xc3\xa9", b"Bearer \xff", b"Bearer a\tb"):
            headers = {b"Content-Type": b"application/json", b"Authorization": bearer}
            answer = await client.post("/linklearner.v1.SessionService/GetTerms", content=b"{}", headers=headers)
            assert answer.status_code in (401, 501), answer.content


def test_details_that_are_none_are_left_out() -> None:
    broken = status_pb2.Status(code=3)
    broken.details.add(type_url="type.googleapis.com/google.rpc.ErrorInfo", value=b"\xff\xff")
    assert bridge._details([(DETAILS_KEY, broken.SerializeToString())]) == []
    assert bridge._details([(DETAILS_KEY, b"\xff")]) == []


async def test_files_come_with_a_policy_that_lets_nothing_in() -> None:
    async with served() as (client, _):
        document = await client.get("/")
        policy = document.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy.replace("https", "")
        assert document.headers["x-content-type-options"] == "nosniff"
        script = document.text.split('src="')[1].split('"')[0]
        built = await client.get(f"/{script}")
        assert (built.status_code, built.headers["content-encoding"]) == (200, "gzip")
        assert "immutable" in built.headers["cache-control"] and "no-cache" in document.headers["cache-control"]
        again = await client.get("/", headers={"If-None-Match": document.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
        for path in ("/MANIFEST.json", "/../config.py", "/%2e%2e/__init__.py", "/main.js", "/page"):
            assert (await client.get(path)).status_code == 404, path
        assert (await client.get("/", headers={"Host": "evil.example"})).status_code == 403
        assert (await client.get("/page.json")).json() == {"task": "1", "modelServer": False, "faucet": None}
        assert (await client.post("/faucet", json={"account": "0x" + "00" * 20})).status_code == 501


async def test_one_client_cannot_ask_without_end() -> None:
    async with served(calls_a_second=0.5) as (client, _):  # five at once
        statuses = [(await connect(client, f"{GATEWAY}/GetChain")).status_code for _ in range(7)]
        assert statuses == [200] * 5 + [429] * 2


async def test_each_question_of_a_batch_counts_as_one() -> None:
    async with served(calls_a_second=0.5) as (client, _):  # five at once
        batch = [{"jsonrpc": "2.0", "id": i, "method": "eth_accounts"} for i in range(50)]
        assert [(await client.post("/rpc", json=batch)).status_code for _ in range(3)] == [200, 429, 429]


def test_what_was_not_asked_for_is_saved_up_to_a_bound() -> None:
    now = 0.0
    allowance = Allowance(1.0, 3.0, lambda: now)
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    assert allowance.take("b")  # others have their own
    now = 1.5
    assert [allowance.take("a") for _ in range(2)] == [True, False]
    now = 1000.0
    assert [allowance.take("a") for _ in range(4)] == [True, True, True, False]
    allowance.charge("a", 9)  # what is owed is paid off first
    now = 1009.5
    assert not allowance.take("a")
    now = 1010.0
    assert allowance.take("a")


@pytest.mark.parametrize(
    ("host", "network"),
    [
        ("127.0.0.1", "127.0.0.1"),
        ("2001:db8:1:2:3::4", "2001:db8:1:2::/64"),
        ("::ffff:10.0.0.7", "10.0.0.7"),
        ("fe80::1%eth0", "fe80::/64"),
        (None, "unknown"),
    ],
)
def test_clients_are_told_apart_by_network(host: str | None, network: str) -> None:
    assert network_of(host) == network


class Purse:
    """What a faucet sees of a gateway."""

    def __init__(self) -> None:
        self.coin = self.token = 0
        self.sent: list[tuple[str, bytes, bytes, int]] = []

    async def balance(self, account: bytes) -> Balance:
        return Balance(token=self.token, coin=self.coin, stake=None, block=1)

    async def transfer_coin(self, request_id: str, account: bytes, to: bytes, wei: int) -> Mined:
        self.coin += wei
        self.sent.append(("coin", account, to, wei))
        return Mined(b"", 1, 21000, 100)

    async def transfer_token(self, request_id: str, account: bytes, to: bytes, wei: int) -> Mined:
        self.token += wei
        self.sent.append(("token", account, to, wei))
        return Mined(b"", 1, 50000, 100)


async def test_the_faucet_fills_up_and_no_more() -> None:
    purse, now = Purse(), 0.0
    faucet = Faucet(purse, b"\1" * 20, coin=100, token=1000, a_day=2, clock=lambda: now)  # type: ignore[arg-type]
    assert await faucet.fill(NEWCOMER) == Gift(coin=100, token=1000)
    assert await faucet.fill(NEWCOMER) == Gift(coin=0, token=0)
    purse.coin -= 40
    assert await faucet.fill(NEWCOMER) == Gift(coin=0, token=0)
    purse.coin -= 20
    assert await faucet.fill(NEWCOMER) == Gift(coin=60, token=0)
    purse.token = 0
    with pytest.raises(Exhausted, match="enough for today"):
        await faucet.fill(NEWCOMER)
    now = 90_000.0
    assert await faucet.fill(NEWCOMER) == Gift(coin=0, token=1000)
    assert {(one[1], one[2]) for one in purse.sent} == {(b"\1" * 20, NEWCOMER)}


async def test_a_faucet_s_credential_is_bound_to_one_account(tmp_path: Path) -> None:
    loose = tmp_path / "operator.json"
    Credential.new("operator", Role.SPEND).write(loose)
    with pytest.raises(InvalidConfig, match="bound to one"):
        async with PageServer.start(replace(QUIET, faucet=str(loose))):
            pass
    with pytest.raises(InvalidConfig, match="there is no credential"):
        replace(QUIET, faucet=str(tmp_path / "none.json"))


def test_every_message_of_the_table_has_a_json_form() -> None:
    for method in bridge.methods().values():
        assert json_format.MessageToJson(method.request()) == "{}"
