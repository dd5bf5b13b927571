"""What the probe saw at every join point of recorded transactions: its input byte for byte, its gas to the unit."""

from typing import Any

import pytest
from eth_abi import decode
from eth_hash.auto import keccak

from devchain.aspect import inputs
from devchain.aspect.environment import JoinPoint
from devchain.aspect.protobuf import last_bytes, last_int, parse
from devchain.aspect.runtime import AspectRuntime
from tests.devchain.aspect.doubles import PROBE, MemoryEnvironment, outputs, program, recorded

ECHO, GAS = 29, 23


def seen() -> list[tuple[str, bytes, int]]:
    """(step, input, WASM gas left) wherever the stored program was (echo, gas)."""
    found = []
    for step in recorded():
        if ": output " not in step["step"] or "result" not in step["answer"]:
            continue
        stored = outputs(decode(["bytes"], bytes.fromhex(step["answer"]["result"][2:]))[0])[0][1][6:]
        kinds = outputs(stored)
        if [op for op, _ in kinds] == [ECHO, GAS]:
            found.append((step["step"], kinds[0][1], int.from_bytes(kinds[1][1][6:], "little")))
    return found


SEEN = seen()


def fields(message: dict[int, list[int | bytes]], *numbers: int) -> list[Any]:
    return [message[number][-1] if number in message else None for number in numbers]


def rebuilt(raw: bytes) -> tuple[JoinPoint, bytes, int | None]:
    """The join point, the input made anew from the facts in it, and the gas that the input states."""
    message = parse(raw)
    first, block = parse(last_bytes(message, 1) or b""), parse(last_bytes(message, 2) or b"")
    number = last_int(block, 1) or 0
    if 5 not in first:
        tx_hash, to, sender = fields(first, 1, 2, 3)
        if 3 not in message:
            made = inputs.pre_tx_execute_input(tx_hash=tx_hash, to=to, sender=sender, block_number=number)
            return JoinPoint.PRE_TX_EXECUTE, made, None
        status = last_int(parse(last_bytes(message, 3) or b""), 1) or 0
        made = inputs.post_tx_execute_input(tx_hash=tx_hash, to=to, sender=sender, block_number=number, status=status)
        return JoinPoint.POST_TX_EXECUTE, made, None
    sender, to, index, data, value, gas, ret, error = fields(first, *range(1, 9))
    call = {"sender": sender, "to": to, "index": index, "data": data, "value": int.from_bytes(value, "big"), "gas": gas}
    if error is None:
        return JoinPoint.PRE_CONTRACT_CALL, inputs.pre_contract_call_input(**call, block_number=number), gas
    made = inputs.post_contract_call_input(**call, ret=ret, error=error.decode(), block_number=number)
    return JoinPoint.POST_CONTRACT_CALL, made, gas


def test_all_four_join_points_are_among_the_recorded() -> None:
    assert {rebuilt(raw)[0] for _, raw, _ in SEEN} == {
        JoinPoint.PRE_TX_EXECUTE,
        JoinPoint.PRE_CONTRACT_CALL,
        JoinPoint.POST_CONTRACT_CALL,
        JoinPoint.POST_TX_EXECUTE,
    }


@pytest.mark.parametrize(("step", "raw", "left"), SEEN, ids=[step for step, _, _ in SEEN])
def test_an_input_is_made_as_the_node_makes_it(step: str, raw: bytes, left: int) -> None:
    assert rebuilt(raw)[1] == raw


@pytest.mark.parametrize(
    ("step", "raw", "left"), [entry for entry in SEEN if rebuilt(entry[1])[2]], ids=lambda entry: str(entry)[:40]
)
def test_a_join_point_costs_what_it_cost_on_the_node(runtime: AspectRuntime, step: str, raw: bytes, left: int) -> None:
    join_point, made, gas = rebuilt(raw)
    assert gas is not None
    env = MemoryEnvironment(join_point)
    env.state[b"p" + join_point.value.encode()] = program(("echo",), ("gas",))
    outcome = runtime.call(keccak(PROBE), PROBE, made, gas, env)
    assert outcome.failure is None
    assert outcome.result is None
    stored = outputs(env.state[b"o\0"])
    assert stored[0] == (ECHO, raw)
    assert int.from_bytes(stored[1][1][6:], "little") == left
