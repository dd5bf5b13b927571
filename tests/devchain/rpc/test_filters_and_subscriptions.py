"""What clients poll and what they are told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from eth_account import Account
from web3 import AsyncWeb3, Web3
from web3.providers.persistent import WebSocketProvider

from devchain import Devchain
from devchain.chain.chain import EmbeddedChain
from devchain.config import ChainConfig
from devchain.rpc import bounds
from devchain.rpc.codec import RpcError
from devchain.rpc.filters import Filters
from tests.devchain.wallet import COUNTER, Wallet


def emitter() -> bytes:
    """Code that logs with as many topics as calldata has words: the words themselves."""
    parts = []
    for count in range(5):
        push = b"".join(bytes.fromhex(f"60{32 * i:02x}35") for i in reversed(range(count)))
        body = push + bytes.fromhex("5f5f") + bytes([0xA0 + count]) + b"\0"
        parts.append((count, body))
    code = b""
    dispatch_size = len(parts) * 9
    targets, tail = [], b""
    for _, body in parts:
        targets.append(dispatch_size + len(tail))
        tail += b"\x5b" + body
    for (count, _), target in zip(parts, targets, strict=True):
        code += bytes.fromhex(f"36{'60'}{32 * count:02x}14") + bytes.fromhex(f"61{target:04x}57") + b"\x5b"
    return code + tail


def word(n: int) -> str:
    return f"0x{n:064x}"


def test_get_logs_picks_by_block_address_and_topic_position(wallet: Wallet) -> None:
    first, second = wallet.deploy(emitter()), wallet.deploy(emitter())
    blocks = []
    for address, topics in ((first, [1]), (first, [1, 2]), (second, [3, 2]), (first, [])):
        data = "0x" + "".join(f"{t:064x}" for t in topics)
        blocks.append(int(wallet.send(to=address, data=data)["blockNumber"], 16))

    def found(**wanted: Any) -> list[int]:
        logs = wallet.ask("eth_getLogs", {"fromBlock": "0x0", "toBlock": "latest", **wanted})
        return [blocks.index(int(log["blockNumber"], 16)) for log in logs]

    assert found() == [0, 1, 2, 3]
    assert found(address=first) == [0, 1, 3]
    assert found(address=[first, second], topics=[None, word(2)]) == [1, 2]
    assert found(topics=[word(1)]) == [0, 1]
    assert found(topics=[[word(1), word(3)], word(2)]) == [1, 2]
    assert found(topics=[None]) == [0, 1, 2]
    assert found(fromBlock=hex(blocks[1]), toBlock=hex(blocks[2])) == [1, 2]
    assert found(fromBlock=hex(blocks[2]), toBlock=hex(blocks[1])) == []
    block_hash = wallet.ask("eth_getBlockByNumber", hex(blocks[2]), False)["hash"]
    assert [log["blockHash"] for log in wallet.ask("eth_getLogs", {"blockHash": block_hash})] == [block_hash]


def test_a_filter_tells_each_change_once(wallet: Wallet) -> None:
    address = wallet.deploy(COUNTER)
    logs = wallet.ask("eth_newFilter", {"address": address})
    blocks = wallet.ask("eth_newBlockFilter")
    arrivals = wallet.ask("eth_newPendingTransactionFilter")
    receipt = wallet.send(to=address)
    assert [log["transactionHash"] for log in wallet.ask("eth_getFilterChanges", logs)] == [receipt["transactionHash"]]
    assert wallet.ask("eth_getFilterChanges", blocks) == [receipt["blockHash"]]
    assert wallet.ask("eth_getFilterChanges", arrivals) == [receipt["transactionHash"]]
    assert [wallet.ask("eth_getFilterChanges", i) for i in (logs, blocks, arrivals)] == [[], [], []]
    assert wallet.ask("eth_uninstallFilter", logs) is True
    assert wallet.ask("eth_uninstallFilter", logs) is False
    assert wallet.raw("eth_getFilterChanges", logs)["error"]["message"] == "filter not found"


@asynccontextmanager
async def socket(devchain: Devchain) -> AsyncIterator[aiohttp.ClientWebSocketResponse]:
    async with aiohttp.ClientSession() as session, session.ws_connect(devchain.url) as connection:
        yield connection


@pytest.mark.parametrize("binary", [False, True], ids=["text frames", "binary frames"])
async def test_a_subscriber_hears_of_heads_and_matching_logs(binary: bool) -> None:
    async with Devchain.start() as devchain, socket(devchain) as connection:

        async def ask(method: str, *params: Any) -> Any:
            request = json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params})
            await (connection.send_bytes(request.encode()) if binary else connection.send_str(request))
            while True:
                message = await connection.receive_json(timeout=10)
                if message.get("id") == 7:
                    return message["result"]
                heard.append(message["params"])

        heard: list[dict[str, Any]] = []
        wallet = Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
        address = await asyncio.to_thread(wallet.deploy, COUNTER)
        other = await asyncio.to_thread(wallet.deploy, COUNTER)
        heads = await ask("eth_subscribe", "newHeads")
        logs = await ask("eth_subscribe", "logs", {"address": address})
        for to in (address, other):
            await asyncio.to_thread(lambda to=to: wallet.send(to=to))
        while len(heard) < 3:
            heard.append((await connection.receive_json(timeout=10))["params"])
        assert [m["subscription"] for m in heard] == [heads, logs, heads]
        assert heard[1]["result"]["address"] == address.lower()
        assert heard[2]["result"]["parentHash"] == heard[0]["result"]["hash"]
        assert await ask("eth_unsubscribe", heads) is True


async def test_web3_follows_heads_over_a_websocket() -> None:
    async with Devchain.start() as devchain:
        url = devchain.url.replace("http", "ws")
        async with AsyncWeb3(WebSocketProvider(url)) as web3:
            await web3.eth.subscribe("newHeads")
            wallet = Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
            await asyncio.to_thread(lambda: wallet.send(to=wallet.account.address))
            async for message in web3.socket.process_subscriptions():
                assert message["result"]["number"] == 1
                break


def test_subscriptions_need_a_socket(wallet: Wallet) -> None:
    assert wallet.raw("eth_subscribe", "newHeads")["error"]["message"] == "notifications not supported"


def test_a_batch_answers_each_request_and_an_unknown_method_fails_alone(devchain: Devchain) -> None:
    import httpx

    batch = [
        {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"},
        {"jsonrpc": "2.0", "id": "two", "method": "eth_nope", "params": []},
        {"jsonrpc": "2.0", "method": "eth_chainId"},
        17,
        {"jsonrpc": "2.0", "id": 3, "method": "eth_blockNumber", "params": []},
    ]
    answers = httpx.post(devchain.url, json=batch).json()
    assert [a.get("result") for a in answers] == [Web3.to_hex(7105636), None, None, "0x0"]
    assert answers[1]["error"] == {"code": -32601, "message": "the method eth_nope does not exist/is not available"}
    assert answers[2]["error"]["code"] == -32600
    assert (
        httpx.post(devchain.url, content=b"{", headers={"Content-Type": "application/json"}).json()["error"]["code"]
        == -32700
    )
    assert httpx.post(devchain.url, json=[]).json()["error"]["message"] == "empty batch"


def test_a_filter_that_nobody_asks_for_five_minutes_is_gone() -> None:
    now = [0.0]
    filters = Filters(EmbeddedChain(ChainConfig(), None, lambda: 1_700_000_000.0), lambda: now[0])
    table = filters.table()
    kept, left = table["eth_newBlockFilter"]([]), table["eth_newPendingTransactionFilter"]([])
    for now[0] in (200.0, 400.0):
        assert table["eth_getFilterChanges"]([kept]) == []
    filters.transaction_arrived(bytes(32))
    with pytest.raises(RpcError, match="filter not found"):
        table["eth_getFilterChanges"]([left])
    now[0] = 701.0
    with pytest.raises(RpcError, match="filter not found"):
        table["eth_getFilterChanges"]([kept])


def test_filters_are_numbered_and_limited() -> None:
    filters = Filters(EmbeddedChain(ChainConfig(), None, lambda: 1_700_000_000.0), lambda: 0.0).table()
    assert [filters["eth_newBlockFilter"]([]) for _ in range(1000)][-1] == "0x3e8"
    with pytest.raises(RpcError, match="too many filters: at most 1000"):
        filters["eth_newBlockFilter"]([])
    assert filters["eth_uninstallFilter"](["0x5"]) is True
    assert filters["eth_uninstallFilter"](["0x5"]) is False
    filters["eth_newBlockFilter"]([])


async def test_a_subscriber_who_does_not_read_loses_the_connection_and_nobody_else_waits(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(bounds, "BACKLOG_BYTES", 4_000_000)
    async with Devchain.start() as devchain, socket(devchain) as deaf:
        await deaf.send_json({"jsonrpc": "2.0", "id": 1, "method": "eth_subscribe", "params": ["logs", {}]})
        await deaf.receive_json()
        wallet = Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
        # logs as many zero bytes as calldata says
        contract = await asyncio.to_thread(wallet.deploy, bytes.fromhex("5f355fa0"))
        begun = asyncio.get_running_loop().time()
        for _ in range(60):
            receipt = await asyncio.to_thread(
                lambda: wallet.send(to=contract, data=f"0x{200_000:064x}", gas=4_000_000, gasPrice=10**10)
            )
            assert receipt["status"] == "0x1"
        assert asyncio.get_running_loop().time() - begun < 60
        seen = 0
        async for _ in deaf:
            seen += 1
        assert deaf.close_code == 1013
        assert seen < 60


@pytest.mark.parametrize("begin", ["latest", "earliest", "pending", "0x0", None])
@pytest.mark.parametrize("end", ["latest", "pending", None])
def test_a_filter_polled_after_several_blocks_has_the_events_of_all(
    wallet: Wallet, begin: str | None, end: str | None
) -> None:
    address = wallet.deploy(COUNTER)
    wallet.send(to=address)  # before the filter
    range_ = {key: tag for key, tag in (("fromBlock", begin), ("toBlock", end)) if tag is not None}
    kept = wallet.ask("eth_newFilter", {"address": address, **range_})
    sent = [wallet.send(to=address)["transactionHash"] for _ in range(3)]
    assert [log["transactionHash"] for log in wallet.ask("eth_getFilterChanges", kept)] == sent
    assert wallet.ask("eth_getFilterChanges", kept) == []
    again = [wallet.send(to=address)["transactionHash"] for _ in range(2)]
    everything = [log["transactionHash"] for log in wallet.ask("eth_getFilterLogs", kept)]
    assert everything[-5:] == sent + again
    assert [log["transactionHash"] for log in wallet.ask("eth_getFilterChanges", kept)] == again


def test_a_filter_with_numbers_ends_where_it_says(wallet: Wallet) -> None:
    address = wallet.deploy(COUNTER)
    head = int(wallet.ask("eth_blockNumber"), 16)
    kept = wallet.ask("eth_newFilter", {"fromBlock": hex(head + 2), "toBlock": hex(head + 3)})
    sent = [wallet.send(to=address)["transactionHash"] for _ in range(5)]
    assert [log["transactionHash"] for log in wallet.ask("eth_getFilterChanges", kept)] == sent[1:3]


def test_a_misspelt_filter_key_is_refused_where_a_node_would_find_everything(wallet: Wallet) -> None:
    for method in ("eth_getLogs", "eth_newFilter"):
        for wrong in ("adress", "fromblock", "topic", "to", "blockhash", "limit"):
            error = wallet.raw(method, {wrong: "0x1"})["error"]
            assert (error["code"], wrong in error["message"]) == (-32602, True)
    with Devchain.running(config=ChainConfig(strict=True)) as strict:
        node = Wallet(strict.url, wallet.account)
        assert node.ask("eth_getLogs", {"adress": "0x1"}) == []  # as Go reads it


def test_data_and_input_that_differ_are_refused(wallet: Wallet) -> None:
    me = wallet.ask("eth_accounts")[0]
    to = wallet.deploy(COUNTER)
    for method in ("eth_call", "eth_estimateGas", "eth_sendTransaction"):
        error = wallet.raw(method, {"from": me, "to": to, "data": "0x01", "input": "0x02"})["error"]
        assert "not equal" in error["message"]
        same = wallet.raw(method, {"from": me, "to": to, "data": "0xAB", "input": "0xab"})
        assert "result" in same
