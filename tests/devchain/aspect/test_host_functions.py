"""Host functions: where they work, what they answer, what crashes the node."""

import hashlib
from typing import Any

import coincurve
import pytest
from eth_hash.auto import keccak
from hypothesis import given, settings
from hypothesis import strategies as st

from devchain.aspect import crypto
from devchain.aspect.context import context_value
from devchain.aspect.environment import (
    BlockFacts,
    JoinPoint,
    LogFacts,
    MessageFacts,
    NodePanic,
    ReceiptFacts,
    StaticCallResult,
)
from devchain.aspect.protobuf import MalformedMessage, blob, last_bytes, last_int, minimal, parse, varint
from devchain.aspect.runtime import AspectOutcome, AspectRuntime, FailureKind
from devchain.precompiles.blake2 import IV
from tests.devchain.aspect.doubles import (
    ASPECT,
    PROBE,
    SENDER,
    SYSTEM,
    MemoryEnvironment,
    legacy_call,
    outputs,
    probe,
    program,
)

PROBE_POINTS = (
    JoinPoint.PRE_TX_EXECUTE,
    JoinPoint.PRE_CONTRACT_CALL,
    JoinPoint.POST_CONTRACT_CALL,
    JoinPoint.POST_TX_EXECUTE,
)
EVERYWHERE = (JoinPoint.OPERATION, JoinPoint.INIT, JoinPoint.VERIFY_TX, *PROBE_POINTS)


def at(runtime: AspectRuntime, point: JoinPoint, *operations: tuple[Any, ...], **facts: Any) -> AspectOutcome:
    """Run a program at a join point (a stored one, or the call data of operation and init)."""
    env = MemoryEnvironment(point)
    for name, value in facts.items():
        setattr(env, name, value)
    env.state[b"p" + point.value.encode()] = program(*operations)
    data = program(*operations)
    argument = blob(3, b"\x01" + data if point is JoinPoint.OPERATION else data)
    return runtime.call(keccak(PROBE), PROBE, argument, 10_000_000, env)


def traps(outcome: AspectOutcome) -> bool:
    return outcome.failure is not None and "write params failed" in outcome.failure.message


@pytest.mark.parametrize("point", EVERYWHERE)
@pytest.mark.parametrize(
    ("operation", "works"),
    [
        (("get", "k"), EVERYWHERE),
        (("prop", "p1"), EVERYWHERE),
        (("balance", SENDER), EVERYWHERE),
        (("sha256", b"x"), EVERYWHERE),
        (("set", "k", b"v"), (JoinPoint.OPERATION, JoinPoint.INIT, *PROBE_POINTS)),
        (("tget", b"", "t"), (JoinPoint.OPERATION, *PROBE_POINTS)),
        (("tset", "t", b"1"), (JoinPoint.OPERATION, *PROBE_POINTS)),
        (("static", blob(2, SENDER) + varint(4, 0)), (JoinPoint.OPERATION, JoinPoint.INIT, *PROBE_POINTS)),
        (("qstate", blob(1, SENDER) + blob(2, b"x")), PROBE_POINTS),
        (("qtree", b"x"), EVERYWHERE),
        (("jit", b"\x0a\0"), ()),
        (("ctx", "aspect.id"), EVERYWHERE),
    ],
)
def test_a_function_works_at_its_join_points_and_traps_at_the_others(
    runtime: AspectRuntime, point: JoinPoint, operation: tuple[Any, ...], works: tuple[JoinPoint, ...]
) -> None:
    outcome = at(runtime, point, operation)
    if point is JoinPoint.VERIFY_TX and point in works:
        # the probe's own bookkeeping after the program writes state, which verifyTx may not
        assert traps(outcome)
        assert 10_000_000 - outcome.gas_left > 0
    else:
        assert traps(outcome) == (point not in works)


def test_owner_questions_have_no_context() -> None:
    env = MemoryEnvironment(JoinPoint.IS_OWNER)
    assert context_value(env, "isCall") is None
    assert context_value(env, "aspect.id") is None


MESSAGE_KEYS = ("msg.from", "msg.to", "msg.value", "msg.gas", "msg.input")
RESULT_KEYS = ("msg.result.ret", "msg.result.gasUsed", "msg.result.error")
RECEIPT_KEYS = ("receipt.status", "receipt.logs", "receipt.gasUsed", "receipt.cumulativeGasUsed", "receipt.bloom")


def full(point: JoinPoint) -> MemoryEnvironment:
    env = MemoryEnvironment(point)
    env.transaction_facts = legacy_call(3, 100, SYSTEM, b"\x01\x02")
    env.message_facts = MessageFacts(
        sender=SENDER, to=SYSTEM, value=7, data=b"\x01", gas=9, index=2, result_gas_used=9, result_error="broken"
    )
    log = LogFacts(address=SYSTEM, topics=(bytes(32),), data=b"d", index=5)
    env.receipt_facts = ReceiptFacts(status=1, gas_used=5, cumulative_gas_used=6, logs=(log,), bloom=bytes(256))
    return env


@pytest.mark.parametrize(
    ("point", "has", "lacks"),
    [
        (JoinPoint.OPERATION, MESSAGE_KEYS, ("msg.index", *RESULT_KEYS, *RECEIPT_KEYS)),
        (JoinPoint.INIT, ("tx.hash",), (*MESSAGE_KEYS, "msg.index", *RESULT_KEYS, *RECEIPT_KEYS)),
        (JoinPoint.PRE_TX_EXECUTE, ("tx.index",), (*MESSAGE_KEYS, "msg.index", *RESULT_KEYS, *RECEIPT_KEYS)),
        (JoinPoint.PRE_CONTRACT_CALL, (*MESSAGE_KEYS, "msg.index"), (*RESULT_KEYS, *RECEIPT_KEYS)),
        (JoinPoint.POST_CONTRACT_CALL, (*MESSAGE_KEYS, "msg.index", *RESULT_KEYS), RECEIPT_KEYS),
        (JoinPoint.POST_TX_EXECUTE, RECEIPT_KEYS, (*MESSAGE_KEYS, "msg.index", *RESULT_KEYS)),
        (
            JoinPoint.VERIFY_TX,
            ("block.header.number", "tx.nonce", "isCall"),
            (
                "block.header.miner",
                "tx.hash",
                "tx.from",
                "tx.chainId",
                "tx.index",
                "tx.sig.v",
                "tx.bytes",
                *MESSAGE_KEYS,
            ),
        ),
    ],
)
def test_context_keys_belong_to_join_points(point: JoinPoint, has: tuple[str, ...], lacks: tuple[str, ...]) -> None:
    env = full(point)
    assert all(context_value(env, key) is not None for key in (*has, "env.chain.chainId", "aspect.version"))
    assert all(context_value(env, key) is None for key in (*lacks, "nonsense", ""))


def test_r_and_s_are_handed_out_the_wrong_way_round() -> None:
    from dataclasses import replace

    env = full(JoinPoint.PRE_TX_EXECUTE)
    assert env.transaction_facts is not None
    env.transaction_facts = replace(env.transaction_facts, v=23675, r=0x11, s=0x22)
    assert context_value(env, "tx.sig.r") == blob(1, b"\x22")
    assert context_value(env, "tx.sig.s") == blob(1, b"\x11")
    assert context_value(env, "tx.chainId") == blob(1, minimal(11820))


def test_the_chain_id_hides_behind_an_even_parity() -> None:
    env = full(JoinPoint.PRE_TX_EXECUTE)
    assert context_value(env, "tx.chainId") == blob(1, b"")


def test_a_contract_creation_has_no_recipient_and_asking_for_it_crashes_the_node() -> None:
    from dataclasses import replace

    env = full(JoinPoint.PRE_CONTRACT_CALL)
    assert env.transaction_facts is not None
    assert env.message_facts is not None
    env.transaction_facts = replace(env.transaction_facts, to=None)
    env.message_facts = replace(env.message_facts, to=None)
    for key in ("tx.to", "msg.to"):
        with pytest.raises(NodePanic):
            context_value(env, key)


def test_consensus_parameters_are_for_transactions_only() -> None:
    env = full(JoinPoint.PRE_TX_EXECUTE)
    assert context_value(env, "env.consensusParams.block.maxGas") == b""
    env.block_facts = BlockFacts(
        number=1, timestamp=2, parent_hash=bytes(32), miner=bytes(20), max_gas=20_000_000, max_bytes=22_020_096
    )
    assert context_value(env, "env.consensusParams.block.maxGas") == bytes.fromhex("0880dac409")
    assert context_value(env, "env.consensusParams.block.maxBytes") == bytes.fromhex("088080c00a")


def test_a_static_call_takes_its_gas_from_the_aspect_and_tells_what_is_left(runtime: AspectRuntime) -> None:
    env = MemoryEnvironment()
    asked: list[int] = []

    def answer(sender: bytes, to: bytes, data: bytes, gas: int) -> StaticCallResult:
        asked.append(gas)
        return StaticCallResult(b"\x05", None, 123_456)

    env.answer = answer
    request = blob(1, SENDER) + blob(2, SYSTEM) + blob(3, b"") + varint(4, 1 << 60)
    outcome = probe(runtime, ("gas",), ("static", request), ("gas",), env=env)
    assert isinstance(outcome.result, bytes)
    before, result, after = (value[6:] for _, value in outputs(outcome.result))
    left = last_int(parse(result), 3)
    assert left is not None
    # asked for more than there is: all that remains
    assert asked == [left + 123_456]
    assert int.from_bytes(after, "little") // 1000 < left < int.from_bytes(before, "little") // 1000


@pytest.mark.parametrize("error", ["out of gas", "invalid opcode: INVALID", "stack underflow (0 <=> 1)"])
def test_a_static_call_that_fails_otherwise_than_by_revert_traps_but_is_paid(
    runtime: AspectRuntime, error: str
) -> None:
    env = MemoryEnvironment()
    env.answer = lambda *_: StaticCallResult(b"", error, 1_000_000)
    outcome = probe(runtime, ("static", blob(2, SYSTEM) + varint(4, 0)), env=env)
    assert traps(outcome)
    assert outcome.gas_left < 9_000_000


def test_a_static_call_without_gas_crashes_the_node(runtime: AspectRuntime) -> None:
    outcome = probe(runtime, ("static", blob(2, SYSTEM)))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.PANIC
    assert outcome.gas_left == 10_000_000


def test_a_crash_of_the_node_inside_a_static_call_ends_the_call(runtime: AspectRuntime) -> None:
    env = MemoryEnvironment()

    def crash(*_: object) -> StaticCallResult:
        raise NodePanic("write protection")

    env.answer = crash
    outcome = probe(runtime, ("static", blob(2, SYSTEM) + varint(4, 0)), env=env)
    assert outcome.failure is not None
    assert (outcome.failure.kind, outcome.failure.message) == (FailureKind.PANIC, "write protection")


def test_a_bug_of_the_chain_is_not_taken_for_the_aspects(runtime: AspectRuntime) -> None:
    env = MemoryEnvironment()

    def broken(key: bytes) -> bytes:
        raise ZeroDivisionError

    env.state_get = broken  # type: ignore[method-assign]
    with pytest.raises(ZeroDivisionError):
        probe(runtime, ("get", "k"), env=env)
    assert probe(runtime, ("get", "k")).failure is None


def test_log_lines_reach_the_operator(runtime: AspectRuntime) -> None:
    env = MemoryEnvironment()
    probe(runtime, ("log", "one"), ("log", b"t\xffwo"), env=env)
    assert env.lines == ["one", "t\ufffdwo"]


def test_transient_storage_is_written_in_the_own_scope_and_read_in_any(runtime: AspectRuntime) -> None:
    env = MemoryEnvironment()
    env.transient[SENDER, b"t"] = b"theirs"
    result = probe(runtime, ("tset", "t", b"mine"), ("tget", b"", "t"), ("tget", SENDER, "t"), env=env).result
    assert isinstance(result, bytes)
    assert [value[6:] for _, value in outputs(result)] == [b"mine", b"theirs"]
    assert env.transient[ASPECT, b"t"] == b"mine"


# --- arithmetic


@given(st.binary(min_size=32, max_size=32), st.integers(1, 2**200))
def test_ec_recover_finds_the_signer(digest: bytes, secret: int) -> None:
    key = coincurve.PrivateKey(secret.to_bytes(32, "big"))
    signature = key.sign_recoverable(digest, hasher=None)
    v = (27 + signature[64]).to_bytes(32, "big")
    message = blob(1, digest) + blob(2, v) + blob(3, signature[:32]) + blob(4, signature[32:64])
    address = keccak(key.public_key.format(compressed=False)[1:])[12:]
    assert crypto.ec_recover(message) == address.rjust(32, b"\0")


def test_ec_recover_of_no_signature_is_empty_and_of_no_v_a_crash() -> None:
    assert crypto.ec_recover(blob(1, bytes(32)) + blob(2, b"\x1b") + blob(3, b"") + blob(4, b"\x01")) == b""
    assert crypto.ec_recover(blob(1, bytes(32)) + blob(2, b"\x01\x1b") + blob(3, b"\x01") + blob(4, b"\x01")) == b""
    with pytest.raises(NodePanic):
        crypto.ec_recover(blob(1, bytes(32)))


@given(st.binary(max_size=40), st.binary(max_size=4), st.binary(max_size=40))
def test_big_mod_exp_is_a_power_as_long_as_the_modulus(base: bytes, exponent: bytes, modulus: bytes) -> None:
    if not base and not modulus:
        with pytest.raises(crypto.Invalid):
            crypto.big_mod_exp(base, exponent, modulus)
        return
    result = crypto.big_mod_exp(base, exponent, modulus)
    assert len(result) == len(modulus)
    m = int.from_bytes(modulus, "big")
    expected = pow(int.from_bytes(base, "big"), int.from_bytes(exponent, "big"), m) if m else 0
    assert int.from_bytes(result, "big") == expected


ONE = (1).to_bytes(32, "big")
TWO = (2).to_bytes(32, "big")
G1 = blob(1, ONE) + blob(2, TWO)
MINUS_G1 = blob(1, ONE) + blob(
    2, (21888242871839275222246405745257275088696311157297823662689037894645226208581).to_bytes(32, "big")
)
G2 = b"".join(
    blob(number, value.to_bytes(32, "big"))
    for number, value in enumerate(
        (
            11559732032986387107991004021392285783925812861821192530917403151452391805634,
            10857046999023057135944570762232829481370756359578518086990519993285655852781,
            4082367875863433681332203403145435568316851327593401208105741076214120093531,
            8495653923123431417604973247489272438418190587263600148770280649306958101930,
        ),
        start=1,
    )
)


def test_doubling_and_scaling_the_generator_agree() -> None:
    doubled = crypto.bn256_add(blob(1, G1) + blob(2, G1))
    assert doubled == crypto.bn256_scalar_mul(blob(1, G1) + blob(2, TWO))
    assert crypto.bn256_add(blob(1, G1) + blob(2, MINUS_G1)) == blob(1, bytes(32)) + blob(2, bytes(32))


def test_a_pairing_and_its_inverse_multiply_to_one() -> None:
    assert crypto.bn256_pairing(b"") == ONE
    assert crypto.bn256_pairing(blob(1, G1) + blob(2, G2)) == bytes(32)
    assert crypto.bn256_pairing(blob(1, G1) + blob(1, MINUS_G1) + blob(2, G2) + blob(2, G2)) == ONE


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (crypto.bn256_add, b"\xff"),
        (crypto.bn256_add, blob(1, G1) + blob(2, blob(1, ONE) + blob(2, ONE))),
        (crypto.bn256_scalar_mul, blob(1, blob(1, b"\xff" * 32) + blob(2, ONE)) + blob(2, ONE)),
        (crypto.bn256_pairing, blob(1, G1)),
        (crypto.bn256_pairing, blob(1, G1) + blob(2, blob(1, ONE))),
        (crypto.blake2_f, b""),
        (
            crypto.blake2_f,
            blob(1, bytes(63)) + blob(2, bytes(128)) + blob(3, bytes(16)) + varint(4, 1) + blob(5, bytes(4)),
        ),
    ],
)
def test_what_is_no_point_or_no_block_is_an_error(function: Any, message: bytes) -> None:
    with pytest.raises(crypto.Invalid):
        function(message)


@pytest.mark.parametrize("function", [crypto.bn256_add, crypto.bn256_scalar_mul])
def test_a_missing_point_crashes_the_node(function: Any) -> None:
    with pytest.raises(NodePanic):
        function(b"")


@settings(max_examples=20)
@given(st.binary(max_size=128))
def test_blake2_f_is_the_compression_inside_blake2b(data: bytes) -> None:
    """One block of BLAKE2b-512 is F with 12 rounds on the parametrised initial state."""
    state = list(IV)
    state[0] ^= 0x0101_0040
    h = b"".join(word.to_bytes(8, "little") for word in state)
    message = (
        blob(1, h)
        + blob(2, data.ljust(128, b"\0"))
        + blob(3, len(data).to_bytes(16, "little"))
        + varint(4, 1)
        + blob(5, (12).to_bytes(4, "big"))
    )
    assert crypto.blake2_f(message) == hashlib.blake2b(data).digest()


# --- protobuf


@given(st.integers(1, 2**29 - 1), st.integers(0, 2**64 - 1), st.binary(max_size=300))
def test_fields_read_back(number: int, value: int, data: bytes) -> None:
    fields = parse(varint(number, value) + blob(number, data))
    assert (last_int(fields, number), last_bytes(fields, number)) == (value, data)


@given(st.binary(max_size=60))
def test_no_bytes_are_more_than_malformed(raw: bytes) -> None:
    try:
        parse(raw)
    except MalformedMessage:
        return


def test_negative_numbers_take_ten_bytes() -> None:
    assert varint(1, -1) == bytes.fromhex("08ffffffffffffffffff01")
