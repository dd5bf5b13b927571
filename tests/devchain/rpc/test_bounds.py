"""How much one caller may make the chain hold: each bound from both sides."""

from __future__ import annotations

import asyncio
import json
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import pytest
from aiohttp import web
from eth_account import Account
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devchain import Devchain
from devchain.chain.chain import EmbeddedChain
from devchain.config import ChainConfig
from devchain.rpc import bounds
from devchain.rpc.codec import RpcError
from devchain.rpc.methods import Methods
from devchain.rpc.server import JsonRpcServer
from devchain.rpc.subscriptions import Subscriptions
from tests.devchain.wallet import Wallet

ROOT = Path(__file__).resolve().parents[3]
JSON = {"Content-Type": "application/json"}


def post(devchain: Devchain, body: bytes) -> httpx.Response:
    return httpx.post(devchain.url, content=body, headers=JSON, timeout=60)


@pytest.mark.parametrize(
    "opening", [b"[", b'{"a":', b'[{"a":', b'{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[', b"\xef\xbb\xbf["]
)
def test_nesting_is_a_parse_error_and_the_chain_lives(devchain: Devchain, opening: bytes) -> None:
    for times in (33, 160_000 // len(opening), bounds.BODY_BYTES // len(opening)):
        answer = post(devchain, opening * times)
        assert answer.json()["error"]["code"] == -32700
    assert post(devchain, b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}').json()["result"] == hex(7105636)


def test_a_request_may_be_as_deep_as_the_bound_says(devchain: Devchain) -> None:
    def asked(depth: int) -> dict[str, Any]:
        nested = b"[" * depth + b"]" * depth
        request = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[' + nested + b"]}"
        return dict(post(devchain, request).json())

    assert asked(bounds.BODY_DEPTH - 2)["result"] == hex(7105636)
    assert f"nested deeper than {bounds.BODY_DEPTH}" in asked(bounds.BODY_DEPTH - 1)["error"]["message"]


async def test_a_socket_survives_nesting_too() -> None:
    async with (
        Devchain.start() as devchain,
        aiohttp.ClientSession() as session,
        session.ws_connect(devchain.url) as socket,
    ):
        await socket.send_str("[" * 160_000)
        assert (await socket.receive_json(timeout=20))["error"]["code"] == -32700
        await socket.send_json({"jsonrpc": "2.0", "id": 2, "method": "eth_chainId"})
        assert (await socket.receive_json(timeout=20))["result"] == hex(7105636)


def test_importing_the_chain_leaves_the_recursion_limit_alone_and_deep_calls_work() -> None:
    code = "import sys; before = sys.getrecursionlimit(); import devchain; assert sys.getrecursionlimit() == before"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    before = sys.getrecursionlimit()
    with Devchain.running() as devchain:
        wallet = Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
        # counts in slot 0, calls itself with all but a 64th of its gas, returns the count
        nested = wallet.deploy(bytes.fromhex("5f546001015f555f5f5f5f5f305af1505f545f5260205ff3"))
        assert int(wallet.ask("eth_call", {"to": nested, "gas": hex(25_000_000)}, "latest"), 16) > 200
        assert sys.getrecursionlimit() == before


@pytest.mark.parametrize(
    "body",
    [b'{"jsonrpc":"2.0","id":NaN,"method":"eth_chainId"}', b'{"jsonrpc":"2.0","id":1e999,"method":"eth_chainId"}',
     b'{"jsonrpc":"2.0","id":-Infinity,"method":"eth_chainId"}', b'{"id":1,"id":2,"method":"eth_chainId"}',
     b'{"id":' + b"9" * 101 + b',"method":"eth_chainId"}', b'{"id":' + b"9" * 100_000 + b',"method":"eth_chainId"}',
     b'{"id":"\\ud800","method":"eth_chainId"}', b'{"id":"\xff","method":"eth_chainId"}',
     '{"id":1,"method":"eth_chainId"}'.encode("utf-16"), b"", b"[" + b"1," * 200_000 + b"1]"],
)  # fmt: skip
def test_what_is_not_json_for_everybody_is_a_parse_error(devchain: Devchain, body: bytes) -> None:
    answer = post(devchain, body)
    assert json.loads(answer.content, parse_constant=pytest.fail)["error"]["code"] == -32700


@pytest.mark.parametrize("identifier", ["[1]", '{"a":1}'])
def test_an_id_is_a_string_a_number_or_null(devchain: Devchain, identifier: str) -> None:
    answer = post(devchain, f'{{"id":{identifier},"method":"eth_chainId"}}'.encode()).json()
    assert (answer["id"], answer["error"]["code"]) == (None, -32600)


def test_a_batch_answers_up_to_its_bytes_and_the_rest_is_too_large(
    wallet: Wallet, monkeypatch: pytest.MonkeyPatch
) -> None:
    # returns as many zero bytes as calldata says
    contract = wallet.deploy(bytes.fromhex("5f355ff3"))
    url = str(wallet.web3.provider.endpoint_uri)  # type: ignore[attr-defined]
    size = 100_000
    one = {"jsonrpc": "2.0", "method": "eth_call", "params": [{"to": contract, "data": f"0x{size:064x}"}, "latest"]}
    fits = 10
    length = len(json.dumps({"jsonrpc": "2.0", "id": 10, "result": "0x" + "00" * size}, separators=(",", ":")))
    monkeypatch.setattr(bounds, "ANSWER_BYTES", fits * length)
    for count in (fits, fits + 5):
        answer = httpx.post(url, json=[{**one, "id": 10 + n} for n in range(count)], timeout=60)
        answers = answer.json()
        assert [one["id"] for one in answers] == [10 + n for n in range(count)]
        assert sum("result" in one for one in answers) == fits
        assert all(one["error"] == {"code": -32003, "message": "response too large"} for one in answers[fits:])
        assert len(answer.content) < fits * length + 2000


def test_a_batch_of_fifty_kilobytes_takes_no_gigabytes(wallet: Wallet) -> None:
    contract = wallet.deploy(bytes.fromhex("5f355ff3"))
    url = str(wallet.web3.provider.endpoint_uri)  # type: ignore[attr-defined]
    one = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "eth_call",
        "params": [{"to": contract, "data": f"0x{1_500_000:064x}"}, "latest"],
    }
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    answer = httpx.post(url, json=[one] * 300, timeout=120)
    assert bounds.ANSWER_BYTES - 3_000_100 < len(answer.content) < bounds.ANSWER_BYTES + 100_000
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 400_000  # KiB, both ends in this process


def test_logs_end_at_their_bytes_and_a_filter_loses_none(wallet: Wallet, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = wallet.deploy(bytes.fromhex("5f355fa0"))  # logs as many zero bytes as calldata says
    kept = wallet.ask("eth_newFilter", {"fromBlock": "0x0"})
    for _ in range(4):
        wallet.send(to=contract, data=f"0x{10_000:064x}")
    everything = {"fromBlock": "0x0", "toBlock": "latest"}
    monkeypatch.setattr(bounds, "ANSWER_BYTES", 4 * 20_800)
    assert len(wallet.ask("eth_getLogs", everything)) == 4
    monkeypatch.setattr(bounds, "ANSWER_BYTES", 4 * 20_800 - 1)
    for method, asked in (("eth_getLogs", everything), ("eth_getFilterChanges", kept), ("eth_getFilterLogs", kept)):
        error = wallet.raw(method, asked)["error"]
        assert error["code"] == -32003 and "ask for fewer blocks" in error["message"]
    monkeypatch.undo()
    assert len(wallet.ask("eth_getFilterChanges", kept)) == 4


def test_bytes_of_all_callers_together_are_bounded(devchain: Devchain, monkeypatch: pytest.MonkeyPatch) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'
    answer = len(post(devchain, body).content)
    server = _server_of(devchain)
    for room, status in ((len(body) + answer, 200), (len(body) + answer - 1, 503), (len(body) - 1, 503)):
        monkeypatch.setattr(server._held, "_limit", room)
        assert post(devchain, body).status_code == status
        _until(lambda: server._held.bytes == 0)


def _until(true: Callable[[], bool]) -> None:
    while not true():
        time.sleep(0.01)


def _server_of(devchain: Devchain) -> JsonRpcServer:
    import gc

    found = [one for one in gc.get_objects() if type(one) is JsonRpcServer and one._dispatch.__closure__ is not None
             and any(cell.cell_contents is devchain.thread for cell in one._dispatch.__closure__)]  # fmt: skip
    return found[0]


async def test_a_slow_reader_may_leave_bytes_not_messages_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    async with Devchain.start() as devchain, aiohttp.ClientSession() as session:
        async with session.ws_connect(devchain.url) as socket:
            # many small messages within the bytes are all delivered
            for _ in range(3):
                await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["newHeads"]})
                await socket.receive_json(timeout=20)
            await socket.send_json({"jsonrpc": "2.0", "id": 2, "method": "evm_mine", "params": [{"blocks": 300}]})
            seen = [await socket.receive_json(timeout=30) for _ in range(901)]
            assert sum("params" in message for message in seen) == 900
        server = await asyncio.to_thread(_server_of, devchain)
        while server._connections:
            await asyncio.sleep(0.01)
        assert server._held.bytes == 0


async def test_sockets_are_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "SOCKETS", 2)
    async with Devchain.start() as devchain, aiohttp.ClientSession() as session:
        opened = [await session.ws_connect(devchain.url) for _ in range(2)]
        with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
            await session.ws_connect(devchain.url)
        assert refused.value.status == 503
        for one in opened:
            await one.close()


def test_subscriptions_and_filters_are_bounded_by_what_they_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "CRITERIA", 10)
    methods = Methods(EmbeddedChain(ChainConfig(), None, lambda: 1_700_000_000.0), accounts=(), instant=True)
    subscriptions = Subscriptions(plain_numbers=False)
    five = {"address": ["0x" + "01" * 20] * 5}
    for _ in range(2):
        subscriptions.subscribe(["logs", five])
    with pytest.raises(RpcError, match="at most 10 a connection"):
        subscriptions.subscribe(["logs", five])
    for _ in range(20):
        methods("eth_newFilter", [five])
    with pytest.raises(RpcError, match="at most 100; uninstall some"):
        methods("eth_newFilter", [five])
    monkeypatch.setattr(bounds, "SUBSCRIPTIONS", 3)
    subscriptions.subscribe(["newHeads"])
    with pytest.raises(RpcError, match="at most 3 a connection"):
        subscriptions.subscribe(["newHeads"])


def test_an_unread_filter_of_arrivals_is_gone_not_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounds, "ARRIVALS", 3)
    methods = Methods(EmbeddedChain(ChainConfig(), None, lambda: 1_700_000_000.0), accounts=(), instant=True)
    kept = methods("eth_newPendingTransactionFilter", [])
    for number in range(3):
        methods._filters.transaction_arrived(bytes([number]) * 32)
    assert len(methods("eth_getFilterChanges", [kept])) == 3
    for number in range(4):
        methods._filters.transaction_arrived(bytes([number]) * 32)
    with pytest.raises(RpcError, match="filter not found"):
        methods("eth_getFilterChanges", [kept])


def test_percentiles_are_bounded(wallet: Wallet) -> None:
    assert "result" in wallet.raw("eth_feeHistory", "0x1", "latest", [1] * 100)
    assert wallet.raw("eth_feeHistory", "0x1", "latest", [1] * 101)["error"]["code"] == -32602


def test_a_deep_raw_transaction_is_refused(wallet: Wallet) -> None:
    raw = b"\xc0"
    for _ in range(100_000):
        size = len(raw)
        raw = (
            bytes([0xC0 + size])
            if size < 56
            else bytes([0xF7 + (size.bit_length() + 7) // 8]) + size.to_bytes((size.bit_length() + 7) // 8, "big")
        ) + raw
        if size > 200_000:
            break
    assert wallet.raw("eth_sendRawTransaction", "0x" + raw.hex())["error"]["code"] == -32000


async def test_a_bug_is_logged_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    async def broken(method: str, params: list[Any]) -> Any:
        raise RuntimeError("x" * 1_000_000)

    server = JsonRpcServer(broken, strict=False)
    for _ in range(3):
        answer = await server.answer_text(json.dumps({"id": 1, "method": "eth_call", "params": ["y" * 4_000_000]}))
        assert answer is not None and b"internal error" in answer
    said = capsys.readouterr()
    assert 0 < len(said.out + said.err) < 20_000


@pytest.mark.parametrize("read", [5, None], ids=["in the question", "before the answer"])
async def test_a_client_that_leaves_is_no_error(read: int | None, caplog: pytest.LogCaptureFixture) -> None:
    going, left = asyncio.Event(), asyncio.Event()

    async def slow(method: str, params: list[Any]) -> Any:
        going.set()
        await left.wait()
        return "0x"

    runner = web.AppRunner(JsonRpcServer(slow, strict=False).application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    _, writer = await asyncio.open_connection(*runner.addresses[0])
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId"}'
    head = (
        f"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    writer.write(head.encode() + body[:read])
    async with asyncio.timeout(20):
        while not (server := runner.server) or not server.connections:
            await asyncio.sleep(0.01)
        [connection] = server.connections
        if read is None:
            await going.wait()
        writer.transport.abort()
        while connection.transport is not None:
            await asyncio.sleep(0.01)
    left.set()
    await runner.cleanup()  # waits for the handler
    assert caplog.records == []


scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["0x", "0x0", "latest", "0x" + "11" * 20, "0x" + "22" * 32, "\ud800"])
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["from", "to", "data", "input", "fromBlock", "topics", "address", "blockHash", "gas", "x"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)
names = st.sampled_from(
    sorted(Methods(EmbeddedChain(ChainConfig(), None, lambda: 1_700_000_000.0), accounts=(), instant=True)._table)
) | st.text(max_size=8)
requests = st.dictionaries(st.sampled_from(["jsonrpc", "id", "x"]), values, max_size=3).flatmap(
    lambda extra: st.fixed_dictionaries(
        {"method": names | values, "params": st.lists(values, max_size=4) | values}
    ).map(lambda r: extra | r)
)


@settings(max_examples=400, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.one_of(values, requests, st.lists(requests | values, max_size=4)).map(json.dumps) | st.text() | st.binary())
def test_whatever_is_asked_the_answer_is_json_rpc(body: str | bytes) -> None:
    methods = Methods(_CHAIN, accounts=(), instant=True)

    async def dispatch(method: str, params: list[Any]) -> Any:
        if method == "evm_mine":
            return "0x0"  # ten thousand blocks an example
        return methods(method, params)

    async def asked() -> bytes | None:
        return await JsonRpcServer(dispatch, strict=False).answer_text(
            body, subscriptions=Subscriptions(plain_numbers=False)
        )

    answer = asyncio.run(asked())
    if answer is None:
        return
    parsed = json.loads(answer, parse_constant=pytest.fail)
    for one in parsed if isinstance(parsed, list) else [parsed]:
        assert one["jsonrpc"] == "2.0" and "id" in one
        assert ("result" in one) != ("error" in one)
        if "error" in one:
            assert isinstance(one["error"]["code"], int) and isinstance(one["error"]["message"], str)
            assert one["error"]["code"] != -32603, one


_CHAIN = EmbeddedChain(ChainConfig(), None, lambda: 1_700_000_000.0)
