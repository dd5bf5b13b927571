"""Who is served: programs on this machine are, a page in its browser is not, whatever name it has given itself."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import httpx
import pytest

from devchain import Devchain
from devchain.config import InvalidChainConfig
from devchain.rpc.access import HttpAccess, Requester
from tests.devchain.wallet import Wallet

PAGE = "http://localhost:5173"
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def chain() -> Iterator[Devchain]:
    with Devchain.running(
        access=HttpAccess.of(("devchain.chain", "Node_1"), (PAGE, "https://app.example:443"))
    ) as running:
        yield running


def post(devchain: Devchain, method: str, *params: Any, **headers: str) -> httpx.Response:
    body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(devchain.url, content=body, headers={**JSON, **named})


def coins_of(devchain: Devchain, address: str) -> int:
    return int(post(devchain, "eth_getBalance", address, "latest").json()["result"], 16)


STRANGER = "0x" + "66" * 20


@pytest.mark.parametrize(
    "content_type",
    ["text/plain", "text/plain;charset=UTF-8", "application/x-www-form-urlencoded", "multipart/form-data", "", None,
     "text/plain; application/json", "application/jsonp"],
)  # fmt: skip
@pytest.mark.parametrize("origin", ["https://evil.example", None])
def test_what_a_page_can_send_unasked_moves_nothing(
    devchain: Devchain, content_type: str | None, origin: str | None
) -> None:
    sender = "0x" + devchain.accounts[0].address.hex()
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction"}
    body["params"] = [{"from": sender, "to": STRANGER, "value": hex(9000 * 10**18)}]  # type: ignore[assignment]
    headers = {} if content_type is None else {"Content-Type": content_type}
    if origin is not None:
        headers["Origin"] = origin
    answer = httpx.post(devchain.url, content=json.dumps(body), headers=headers)
    assert answer.status_code == (415 if origin is None else 403)
    assert "access-control-allow-origin" not in answer.headers
    assert coins_of(devchain, STRANGER) == 0


@pytest.mark.parametrize(
    "content_type", ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/json-rpc"]
)
def test_programs_are_served_as_ever(devchain: Devchain, content_type: str) -> None:
    body = b'{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}'
    answer = httpx.post(devchain.url, content=body, headers={"Content-Type": content_type})
    assert len(answer.json()["result"]) == 10


def test_node_js_marks_its_requests_too_and_is_a_program(devchain: Devchain) -> None:
    assert post(devchain, "evm_snapshot", Sec_Fetch_Mode="cors").json()["result"] == "0x1"


@pytest.mark.parametrize(
    "origin",
    ["https://evil.example", "null", "http://localhost", "http://localhost:5174", "https://localhost:5173", "file://", "",
     "http://localhost:5173.evil.example", "http://evil.example/http://localhost:5173", "http://localhost:5173@evil.example",
     "http://[", "https://app.example:444"],
)  # fmt: skip
def test_an_origin_that_is_not_on_the_list_is_refused_and_told_nothing(chain: Devchain, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}
    answers = (
        post(chain, "eth_chainId", Origin=origin),
        httpx.options(chain.url, headers={"Origin": origin, **asked}),
        httpx.get(chain.url, headers={"Origin": origin}),
    )
    for answer in answers:
        assert answer.status_code == 403
        assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("origin", [PAGE, "HTTP://LOCALHOST:5173", "https://app.example"])
def test_a_page_on_the_list_reads_and_sends_what_is_signed(chain: Devchain, wallet: Wallet, origin: str) -> None:
    asked = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Private-Network": "true"}
    preflight = httpx.options(chain.url, headers={"Origin": origin, **asked})
    assert preflight.status_code == 204
    assert preflight.headers["access-control-allow-origin"] == origin
    assert preflight.headers["access-control-allow-private-network"] == "true"
    answer = post(chain, "eth_chainId", Origin=origin)
    assert (answer.json()["result"], answer.headers["access-control-allow-origin"]) == (hex(7105636), origin)
    assert "Origin" in answer.headers["vary"]
    # refused by the chain, so it got there
    raw = wallet.sign(to=STRANGER)
    assert "insufficient funds" in post(chain, "eth_sendRawTransaction", raw, Origin=origin).json()["error"]["message"]


LOCKED = [
    "eth_sendTransaction", "eth_sign", "eth_signTransaction", "eth_signTypedData", "eth_signTypedData_v4", "eth_fillTransaction",
    "eth_resend", "eth_sendUnsignedTransaction", "personal_sign", "personal_unlockAccount", "personal_listAccounts",
    "evm_mine", "evm_snapshot", "evm_revert", "evm_increaseTime", "evm_setNextBlockTimestamp", "hardhat_setBalance",
    "anvil_impersonateAccount", "admin_peers", "miner_stop", "debug_setHead", "tenderly_setBalance", "rpc_modules", "mine",
]  # fmt: skip


@pytest.mark.parametrize("method", LOCKED)
def test_no_page_uses_an_unlocked_account_or_turns_the_clock_even_if_it_is_on_the_list(
    chain: Devchain, method: str
) -> None:
    account = "0x" + chain.accounts[0].address.hex()
    for headers in ({"Origin": PAGE}, {"Sec_Fetch_Site": "same-origin"}):
        error = post(chain, method, {"from": account, "to": account}, **headers).json()["error"]
        assert "is not open to web pages" in error["message"]
    inside = httpx.post(
        chain.url, json=[{"jsonrpc": "2.0", "id": 1, "method": method, "params": []}], headers={"Origin": PAGE}
    )
    assert "is not open to web pages" in inside.json()[0]["error"]["message"]


def test_a_page_sees_no_accounts_and_a_program_does(chain: Devchain) -> None:
    assert post(chain, "eth_accounts", Origin=PAGE).json()["result"] == []
    assert post(chain, "eth_requestAccounts", Origin=PAGE).json()["result"] == []
    assert len(post(chain, "eth_accounts").json()["result"]) == 10


@pytest.mark.parametrize("method", ["eth_call", "eth_sendRawTransaction", "eth_getLogs", "net_version", "web3_sha3",
                                    "txpool_status", "debug_traceTransaction", "linklearner_gasParts", "eth_subscribe"])  # fmt: skip
def test_what_only_reads_or_is_signed_is_open_to_pages_on_the_list(method: str) -> None:
    assert Requester(PAGE, True).refusal(method) is None


@pytest.mark.parametrize(
    ("host", "served"),
    [
        ("localhost", True), ("LOCALHOST:8545", True), ("localhost.", True), ("a.localhost:1", True), ("127.0.0.1", True),
        ("127.0.0.1:8545", True), ("[::1]:8545", True), ("192.168.1.7:8545", True), ("devchain.chain:8545", True),
        ("DEVCHAIN.chain", True), ("node_1", True), ("evil.example", False), ("evil.example:8545", False),
        ("localhost.evil.example", False), ("127.0.0.1.evil.example", False), ("evil.example:127.0.0.1", False), ("x@localhost", False),
        ("devchain", False), ("[evil.example]", False), ("", False),
    ],
)  # fmt: skip
def test_a_page_whose_name_points_here_is_refused(chain: Devchain, host: str, served: bool) -> None:
    answers = (post(chain, "eth_accounts", Host=host), httpx.get(chain.url, headers={"Host": host}))
    assert {answer.status_code for answer in answers} == ({200} if served else {403})
    if not served:
        assert "--allow-host" in answers[0].text or not host


async def test_sockets_are_asked_for_host_and_origin_too() -> None:
    access = HttpAccess.of((), (PAGE,))
    async with Devchain.start(access=access) as devchain, aiohttp.ClientSession() as session:
        for headers in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(devchain.url, headers=headers)
            assert refused.value.status == 403
        seen = {}
        for origin in (None, PAGE):
            async with session.ws_connect(devchain.url, origin=origin) as socket:
                for method in ("eth_accounts", "evm_mine", "eth_chainId"):
                    await socket.send_json({"jsonrpc": "2.0", "id": 1, "method": method, "params": []})
                    answer = await socket.receive_json(timeout=20)
                    seen[origin, method] = answer.get("result", "refused")
    assert len(seen[None, "eth_accounts"]) == 10
    assert seen[None, "evm_mine"] == "0x0"
    assert (seen[PAGE, "eth_accounts"], seen[PAGE, "evm_mine"]) == ([], "refused")
    assert seen[None, "eth_chainId"] == seen[PAGE, "eth_chainId"] == hex(7105636)


async def test_two_hosts_or_two_origins_are_none() -> None:
    async with Devchain.start(access=HttpAccess.of((), (PAGE,))) as devchain:
        for extra in (
            f"Host: evil.example\r\nHost: 127.0.0.1:{devchain.port}\r\n",
            f"Host: localhost\r\nOrigin: {PAGE}\r\nOrigin: x://y\r\n",
        ):
            reader, writer = await asyncio.open_connection("127.0.0.1", devchain.port)
            writer.write(
                f"POST / HTTP/1.1\r\n{extra}Content-Type: application/json\r\nContent-Length: 2\r\n\r\n{{}}".encode()
            )
            status = await asyncio.wait_for(reader.readline(), 20)
            writer.close()
            assert status.split()[1] in (b"400", b"403")


@pytest.mark.parametrize(
    "origin", ["*", "null", "localhost:5173", "http://", "http://*.example", "https://a.example/path"]
)
def test_an_origin_that_means_nothing_is_a_sentence(origin: str) -> None:
    with pytest.raises(InvalidChainConfig, match="use scheme://host"):
        HttpAccess.of((), (origin,))


@pytest.mark.parametrize("host", ["*", "http://a.example", "a.example:80", "", "a/b", "-a"])
def test_a_host_that_means_nothing_is_a_sentence(host: str) -> None:
    with pytest.raises(InvalidChainConfig, match="use a host name without scheme and port"):
        HttpAccess.of((host,))


def test_a_compressed_request_is_refused_before_it_is_opened(devchain: Devchain) -> None:
    import gzip

    body = gzip.compress(b" " * 50_000_000)
    answer = httpx.post(devchain.url, content=body, headers={**JSON, "Content-Encoding": "gzip"})
    assert answer.status_code == 415
