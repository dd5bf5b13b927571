"""The same raw transactions to the devchain and to anvil: the same status, gas, logs, addresses, answers and state.

What makes the rules the same: anvil runs hardfork `cancun` with Artela's chain id and block gas, the devchain runs with
min_gas_multiplier 0 (Artela charges half of the gas limit at least), and both blocks get the same number and time. What differs
all the same, and is accounted for exactly where it shows: anvil charges 2 gas per word of init code (EIP-3860). What differs and
is not looked at: hashes and fees of blocks (base fees move apart; transactions pay a fixed price), estimates (an Artela node adds
150,000 gas to any question with data), and the opcodes in the table of test_random_programs.
"""

from __future__ import annotations

import hashlib
from random import Random
from typing import Any

import pytest
from eth_account import Account
from web3 import Web3

from bench.contracts import FOLDER, built, contract
from linklearner import artifacts
from tests.differential.chains import CHAIN_ID, Pair, RpcFailed, init_bytes, keys

SUPPLY = 10**24
ZERO = "0x" + "00" * 20
OWNER, FRIEND, STRANGER = keys()


def encode(name: str, address: str, function: str, *arguments: Any) -> dict[str, Any]:
    return {"to": address, "data": contract(name, address).encode_abi(function, list(arguments))}


def creation(name: str, *arguments: Any) -> bytes:
    return bytes.fromhex(contract(name).constructor(*arguments).data_in_transaction[2:])


@pytest.fixture
def coin(pair: Pair) -> str:
    return pair.create(OWNER, creation("Coin", OWNER.address, SUPPLY))


def test_the_committed_contracts_are_built_from_the_committed_sources() -> None:
    for name, digest in built()["sources"].items():
        source = FOLDER / name
        assert hashlib.sha256(source.read_bytes()).hexdigest() == digest, f"{name}: run bench/contracts/build.mjs"


def permit(coin: str, owner: Any, spender: str, value: int, nonce: int, deadline: int) -> tuple[int, bytes, bytes]:
    signed = Account.sign_typed_data(
        owner.key,
        {"name": "Coin", "version": "1", "chainId": CHAIN_ID, "verifyingContract": coin},
        {
            "Permit": [
                {"name": "owner", "type": "address"}, {"name": "spender", "type": "address"},
                {"name": "value", "type": "uint256"}, {"name": "nonce", "type": "uint256"},
                {"name": "deadline", "type": "uint256"},
            ]
        },
        {"owner": owner.address, "spender": spender, "value": value, "nonce": nonce, "deadline": deadline},
    )  # fmt: skip
    return signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big")


def test_every_call_of_an_erc20_costs_and_does_the_same(pair: Pair, coin: str) -> None:
    def send(account: Any, function: str, *arguments: Any, status: int = 1, gas: int = 5_000_000) -> int:
        receipt = pair.same(account, gas=gas, **encode("Coin", coin, function, *arguments))
        assert receipt.status == status, function
        return receipt.gas_used

    # first and later transfers, to oneself, of nothing, of everything, of too much, to nobody
    first = send(OWNER, "transfer", FRIEND.address, 1000)
    assert send(OWNER, "transfer", FRIEND.address, 1000) < first
    send(OWNER, "transfer", OWNER.address, 5)
    send(OWNER, "transfer", STRANGER.address, 0)
    send(FRIEND, "transfer", STRANGER.address, 2000)
    send(FRIEND, "transfer", STRANGER.address, 1, status=0)
    send(OWNER, "transfer", ZERO, 1, status=0)
    send(OWNER, "transfer", STRANGER.address, 7, gas=30_000, status=0)
    # allowances: given, changed, spent, infinite, taken back, exceeded
    send(OWNER, "approve", FRIEND.address, 100)
    send(OWNER, "approve", FRIEND.address, 50)
    send(FRIEND, "transferFrom", OWNER.address, STRANGER.address, 20)
    send(FRIEND, "transferFrom", OWNER.address, STRANGER.address, 31, status=0)
    send(FRIEND, "transferFrom", OWNER.address, STRANGER.address, 30)
    send(OWNER, "approve", FRIEND.address, 2**256 - 1)
    send(FRIEND, "transferFrom", OWNER.address, STRANGER.address, 10**6)
    send(OWNER, "approve", FRIEND.address, 0)
    send(OWNER, "approve", ZERO, 1, status=0)
    # burning
    send(OWNER, "burn", 12345)
    send(FRIEND, "burn", 1, status=0)
    send(OWNER, "approve", FRIEND.address, 10)
    send(FRIEND, "burnFrom", OWNER.address, 10)
    send(FRIEND, "burnFrom", OWNER.address, 1, status=0)
    # permits: good, replayed, expired, of somebody else
    deadline = 4_000_000_000
    good = permit(coin, OWNER, FRIEND.address, 500, 0, deadline)
    send(STRANGER, "permit", OWNER.address, FRIEND.address, 500, deadline, *good)
    send(STRANGER, "permit", OWNER.address, FRIEND.address, 500, deadline, *good, status=0)
    late = permit(coin, OWNER, FRIEND.address, 500, 1, 1)
    send(STRANGER, "permit", OWNER.address, FRIEND.address, 500, 1, *late, status=0)
    forged = permit(coin, STRANGER, FRIEND.address, 500, 1, deadline)
    send(STRANGER, "permit", OWNER.address, FRIEND.address, 500, deadline, *forged, status=0)
    send(FRIEND, "transferFrom", OWNER.address, FRIEND.address, 500)
    # votes write checkpoints by block number; a flash loan calls back
    send(OWNER, "delegate", OWNER.address)
    send(OWNER, "transfer", FRIEND.address, 77)
    send(FRIEND, "delegate", STRANGER.address)
    send(FRIEND, "delegate", ZERO)
    borrower = pair.create(OWNER, creation("Borrower"))
    send(OWNER, "flashLoan", borrower, coin, 10**6, b"x" * 100)
    send(OWNER, "flashLoan", OWNER.address, coin, 10**6, b"", status=0)

    for function, arguments in (
        ("name", ()), ("symbol", ()), ("decimals", ()), ("totalSupply", ()), ("DOMAIN_SEPARATOR", ()), ("eip712Domain", ()),
        ("balanceOf", (OWNER.address,)), ("allowance", (OWNER.address, FRIEND.address)), ("nonces", (OWNER.address,)),
        ("getVotes", (OWNER.address,)), ("getPastVotes", (OWNER.address, 3)), ("numCheckpoints", (OWNER.address,)),
        ("maxFlashLoan", (coin,)),
    ):  # fmt: skip
        assert pair.call(STRANGER, coin, encode("Coin", coin, function, *arguments)["data"]) != "0x"
    with pytest.raises(RpcFailed) as failed:  # a custom error arrives with its data
        pair.call(STRANGER, coin, encode("Coin", coin, "transfer", FRIEND.address, SUPPLY)["data"])
    assert failed.value.data.startswith(
        Web3.keccak(text="ERC20InsufficientBalance(address,uint256,uint256)")[:4].to_0x_hex()
    )
    pair.assert_same_state((coin, OWNER.address, FRIEND.address, STRANGER.address))


def test_our_token_and_pool_cost_and_do_the_same(pair: Pair) -> None:
    pool_artifact, token_artifact = artifacts.contract("TrainingPool"), artifacts.contract("LinkLearnerToken")
    web3 = Web3()
    pool_class = web3.eth.contract(abi=pool_artifact.abi, bytecode=pool_artifact.bytecode)
    room = pair.create(OWNER, artifacts.contract("EvidenceRoom").bytecode)
    data = pool_class.constructor(OWNER.address, FRIEND.address, 10**24, 10**25, 10**15, room).data_in_transaction
    pool = pair.create(OWNER, bytes.fromhex(data[2:]), tuple(init_bytes()))
    pool_contract = web3.eth.contract(address=Web3.to_checksum_address(pool), abi=pool_artifact.abi)
    answer = pair.call(STRANGER, pool, pool_contract.encode_abi("token", []))
    token = Web3.to_checksum_address("0x" + answer[-40:])
    token_contract = web3.eth.contract(address=token, abi=token_artifact.abi)
    vault = Web3.to_checksum_address("0x" + pair.call(STRANGER, pool, pool_contract.encode_abi("vault", []))[-40:])
    vault_contract = web3.eth.contract(address=vault, abi=artifacts.contract("StakeVault").abi)

    def send(account: Any, target: Any, function: str, *arguments: Any) -> int:
        return pair.same(account, to=target.address, data=target.encode_abi(function, list(arguments))).status

    assert send(FRIEND, token_contract, "transfer", STRANGER.address, 10**18) == 1
    assert send(FRIEND, token_contract, "approve", OWNER.address, 10**18) == 1
    assert send(OWNER, token_contract, "transferFrom", FRIEND.address, OWNER.address, 10**18) == 1
    assert send(OWNER, token_contract, "emitToPool", 1) == 0
    # the pool's own refusals, and what it does without an Aspect's word
    aspect = Web3.to_checksum_address("0x" + "a5" * 20)
    assert send(STRANGER, pool_contract, "setAspect", aspect) == 0
    assert send(OWNER, pool_contract, "setAspect", aspect) == 1
    assert send(OWNER, pool_contract, "setAspect", aspect) == 0
    assert send(OWNER, pool_contract, "fund", 0, 1000) == 0
    assert send(OWNER, pool_contract, "claim", 0) == 0
    assert send(OWNER, pool_contract, "grant", 0, 1) == 0
    assert send(STRANGER, pool_contract, "shareFees", 1, 1) == 0
    assert send(STRANGER, vault_contract, "lock", 0, 1000) == 0
    assert send(STRANGER, vault_contract, "withdraw", 0) == 0
    assert send(OWNER, pool_contract, "drop", 0) == 0
    assert send(STRANGER, pool_contract, "loadPages", 0, 0, b"\0" * 64) == 0
    assert send(STRANGER, pool_contract, "settle", 0, 1, 0, []) == 0
    for function, arguments in (("owner", ()), ("aspect", ()), ("nextTask", ()), ("isOwner", (OWNER.address,))):
        pair.call(STRANGER, pool, pool_contract.encode_abi(function, list(arguments)))
    pair.assert_same_state((pool, vault, token))


def test_storage_costs_and_refunds_are_the_same_whatever_stood_there_before(pair: Pair) -> None:
    """Random writes of 0 to 3 over committed values, in nested frames of which some revert (EIP-2200, 2929, 3529)."""
    slots = pair.create(OWNER, creation("Slots"))
    random = Random(3)
    for _ in range(60):
        program = bytearray()
        for _ in range(random.randrange(1, 24)):
            pick = random.random()
            if pick < 0.08:
                program.append(0xFE)
            elif pick < 0.11:
                program.append(0xFF)
            else:
                program.append(random.randrange(4) << 4 | random.choice((0, 0, 1, 2, 3)))
        gas = random.choice((1_000_000, 1_000_000, 60_000, 30_000))
        pair.same(OWNER, to=slots, data=bytes(program), gas=gas)
    pair.assert_same_state((slots, OWNER.address), tuple(range(4)))


@pytest.mark.parametrize("kind", [0, 1, 2])
def test_transactions_of_every_type_cost_the_same(pair: Pair, coin: str, kind: int) -> None:
    transfer = encode("Coin", coin, "transfer", FRIEND.address, 5)
    # with the tip at the cap the base fee does not matter, and the sender pays the same on both
    fees = {"maxFeePerGas": 10**9, "maxPriorityFeePerGas": 10**9} if kind == 2 else {"gasPrice": 10**9}
    slots = [{"address": coin, "storageKeys": ["0x" + "00" * 31 + "02"]}]
    lists = {} if kind == 0 else {"type": kind, "accessList": slots}
    pair.same(OWNER, **transfer, **fees, **lists)
    pair.same(OWNER, to=FRIEND.address, value=1, gas=30_000, **fees, **lists)
    pair.assert_same_state((coin, OWNER.address, FRIEND.address))
