"""The pitfalls of a naive emulator that lie in the runtime (docs/artela.md §5.2): one test each."""

import pytest
from eth_hash.auto import keccak

from devchain.aspect.environment import JoinPoint
from devchain.aspect.inputs import operation_input, pre_contract_call_input
from devchain.aspect.protobuf import MarshalError
from devchain.aspect.runtime import AspectRuntime, CodeRefused, FailureKind
from devchain.wasm.meter import meter
from tests.devchain.aspect.doubles import (
    ASPECT,
    SENDER,
    MemoryEnvironment,
    module,
    operate,
    probe,
    program,
)

REVERT = '(import "util-api" "__UtilApi__.revert" (func $revert (param i32)))'
GET = '(import "aspect-state-api" "__AspectStateApi__.get" (func $get (param i32) (result i32)))'
STRING_AT_64 = "(i32.store16 (i32.const 64) (i32.const 10)) (i32.store offset=2 (i32.const 64) (i32.const {}))"


def test_01_floats_bulk_memory_simd_and_a_start_section_are_refused_anywhere(runtime: AspectRuntime) -> None:
    for text, words in {
        "(drop (f64.const 0)) i32.const 0": "floating-point instruction disallowed",
        "(memory.fill (i32.const 0) (i32.const 0) (i32.const 0)) i32.const 0": "bulk memory support is not enabled",
        "(drop (v128.const i64x2 0 0)) i32.const 0": "SIMD support is not enabled",
        "(local f32) i32.const 0": "floating-point support is disabled",
    }.items():
        with pytest.raises(CodeRefused, match=words):
            runtime.validate(module(text))
    with pytest.raises(CodeRefused, match="start section not allowed"):
        runtime.validate(module(allocate="(func $s) (start $s)"))


def test_02_an_aspect_that_knows_no_init_fails_at_it(runtime: AspectRuntime) -> None:
    code = module("unreachable")
    argument = operation_input(tx_hash=bytes(32), aspect_id=ASPECT, sender=SENDER, block_number=1, call_data=b"")
    outcome = runtime.call(keccak(code), code, argument, 100_000, MemoryEnvironment(JoinPoint.INIT))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.FAILED


def test_02_an_owner_question_answered_with_anything_but_a_bool_crashes_the_node(runtime: AspectRuntime) -> None:
    for body in ("i32.const 0", "(i32.store16 (i32.const 64) (i32.const 11)) i32.const 64"):
        code = module(body)
        outcome = runtime.call(keccak(code), code, SENDER, 100_000, MemoryEnvironment(JoinPoint.IS_OWNER))
        assert outcome.failure is not None
        assert outcome.failure.kind is FailureKind.PANIC
        assert outcome.result is None


def test_03_every_call_starts_on_a_fresh_instance(runtime: AspectRuntime) -> None:
    # answers with the value of a global and a memory cell that it counts up
    body = (
        "(global.set $top (i32.add (global.get $top) (i32.const 1)))"
        "(i32.store (i32.const 512) (i32.add (i32.load (i32.const 512)) (i32.const 1)))"
        "(i32.store16 (i32.const 64) (i32.const 11)) (i32.store offset=2 (i32.const 64) (i32.const 8))"
        "(i32.store offset=6 (i32.const 64) (global.get $top)) (i32.store offset=10 (i32.const 64) (i32.load (i32.const 512)))"
        "i32.const 64"
    )
    code = module(body)
    first, second = operate(runtime, b"", code=code), operate(runtime, b"", code=code)
    assert first == second
    assert isinstance(first.result, bytes)
    assert int.from_bytes(first.result[4:], "little") == 1


def test_04_a_failed_growth_is_charged_like_a_successful_one(runtime: AspectRuntime) -> None:
    def cost(pages: int) -> int:
        outcome = probe(runtime, ("grow", pages), gas=100_000_000)
        return 100_000_000 - outcome.gas_left

    assert cost(200) - cost(100) == 100 * 14_336
    assert cost(600) - cost(200) == 400 * 14_336 + (cost(600) - cost(200)) % 14_336


def test_05_arguments_of_no_bytes_are_free_and_results_cost_only_their_allocation(runtime: AspectRuntime) -> None:
    key = STRING_AT_64 + "(i32.store8 offset=6 (i32.const 64) (i32.const 107)) (call $get (i32.const 64))"

    def left(key_length: int, stored: bytes) -> int:
        env = MemoryEnvironment()
        env.state[b"k" * key_length] = stored
        # raw pointer use: nothing but the host and `allocate` touches the value
        return operate(runtime, b"", code=module(key.format(key_length), top=GET), env=env).gas_left

    assert left(1, b"v") == left(1, b"v" * 5000)
    assert left(0, b"v") - left(1, b"v") == 25


def test_05_start_function_and_argument_marshalling_are_charged(runtime: AspectRuntime) -> None:
    def used(code: bytes) -> int:
        return 1_000_000 - operate(runtime, b"", code=code, gas=1_000_000).gas_left

    plain = '(func (export "allocate") (param i32) (result i32) i32.const 1024)'
    busy = '(func (export "allocate") (param i32) (result i32) (drop (memory.size)) i32.const 1024)'
    # one more block of work in each: 1000 WASM gas are 1 EVM gas, so repeat it
    heavy = "(drop (memory.size))" * 100
    assert used(module(allocate=plain, start=heavy)) - used(module(allocate=plain)) == 100 * (230 + 100) // 1000 + 1
    assert used(module(allocate=busy.replace("(drop (memory.size))", heavy))) > used(module(allocate=plain)) + 60


def test_10_empty_calldata_cannot_be_marshalled() -> None:
    with pytest.raises(MarshalError, match="required field"):
        pre_contract_call_input(sender=SENDER, to=ASPECT, index=0, data=b"", value=1, gas=1, block_number=1)


def test_16_an_empty_revert_reason_is_a_crash_of_the_aspect(runtime: AspectRuntime) -> None:
    outcome = probe(runtime, ("revert", ""))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.FAILED
    assert 0 < outcome.gas_left < 10_000_000


def test_16_a_reason_gives_all_the_gas_back(runtime: AspectRuntime) -> None:
    outcome = probe(runtime, ("burn", 1000), ("revert", "no"))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.REVERTED
    assert outcome.gas_left == 10_000_000


def test_a_reason_outlives_gas_that_runs_out_after_it(runtime: AspectRuntime) -> None:
    outcome = probe(runtime, ("softrevert", "why"), ("loop",))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.REVERTED
    assert outcome.failure.reason.endswith(b"why".ljust(32, b"\0"))
    assert outcome.gas_left == 10_000_000


def test_a_reason_is_forgotten_if_the_call_returns(runtime: AspectRuntime) -> None:
    assert probe(runtime, ("softrevert", "why")).failure is None


def test_a_result_of_another_type_costs_nothing(runtime: AspectRuntime) -> None:
    code = module(
        "(i32.store16 (i32.const 64) (i32.const 9)) (i32.store offset=2 (i32.const 64) (i32.const 1)) i32.const 64"
    )
    outcome = operate(runtime, b"", code=code)
    assert outcome.failure is not None
    assert outcome.failure.message == "read output failed, return value is not byte array"
    assert outcome.gas_left == 10_000_000


def test_more_gas_than_the_counter_can_hold_is_an_overflow(runtime: AspectRuntime) -> None:
    limit = ((1 << 63) - 1) // 1000
    assert probe(runtime, gas=limit).failure is None
    outcome = probe(runtime, gas=limit + 1)
    assert outcome.failure is not None
    assert outcome.failure.message == "aspect init failed, gas overflow"
    assert outcome.gas_left == 0


def test_two_runtimes_share_nothing() -> None:
    one, other = AspectRuntime(), AspectRuntime()
    left, right = MemoryEnvironment(), MemoryEnvironment()
    assert operate(one, b"\x01" + program(("set", "k", b"1")), env=left).failure is None
    assert operate(other, b"\x01" + program(("set", "k", b"2")), env=right).failure is None
    assert (left.state, right.state) == ({b"k": b"1"}, {b"k": b"2"})


def test_an_unsupported_result_type_is_named(runtime: AspectRuntime) -> None:
    code = module("(i32.store16 (i32.const 64) (i32.const 5)) i32.const 64")
    outcome = operate(runtime, b"", code=code)
    assert outcome.failure is not None
    assert outcome.failure.message == "unsupported result type, type of index 5 is not valid"


def test_an_execute_of_another_shape_fails_with_what_the_binding_says(runtime: AspectRuntime) -> None:
    plain = module()
    for params, result, body, words in (
        ("(param i32)", "(result i32)", "i32.const 0", "too many arguments provided: too many arguments provided"),
        ("(param i32 i32)", "(result i64)", "i64.const 5", "read output failed, value: 5"),
        ("(param i32 i32)", "", "", "read output failed, value: <nil>"),
    ):
        import wasmtime

        code = wasmtime.wat2wasm(
            '(module (memory (export "memory") 1) (func (export "allocate") (param i32) (result i32) i32.const 1024)'
            f' (func (export "execute") {params} {result} {body}) (func (export "__aspect_start__")))'
        )
        outcome = operate(runtime, b"", code=code)
        assert outcome.failure is not None
        assert outcome.failure.message.endswith(words)
    assert operate(runtime, b"", code=plain).failure is None


def test_metering_twice_is_refused_by_the_export_it_adds(runtime: AspectRuntime) -> None:
    outcome = operate(runtime, b"", code=meter(module()))
    assert outcome.failure is not None
    assert outcome.failure.kind is FailureKind.UNRUNNABLE
