"""What clients send, right or wrong, and how it is answered."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from devchain.accounts import DevelopmentAccount
from devchain.chain.chain import EmbeddedChain
from devchain.config import ChainConfig
from devchain.rpc import codec
from devchain.rpc.codec import RpcError
from devchain.rpc.methods import Methods
from tests.devchain.wallet import COUNTER, initcode

DEVELOPER = DevelopmentAccount.from_key(b"\x07" * 32)


def methods_of(*, strict: bool = False, instant: bool = True) -> Methods:
    config = ChainConfig(strict=strict, alloc={DEVELOPER.address: 10**24})
    return Methods(EmbeddedChain(config, None, lambda: 1_700_000_000.0), accounts=(DEVELOPER,), instant=instant)


@pytest.fixture(scope="module")
def methods() -> Iterator[Methods]:
    methods = methods_of()
    sender = "0x" + DEVELOPER.address.hex()
    creation = {"from": sender, "data": "0x" + initcode(COUNTER).hex()}
    contract = methods("eth_getTransactionReceipt", [methods("eth_sendTransaction", [creation])])["contractAddress"]
    methods("eth_sendTransaction", [{"from": sender, "to": contract}])
    yield methods


@pytest.mark.parametrize(
    ("text", "bits", "number"),
    [("0x0", 256, 0), ("0xff", 8, 255), ("0XaB", 64, 0xAB), ("0x" + "f" * 64, 256, 2**256 - 1)],
)
def test_a_quantity_is_hex_up_to_its_width(text: str, bits: int, number: int) -> None:
    assert codec.parse_quantity(text, 0, bits) == number


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("", "empty hex string"),
        ("5", "hex string without 0x prefix"),
        ("0x", 'hex string "0x"'),
        ("0x05", "hex number with leading zero digits"),
        ("0x1_0", "invalid hex string"),
        ("0x-1", "invalid hex string"),
        ("0x 1", "invalid hex string"),
        ("0xg", "invalid hex string"),
        ("0x100", "hex number > 8 bits"),
        ("0x" + "f" * 10_000, "hex number > 8 bits"),
        (5, "json: cannot unmarshal non-string into Go value of type hexutil.Big"),
        (None, "json: cannot unmarshal non-string into Go value of type hexutil.Big"),
    ],
)
def test_what_is_no_quantity_is_refused_in_the_nodes_words(value: Any, reason: str) -> None:
    with pytest.raises(RpcError) as refused:
        codec.parse_quantity(value, 3, 8)
    assert (refused.value.code, refused.value.message) == (-32602, f"invalid argument 3: {reason}")


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("0xzz", "hex string has length 2, want 40 for common.Address"),
        ("0x" + "zz" * 20, "invalid hex string"),
        ("0x" + "a" * 39, "hex string of odd length"),
        ("a" * 40, "hex string without 0x prefix"),
        ("", "empty hex string"),
        (7, "json: cannot unmarshal non-string into Go value of type common.Address"),
    ],
)
def test_what_is_no_address_is_refused_in_the_nodes_words(value: Any, reason: str) -> None:
    with pytest.raises(RpcError) as refused:
        codec.parse_address(value, 0)
    assert refused.value.message == f"invalid argument 0: {reason}"


ADDRESS = "0x" + "ab" * 20
TEXTS = st.sampled_from(
    [
        "latest", "pending", "earliest", "safe", "0x0", "0x1", "0x2", "0x3", "0x7fffffffffffffff", "0xffffffffffffffff",
        "0x" + "f" * 64, "0x" + "f" * 65, "0x", "", "x", ADDRESS, "0x" + DEVELOPER.address.hex(), "0x" + "00" * 32,
        "0x0000000000000000000000000000000000A27E14", "0xcafecafe", "0x01", "0x02c0", "0xf8", "\ud800", "newHeads",
    ]
)  # fmt: skip
LEAVES = st.one_of(
    TEXTS,
    st.none(),
    st.booleans(),
    st.integers(-(2**65), 2**65),
    st.sampled_from([0, 1, 2, 25, 99.5, float("inf"), 2**63, 2**64]),
    st.text(max_size=5),
    st.binary(max_size=100).map(lambda raw: "0x" + raw.hex()),
)
KEYS = st.sampled_from(
    [
        "from", "to", "data", "input", "value", "gas", "gasPrice", "maxFeePerGas", "maxPriorityFeePerGas", "nonce", "chainId",
        "accessList", "address", "storageKeys", "topics", "fromBlock", "toBlock", "blockHash", "blockNumber", "blocks", "timestamp",
    ]
)  # fmt: skip
VALUES = st.recursive(
    LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=5), max_leaves=12
)
METHODS = sorted(set(methods_of()._table) - {"evm_mine", "evm_increaseTime", "evm_setNextBlockTimestamp"})


@pytest.mark.parametrize("method", METHODS)
@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(params=st.lists(VALUES, max_size=4))
def test_any_parameters_get_an_answer_or_a_refusal(methods: Methods, method: str, params: list[Any]) -> None:
    try:
        methods(method, params)
    except RpcError as refused:
        assert refused.code in (codec.SERVER_ERROR, codec.INVALID_PARAMS, codec.REVERTED)


@pytest.mark.parametrize("method", ["evm_mine", "evm_increaseTime", "evm_setNextBlockTimestamp"])
@settings(max_examples=60, deadline=None)
@given(params=st.lists(VALUES, max_size=2))
def test_any_wish_about_time_gets_an_answer_or_a_refusal(method: str, params: list[Any]) -> None:
    methods = methods_of()
    try:
        if not (params and isinstance(params[0], dict) and params[0].get("blocks")):
            methods(method, params)
            methods("evm_mine", [])
    except RpcError as refused:
        assert refused.code == codec.INVALID_PARAMS


def test_a_block_goes_by_number_tag_hash_or_an_object_of_either(methods: Methods) -> None:
    block_hash = methods("eth_getBlockByNumber", ["0x1", False])["hash"]
    contract = methods("eth_getTransactionByBlockNumberAndIndex", ["0x2", "0x0"])["to"]

    def count_at(tag: Any) -> int:
        return int(methods("eth_getStorageAt", [contract, "0x0", tag]), 16)

    assert [count_at(tag) for tag in ("0x1", block_hash, {"blockHash": block_hash}, {"blockNumber": "0x1"})] == [0] * 4
    assert [count_at(tag) for tag in ("0x2", "latest", "safe", "finalized", "pending", None)] == [1] * 6
    assert methods("eth_getCode", [contract, "earliest"]) == "0x"
    with pytest.raises(RpcError, match="cannot specify both BlockHash and BlockNumber"):
        count_at({"blockHash": block_hash, "blockNumber": "0x1"})
    with pytest.raises(RpcError, match="block not found"):
        count_at("0x" + "12" * 32)
    with pytest.raises(RpcError, match=r"block number 3, height 3 must be less than or equal .* height 2$"):
        count_at("0x3")


def test_a_pending_block_is_the_newest_without_what_a_seal_gives(methods: Methods) -> None:
    newest, pending = (methods("eth_getBlockByNumber", [tag, False]) for tag in ("latest", "pending"))
    assert pending == newest | {"hash": None, "nonce": None, "miner": None}


def test_overrides_of_a_call_are_refused_and_on_a_strict_chain_ignored(methods: Methods) -> None:
    call = [{"to": ADDRESS}, "latest", {ADDRESS: {"balance": "0x1"}}]
    with pytest.raises(RpcError, match="overrides are not supported"):
        methods("eth_call", call)
    assert methods("eth_call", [*call[:2], None, {}]) == "0x"
    assert methods_of(strict=True)("eth_call", call) == "0x"


@pytest.mark.parametrize("method", ["eth_call", "eth_estimateGas", "eth_sendTransaction"])
def test_one_price_only(methods: Methods, method: str) -> None:
    asked = {"from": "0x" + DEVELOPER.address.hex(), "to": ADDRESS, "gasPrice": "0x9", "maxFeePerGas": "0x9"}
    with pytest.raises(RpcError, match=r"both gasPrice and \(maxFeePerGas or maxPriorityFeePerGas\) specified"):
        methods(method, [asked, "latest"])


GASPRICE_RETURNED = bytes.fromhex("3a5f5260205ff3")


@pytest.mark.parametrize(
    ("fees", "price"),
    [
        ({}, 0),
        ({"gasPrice": "0x9"}, 9),
        ({"maxFeePerGas": "0x64"}, 7),
        ({"maxFeePerGas": "0x64", "maxPriorityFeePerGas": "0x3"}, 10),
        ({"maxFeePerGas": "0x8", "maxPriorityFeePerGas": "0x3"}, 8),
        ({"maxPriorityFeePerGas": "0x3"}, 0),
    ],
)
def test_a_question_sees_the_price_that_a_transaction_would_pay(
    methods: Methods, fees: dict[str, str], price: int
) -> None:
    # init code that returns the price: a question without `to` answers with it
    assert int(methods("eth_call", [{"data": "0x" + GASPRICE_RETURNED.hex(), **fees}, "latest"]), 16) == price


@pytest.mark.parametrize(
    ("fees", "kind"),
    [
        ({"gasPrice": "0x3b9aca00"}, "0x0"),
        ({"gasPrice": "0x3b9aca00", "accessList": [{"address": ADDRESS, "storageKeys": ["0x" + "00" * 32]}]}, "0x1"),
        ({"maxFeePerGas": "0x3b9aca00", "maxPriorityFeePerGas": "0x1"}, "0x2"),
        ({}, "0x2"),
    ],
)
def test_a_development_account_needs_no_wallet(methods: Methods, fees: dict[str, Any], kind: str) -> None:
    sender = "0x" + DEVELOPER.address.hex()
    sent = methods("eth_sendTransaction", [{"from": sender, "to": ADDRESS, "value": "0x5", **fees}])
    transaction = methods("eth_getTransactionByHash", [sent])
    assert (transaction["type"], transaction["from"], transaction["value"]) == (kind, sender, "0x5")
    assert methods("eth_getTransactionReceipt", [sent])["status"] == "0x1"


def test_nobody_elses_account_is_signed_for(methods: Methods) -> None:
    with pytest.raises(RpcError, match="only development accounts"):
        methods("eth_sendTransaction", [{"from": ADDRESS, "to": ADDRESS}])
