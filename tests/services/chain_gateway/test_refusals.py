"""Every way in which an Artela node was seen to say no, in our words. The messages are recorded ones."""

import pytest
from eth_abi.abi import encode
from eth_hash.auto import keccak
from hypothesis import given
from hypothesis import strategies as st

from linklearner.chain.contracts import CONTRACTS
from linklearner.domain.errors import LinkLearnerError, NotFound, Refused, Unavailable
from services.chain_gateway.refusals import ADVICE, refusal

RPC = "rpc error: code = Internal desc = "


def error_data(text: str) -> bytes:
    return bytes.fromhex("08c379a0") + encode(["string"], [text])


@pytest.mark.parametrize(
    ("message", "data", "kind", "reason"),
    [
        ("execution reverted: StaleBase: x", error_data("StaleBase: the update is for version 3"), Refused, "StaleBase"),
        ("execution reverted: no estimate", b"", Refused, "Reverted"),
        ("rpc error: code = Unknown desc = execution reverted: NoStake: lock some", b"", Refused, "NoStake"),
        ("execution reverted: no colon", error_data("no colon"), Refused, "Reverted"),
        ("execution reverted", b"", Refused, "Reverted"),
        ("execution reverted", b"\1\2\3\4", Refused, "Reverted"),
        ("execution reverted", bytes.fromhex("4e487b71") + encode(["uint256"], [0x11]), Refused, "Panic"),
        ("execution reverted", bytes.fromhex("4e487b71") + encode(["uint256"], [0x99]), Refused, "Panic"),
        ("tx gas (25000000) exceeds block gas limit (20000000): out of gas: out of gas", b"", Refused, "GasLimitTooHigh"),
        (
            "failed to verify the fees: gas limit too low: 21000 (gas limit) < 21204 (intrinsic gas): out of gas: out of gas",
            b"", Refused, "GasLimitTooLow",
        ),
        (
            "failed to check sender balance: sender balance < tx cost (9 < 10): insufficient funds: insufficient funds",
            b"", Refused, "InsufficientFunds",
        ),
        (RPC + "insufficient balance for transfer", b"", Refused, "InsufficientFunds"),
        ("max fee per gas less than block base fee (0 < 7): insufficient fee: insufficient fee", b"", Refused, "FeeTooLow"),
        ("tx fee (1.90 art) exceeds the configured cap (1.00 art)", b"", Refused, "FeeCap"),
        (": tx too large", b"", Refused, "TransactionTooLarge"),
        (RPC + "out of gas", b"", Refused, "OutOfGas"),
        (RPC + "apply message: intrinsic gas too low", b"", Refused, "GasLimitTooLow"),
        (RPC + "aspect not deployed", b"", Refused, "NodeRefused"),
        (
            "query block failed, block number 9, height 9 must be less than or equal to the current blockchain height 8",
            b"", NotFound, "StateGone",
        ),
        ("failed to load state at height 5; version does not exist (latest height: 99)", b"", NotFound, "StateGone"),
        ("mempool is full: number of txs 5000", b"", Unavailable, "Unavailable"),
        (RPC + "execution aborted (timeout = 5s)", b"", Unavailable, "Unavailable"),
    ],
)  # fmt: skip
def test_a_node_s_no_has_a_name(message: str, data: bytes, kind: type[LinkLearnerError], reason: str) -> None:
    error = refusal(message, data, CONTRACTS)
    assert type(error) is kind
    assert error.reason == reason
    assert error.message


def test_the_contract_s_error_comes_with_its_facts_and_with_advice() -> None:
    data = keccak(b"WrongRound(uint64,uint64)")[:4] + encode(["uint64", "uint64"], [3, 5])
    error = refusal("execution reverted", data, CONTRACTS)
    assert (error.reason, error.facts) == ("WrongRound", {"given": "3", "current": "5"})
    assert error.message == "WrongRound: that round is not the open one (given 3, current 5)"


def test_the_more_specific_word_wins() -> None:
    """Data beats the message, and what the Aspect says beats what the node calls it."""
    assert refusal("execution reverted: out of gas", error_data("NoStake: lock some"), ()).reason == "NoStake"


def test_backtraces_are_not_for_people() -> None:
    message = (
        RPC + "method execute execution fail, err: error while executing at wasm backtrace:\n    0:  0xb2c - <unknown>!"
    )
    assert "0xb2c" not in refusal(message, b"", ()).message


def test_advice_is_given_for_errors_that_exist() -> None:
    names = {entry["name"] for artifact in CONTRACTS for entry in artifact._errors.values()}
    assert set(ADVICE) <= names


@given(st.text(max_size=80), st.binary(max_size=120))
def test_nothing_that_a_node_says_breaks_the_translation(message: str, data: bytes) -> None:
    assert isinstance(refusal(message, data, CONTRACTS), LinkLearnerError)
    for selector in ("08c379a0", "4e487b71"):
        assert isinstance(refusal(message, bytes.fromhex(selector) + data, CONTRACTS), LinkLearnerError)
