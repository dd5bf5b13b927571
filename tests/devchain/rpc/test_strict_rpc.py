"""With --strict-rpc the chain is as narrow as an Artela node."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from eth_account import Account

from devchain import Devchain
from devchain.config import ChainConfig
from tests.devchain.wallet import COUNTER, Wallet, initcode

STRANGER = "0x" + "77" * 20
ETHER = 10**18


@pytest.fixture(scope="module")
def strict() -> Iterator[Wallet]:
    with Devchain.running(config=ChainConfig(strict=True)) as devchain:
        yield Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))


@pytest.mark.parametrize(
    "method",
    [
        "eth_newFilter", "eth_newBlockFilter", "eth_newPendingTransactionFilter", "eth_getFilterChanges", "eth_getFilterLogs",
        "eth_uninstallFilter", "eth_getBlockReceipts", "txpool_content", "debug_traceCall", "txpool_status", "debug_traceTransaction",
        "evm_mine", "evm_increaseTime", "evm_setNextBlockTimestamp", "evm_snapshot", "evm_revert",
    ],
)  # fmt: skip
def test_what_the_node_does_not_offer_is_not_there(strict: Wallet, method: str) -> None:
    text = f"the method {method} does not exist/is not available"
    assert strict.raw(method)["error"] == {"code": -32601, "message": text}


@pytest.mark.parametrize(
    ("first", "last", "accepted"),
    [("0x1", 10_001, True), ("0x0", 10_001, True), ("0x1", 10_002, False), ("0x5", 2, True)],
)
def test_logs_are_asked_of_at_most_ten_thousand_blocks(strict: Wallet, first: str, last: int, accepted: bool) -> None:
    answer = strict.raw("eth_getLogs", {"fromBlock": first, "toBlock": hex(last)})
    if accepted:
        assert answer["result"] == []
    else:
        assert answer["error"] == {"code": -32000, "message": "maximum [from, to] blocks distance: 10000"}


def test_a_range_that_ends_beyond_the_head_finds_nothing_on_the_node(strict: Wallet, wallet: Wallet) -> None:
    for chain, found in ((strict, 0), (wallet, 1)):
        block = int(chain.send(to=chain.deploy(COUNTER))["blockNumber"], 16)
        asked = {"fromBlock": hex(block), "toBlock": hex(block)}
        assert len(chain.ask("eth_getLogs", asked)) == 1
        assert len(chain.ask("eth_getLogs", {**asked, "toBlock": hex(block + 1)})) == found


@pytest.mark.parametrize(("extra", "accepted"), [(0, True), (1, False)])
def test_at_most_ten_thousand_logs_come_back(strict: Wallet, extra: int, accepted: bool) -> None:
    # logs calldata[0] times
    loop = bytes.fromhex("5f355b5f5fa06001900380600257") + b"\0"
    contract = strict.deploy(loop)
    blocks = []
    for count in (5_000, 5_000 + extra):
        receipt = strict.send(to=contract, data=f"0x{count:064x}", gas=3_000_000)
        assert receipt["status"] == "0x1"
        blocks.append(receipt["blockNumber"])
    answer = strict.raw("eth_getLogs", {"fromBlock": blocks[0], "toBlock": blocks[1], "address": contract})
    if accepted:
        assert len(answer["result"]) == 10_000
    else:
        assert answer["error"]["message"] == "query returned more than 10000 results"


def test_a_second_transaction_with_a_nonce_in_the_pool_is_refused_and_so_is_a_gap() -> None:
    with Devchain.running(config=ChainConfig(strict=True), mining="manual") as devchain:
        wallet = Wallet(devchain.url, Account.from_key(devchain.accounts[0].key))
        wallet.ask("eth_sendRawTransaction", wallet.sign(to=STRANGER, nonce=0))
        for nonce in (0, 2):
            refused = wallet.raw("eth_sendRawTransaction", wallet.sign(to=STRANGER, nonce=nonce, gasPrice=10**10))
            assert refused["error"] == {
                "code": -32000,
                "message": f"invalid nonce; got {nonce}, expected 1: invalid sequence: invalid sequence",
            }
        assert wallet.ask("eth_getTransactionCount", wallet.account.address, "pending") == "0x1"


@pytest.mark.parametrize(("fee", "accepted"), [(ETHER, True), (ETHER + 50_000, False), (2 * ETHER, False)])
def test_a_fee_of_more_than_one_art_is_refused(strict: Wallet, fee: int, accepted: bool) -> None:
    answer = strict.raw("eth_sendRawTransaction", strict.sign(to=STRANGER, gas=50_000, gasPrice=fee // 50_000))
    if accepted:
        assert "result" in answer
    else:
        shown = f"{fee / ETHER:.2f}"
        assert answer["error"]["message"] == f"tx fee ({shown} art) exceeds the configured cap (1.00 art)"


@pytest.mark.parametrize(("size", "accepted"), [(1_048_576, True), (1_048_577, False)])
def test_a_transaction_has_at_most_a_mebibyte(strict: Wallet, size: int, accepted: bool) -> None:
    gas = 21_000 + 4 * size + 1000
    overhead = len(strict.sign(to=STRANGER, gas=gas, data=bytes(size - 200))) // 2 - 1 - (size - 200)
    # one signature in 128 is a byte shorter than others: of transactions that differ in gas alone, the first of the size that is wanted
    signed = (strict.sign(to=STRANGER, gas=gas + more, data=bytes(size - overhead)) for more in range(1000))
    raw = next(one for one in signed if len(one) // 2 - 1 == size)
    answer = strict.raw("eth_sendRawTransaction", raw)
    assert answer.get("error", {}).get("message") == (None if accepted else ": tx too large")


def test_an_unprotected_transaction_is_refused(strict: Wallet) -> None:
    unprotected = strict.account.sign_transaction(
        {"nonce": 0, "gas": 21_000, "gasPrice": 10**9, "value": 0, "to": STRANGER}
    )
    answer = strict.raw("eth_sendRawTransaction", "0x" + bytes(unprotected.raw_transaction).hex())
    assert answer["error"]["message"] == "only replay-protected (EIP-155) transactions allowed over RPC"


def test_a_receipt_tells_its_price_for_type_2_only(strict: Wallet) -> None:
    assert "effectiveGasPrice" not in strict.send(to=STRANGER)
    receipt = strict.send(to=STRANGER, maxFeePerGas=10**9, maxPriorityFeePerGas=3, type=2)
    assert receipt["effectiveGasPrice"] == "0xa"


def test_the_block_parameter_is_required(strict: Wallet) -> None:
    for method, params in (
        ("eth_call", [{"to": STRANGER}]),
        ("eth_getBalance", [STRANGER]),
        ("eth_getCode", [STRANGER]),
        ("eth_getTransactionCount", [STRANGER]),
        ("eth_getBlockByNumber", ["latest"]),
    ):
        message = "missing value for required argument 1"
        assert strict.raw(method, *params)["error"] == {"code": -32602, "message": message}
    assert strict.ask("eth_estimateGas", {"to": STRANGER}) == "0x5208"


def test_an_estimate_with_data_is_150_000_too_high(strict: Wallet) -> None:
    counter = strict.deploy(COUNTER)
    question = {"from": strict.account.address, "to": counter, "data": "0x01"}
    estimate = int(strict.ask("eth_estimateGas", question), 16)
    exact = int(strict.ask("eth_estimateGas", {**question, "data": "0x"}), 16)
    assert estimate - exact == 150_000 + 16


def test_a_custom_error_has_data_in_a_call_and_none_in_an_estimate(strict: Wallet) -> None:
    reverting = strict.deploy(bytes.fromhex("63deadbeef5f526004601cfd"))
    call = strict.raw("eth_call", {"to": reverting}, "latest")["error"]
    assert call == {"code": 3, "message": "execution reverted", "data": "0xdeadbeef"}
    estimate = strict.raw("eth_estimateGas", {"to": reverting})["error"]
    assert estimate == {"code": -32000, "message": "rpc error: code = Unknown desc = execution reverted"}


def test_without_the_switch_wallets_find_the_error_in_the_estimate_too(wallet: Wallet) -> None:
    reverting = wallet.deploy(bytes.fromhex("63deadbeef5f526004601cfd"))
    error = wallet.raw("eth_estimateGas", {"to": reverting})["error"]
    assert error == {"code": 3, "message": "execution reverted", "data": "0xdeadbeef"}


def test_a_body_of_more_than_five_mebibytes_is_http_413(strict: Wallet) -> None:
    import httpx

    url = str(strict.web3.provider.endpoint_uri)  # type: ignore[attr-defined]
    for size, status in ((5 * 2**20, 200), (5 * 2**20 + 1, 413)):
        body = b'{"jsonrpc":"2.0","id":1,"method":"eth_chainId","params":[]}'
        headers = {"Content-Type": "application/json"}
        assert httpx.post(url, content=body.ljust(size), headers=headers).status_code == status


def test_code_is_at_most_24_576_bytes_and_does_not_begin_with_ef(strict: Wallet) -> None:
    def outcome(code: bytes) -> str:
        return str(strict.send(data=initcode(code), gas=6_000_000, gasPrice=10**9)["status"])

    assert [outcome(code) for code in (bytes(24_576), bytes(24_577), b"\xef", b"\xee")] == ["0x1", "0x0", "0x0", "0x1"]
