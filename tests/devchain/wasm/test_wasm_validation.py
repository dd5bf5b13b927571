"""The node's judgement of code: recorded texts, and what a validator may never do."""

from pathlib import Path

import pytest
import wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st

from devchain.wasm.binary import Reader, WasmError, sleb, uleb
from devchain.wasm.validate import validate_aspect, validate_module

DATA = Path(__file__).resolve().parents[2] / "data" / "conformance"
PROBE = (DATA / "probe.wasm").read_bytes()
MODULES = [PROBE, *(path.read_bytes() for path in sorted((DATA / "refused").glob("*.wasm")))]


def verdict(code: bytes) -> str:
    try:
        validate_module(code)
    except WasmError as error:
        return str(error)
    return ""


def aspect(body: str = "", top: str = "") -> bytes:
    return wasmtime.wat2wasm(f'(module {top} (memory 1) (func (export "__aspect_start__") {body}))')


@given(st.integers(0, 2**64 - 1))
def test_unsigned_numbers_read_back(value: int) -> None:
    assert Reader(uleb(value)).u64() == value


@given(st.integers(-(2**63), 2**63 - 1))
def test_signed_numbers_read_back(value: int) -> None:
    assert Reader(sleb(value)).i64() == value


@given(st.integers(-(2**31), 2**31 - 1), st.integers(0, 4))
def test_padded_numbers_read_the_same_up_to_five_bytes(value: int, padding: int) -> None:
    short = sleb(value)
    fill = 0xFF if value < 0 else 0x80
    padded = bytearray(short) + bytes([fill]) * min(padding, 5 - len(short))
    for i in range(len(padded)):
        padded[i] = padded[i] | 0x80 if i < len(padded) - 1 else padded[i] & 0x7F
    assert Reader(bytes(padded)).i32() == value


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("8080808010", "invalid var_u32: integer too large (at offset 0x4)"),
        ("808080808000", "invalid var_u32: integer representation too long (at offset 0x4)"),
        ("80", "unexpected end-of-file (at offset 0x1)"),
    ],
)
def test_a_number_out_of_range_is_named_with_its_place(raw: str, words: str) -> None:
    with pytest.raises(WasmError) as caught:
        Reader(bytes.fromhex(raw)).u32()
    assert str(caught.value) == words


@pytest.mark.parametrize(
    ("raw", "words"),
    [
        ("", "unexpected end-of-file (at offset 0x0)"),
        ("0061736d02000000", "unknown binary version: 0x2 (at offset 0x0)"),
        (
            "0061736d0d000100",
            "unknown binary version and encoding combination: 0xd and 0x1, note: encoded as a component",
        ),
        ("0061736d010000000801", "unexpected end-of-file"),
        ("0061736d01000000ff00", "malformed section id (at offset 0x0)"),
        ("0061736d010000002000", "malformed section id: 32 (at offset 0xa)"),
        ("0061736d01000000010100050100010100", "section out of order (at offset 0x10)"),
    ],
)
def test_a_broken_frame_is_refused_in_the_validators_words(raw: str, words: str) -> None:
    assert verdict(bytes.fromhex(raw)).startswith(words)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ("i32.const 1", "type mismatch: values remaining on stack at end of block"),
        ("i32.const 1 i64.const 2 i32.add drop", "type mismatch: expected i32, found i64"),
        ("drop", "type mismatch: expected a type but nothing on stack"),
        ("br 7", "unknown label: branch depth too large"),
        ("call 9", "unknown function 9: function index out of bounds"),
        ("local.get 3 drop", "unknown local 3: local index out of bounds"),
        ("global.get 3 drop", "unknown global: global index out of bounds"),
        ("i32.const 0 i32.load align=4 drop", ""),
        (
            "(select (i32.const 1) (i64.const 1) (i32.const 1)) drop",
            "type mismatch: select operands have different types",
        ),
        ("unreachable i32.add drop", ""),
        ("(block (result i32) (br 0 (i32.const 1)) i32.add) drop", ""),
        ("ref.null func drop", "reference types support is not enabled"),
        ("(return_call 0)", "tail calls support is not enabled"),
        ("f32.const 1 drop", "floating-point instruction disallowed"),
    ],
)
def test_a_body_is_refused_in_the_validators_words(body: str, words: str) -> None:
    try:
        validate_aspect(aspect(body))
    except WasmError as error:
        assert words, str(error)
        assert str(error).startswith(words)
    else:
        assert words == ""


def sections(*parts: tuple[int, bytes]) -> bytes:
    return b"\0asm\x01\0\0\0" + b"".join(bytes((number,)) + uleb(len(content)) + content for number, content in parts)


TYPE, FUNCTION = (1, b"\1\x60\0\0"), (3, b"\1\0")


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (sections((7, uleb(100_001))), "exports count exceeds limit of 100000 (at offset 0xa)"),
        (sections((2, uleb(1_000_001))), "unexpected end-of-file (at offset 0xd)"),
        (sections(TYPE, (2, uleb(499_999) + b"\0\0\0\0" * 499_999)), ""),
        (
            sections(TYPE, (2, uleb(500_000) + b"\0\0\0\0" * 500_000)),
            "effective type size exceeds the limit of 1000000 (at offset 0x1e8491)",
        ),
        (sections((10, b"\0")), ""),
        (sections((10, b"\1\2\0\x0b")), "code section without function section (at offset 0xa)"),
        (
            sections((3, b"\0"), (10, b"\1\2\0\x0b")),
            "function and code section have inconsistent lengths (at offset 0xd)",
        ),
        (
            sections(TYPE, FUNCTION, (10, b"\1\4\0\x0b\1\1")),
            "operators remaining after end of function (at offset 0x1a)",
        ),
    ],
)
def test_what_other_limits_and_orders_say_was_heard_from_wasmparser(code: bytes, words: str) -> None:
    """Each line is what wasmtime 20.0.0 answers, whose wasmparser is the node's."""
    assert verdict(code) == words


@pytest.mark.parametrize(("targets", "words"), [(131_072, ""), (131_073, "br_table size is out of bounds")])
def test_a_branch_table_has_so_many_targets(targets: int, words: str) -> None:
    body = b"\0\x41\0\x0e" + uleb(targets) + bytes(targets + 1) + b"\x0b"
    assert verdict(sections(TYPE, FUNCTION, (10, b"\1" + uleb(len(body)) + body))).startswith(words)


def test_sections_are_judged_before_the_entrypoint_and_bodies_after_it() -> None:
    no_entry = wasmtime.wat2wasm("(module (func f32.const 1 drop))")
    with pytest.raises(WasmError, match="aspect entrypoint not exported"):
        validate_aspect(no_entry)
    with pytest.raises(WasmError, match="floating-point support is disabled"):
        validate_aspect(wasmtime.wat2wasm("(module (global f32 (f32.const 0)) (func))"))


def test_a_constant_expression_names_what_is_not_constant() -> None:
    with pytest.raises(WasmError, match="constant expression required: non-constant operator: visit_i32_clz"):
        validate_module(bytes.fromhex("0061736d010000000607017f004100670b"))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_no_bytes_are_more_than_refused(raw: bytes) -> None:
    verdict(raw)
    verdict(b"\0asm\x01\0\0\0" + raw)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_no_mutation_of_a_module_is_more_than_refused(data: st.DataObject) -> None:
    code = bytearray(data.draw(st.sampled_from(MODULES)))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(code) - 1))
        code[at] = data.draw(st.integers(0, 255))
    verdict(bytes(code))


def test_counts_that_the_bytes_cannot_hold_cost_nothing() -> None:
    # a type section that claims a million types, a body that claims four billion locals
    types = bytes.fromhex("0061736d010000000104c0843d60")
    assert verdict(types) == "unexpected end-of-file (at offset 0xe)"
    locals_ = bytes.fromhex("0061736d01000000010401600000030201000a0a010801ffffffff0f7f0b")
    assert verdict(locals_).startswith("too many locals")


def test_what_wasmtime_refuses_is_refused_here() -> None:
    engine = wasmtime.Engine()
    for code in MODULES:
        try:
            wasmtime.Module.validate(engine, code)
        except wasmtime.WasmtimeError:
            assert verdict(code) != ""
