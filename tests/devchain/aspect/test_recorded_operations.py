"""Every recorded question to the probe's `operation`: same bytes, same gas to the unit, same words."""

import hashlib
from typing import Any

import pytest
from eth_abi import decode, encode
from eth_hash.auto import keccak
from eth_keys.datatypes import PrivateKey

from devchain.aspect.environment import BlockFacts, MessageFacts, NodePanic, StaticCallResult
from devchain.aspect.runtime import AspectOutcome, AspectRuntime, FailureKind
from tests.devchain.aspect.doubles import (
    SENDER,
    MemoryEnvironment,
    legacy_call,
    node_text,
    operate,
    outputs,
    recorded,
)

A = bytes.fromhex("d84f3865af61ed79aee02d9b62b30d645b72a043")
OTHER = PrivateKey(keccak(b"linklearner conformance second key")).public_key.to_canonical_address()
A_CODE_SIZE = 2733
A_CODE_HASH = bytes.fromhex("3efa2f3dbc17b141524f1f79f0b2835b0776aae3134f351c036e53ef9b6679a2")
ENVELOPE_GAS = 150_000


def with_nonces(steps: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Each step with the sender's nonce at that point: one for every transaction of the sender's that was taken."""
    nonce, out = 0, []
    for step in steps:
        out.append({**step, "nonce": nonce})
        nonce += "tx" in step and "refused" not in step and raw(step["from"]) == SENDER
    return out


def raw(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


STEPS = with_nonces(recorded())
OPERATIONS = [
    step
    for step in STEPS
    if step["step"].startswith("operation: ")
    and "call" in step
    and "intrinsic" not in node_text(step)
    and "after upgrade" not in step["step"]
    and "state after failures" not in step["step"]
]


def environment(step: dict[str, Any]) -> MemoryEnvironment:
    env = MemoryEnvironment()
    block = step["block"]
    env.block_facts = BlockFacts(
        number=int(block["number"], 16),
        timestamp=int(block["timestamp"], 16),
        parent_hash=raw(block["parentHash"]),
        miner=raw(block["miner"]),
        max_gas=None,
        max_bytes=None,
    )
    call = step["call"]
    to, data, gas = raw(call["to"]), raw(call["data"]), int(call["gas"], 16)
    env.transaction_facts = legacy_call(step["nonce"], gas, to, data)
    env.message_facts = MessageFacts(sender=raw(call["from"]), to=to, value=0, data=data, gas=gas, index=0)
    env.answer = contract_a
    env.codes[A] = bytes(A_CODE_SIZE)
    env.code_hashes[A] = A_CODE_HASH
    env.nonces[A] = 1
    env.balances[OTHER] = 10**18
    return env


def contract_a(sender: bytes, to: bytes, data: bytes, gas: int) -> StaticCallResult:
    """Contract A as far as the probes call it; gas as the EVM charges it."""
    if to != A:
        return StaticCallResult(b"", None, 0)
    if data == keccak(b"get()")[:4]:
        return StaticCallResult(bytes(32), None, 2442)
    if data[:4] == keccak(b"fail(string)")[:4]:
        reason = raw("08c379a0") + encode(["string"], ["because"])
        return StaticCallResult(reason, "execution reverted", 716)
    raise NodePanic("write protection")


def run(runtime: AspectRuntime, step: dict[str, Any], env: MemoryEnvironment) -> AspectOutcome:
    data = raw(step["call"]["data"])
    intrinsic = 21_000 + sum(16 if byte else 4 for byte in data) + ENVELOPE_GAS
    env.aspect_id, call_data = raw(decode(["address", "bytes"], data[4:])[0]), decode(["address", "bytes"], data[4:])[1]
    return operate(runtime, call_data, gas=int(step["call"]["gas"], 16) - intrinsic, env=env)


@pytest.mark.parametrize("step", OPERATIONS, ids=lambda step: step["step"].removeprefix("operation: "))
def test_an_operation_answers_as_the_node_did(runtime: AspectRuntime, step: dict[str, Any]) -> None:
    env = environment(step)
    answer = step["answer"]
    outcome = run(runtime, step, env)
    if answer.get("result") == "0x":
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.PANIC
    elif "result" in answer:
        assert outcome.failure is None
        assert outcome.result == decode(["bytes"], raw(answer["result"]))[0]
    elif answer["error"]["code"] == 3:
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.REVERTED
        assert outcome.failure.reason == raw(answer["error"]["data"])
        assert outcome.gas_left == int(step["call"]["gas"], 16) - 21_000 - ENVELOPE_GAS - sum(
            16 if byte else 4 for byte in raw(step["call"]["data"])
        )
    else:
        assert outcome.failure is not None
        assert outcome.failure.message.split("backtrace")[0] == node_text(step)


RANDOM = [
    step
    for step in with_nonces(recorded("random-0-40.json.gz"))
    if step["step"].endswith(": operation") and "intrinsic" not in node_text(step)
]
CHAIN_FACTS = range(7, 12)


@pytest.mark.parametrize("step", RANDOM, ids=lambda step: step["step"].split(":")[0])
def test_a_random_program_answers_as_the_node_did(runtime: AspectRuntime, step: dict[str, Any]) -> None:
    env = environment(step)
    answer = step["answer"]
    if "result" in answer:
        give_facts(env, outputs(decode(["bytes"], raw(answer["result"]))[0]))
    outcome = run(runtime, step, env)
    if "result" in answer:
        assert outcome.failure is None
        assert outcome.result == decode(["bytes"], raw(answer["result"]))[0]
    elif answer["error"]["code"] == 3:
        assert outcome.failure is not None
        assert outcome.failure.reason == raw(answer["error"]["data"])
    else:
        assert outcome.failure is not None
        assert outcome.failure.message.split("backtrace")[0] == node_text(step)


def give_facts(env: MemoryEnvironment, seen: list[tuple[int, bytes]]) -> None:
    """Balances, nonces and code are facts of the recorded chain: the environment hands them out in the recorded order."""
    facts = {op: iter([value[6:] for number, value in seen if number == op]) for op in CHAIN_FACTS}
    env.balance = lambda address: int.from_bytes(next(facts[7]), "big")  # type: ignore[method-assign]
    env.storage = lambda address, key: next(facts[8])  # type: ignore[method-assign]
    env.code_hash = lambda address: next(facts[9])  # type: ignore[method-assign]
    env.code_size = lambda address: int.from_bytes(next(facts[10]), "little")  # type: ignore[method-assign]
    env.nonce = lambda address: int.from_bytes(next(facts[11]), "little")  # type: ignore[method-assign]


def test_the_trap_of_a_recorded_program_is_at_the_recorded_offset(runtime: AspectRuntime) -> None:
    step = next(s for s in STEPS if s["step"] == "operation: trap")
    outcome = run(runtime, step, environment(step))
    assert outcome.failure is not None
    assert "0xce5 - <unknown>!<wasm function 36>" in outcome.failure.message
    assert "0xce5 - <unknown>!<wasm function 36>" in step["answer"]["error"]["message"]


def test_hashes_agree_with_the_standard_library(runtime: AspectRuntime) -> None:
    step = next(s for s in STEPS if s["step"] == "operation: sha256")
    outcome = run(runtime, step, environment(step))
    assert isinstance(outcome.result, bytes)
    assert outputs(outcome.result)[0][1][6:] == hashlib.sha256(b"abc").digest()
