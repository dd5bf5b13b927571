"""JSON from strangers, both copies of the reader: ours and the embedded chain's, which is a product of its own."""

import json
from types import ModuleType
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from devchain import strictjson as of_the_chain
from linklearner.domain import strictjson as ours
from linklearner.domain.digits import DIGITS
from linklearner.domain.errors import InvalidInput, InvalidModel
from linklearner.domain.graph import Graph
from linklearner.domain.model import MAX_JSON_BYTES, ModelSpec

BOTH = pytest.mark.parametrize("reader", [ours, of_the_chain], ids=["linklearner", "devchain"])


def read(reader: ModuleType, raw: bytes | str, **bounds: int) -> Any:
    return reader.loads(raw, **{"max_bytes": 1 << 20, "max_values": 100_000, **bounds})


@BOTH
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"[" * 160_000, "deeper|values"), (b'{"a":' * 160_000, "deeper|values"), (b"[" * 65 + b"]" * 65, "deeper than 64"),
        (b"[" + b"0," * 100_001 + b"0]", "more than 100000 values"), (b"NaN", "NaN"), (b"[-Infinity]", "Infinity"), (b"1e999", "range"),
        (b"-1e999", "range"), (b"1" * 101, "digits"), (b"-" + b"1" * 100, "digits"), (b'{"a":1,"b":2,"a":1}', "twice"),
        (b'["\\ud800"]', "surrogate"), (b'{"\\udfff":1}', "surrogate"), (b"\xff", "UTF-8"), ("[]".encode("utf-16"), "UTF-8|Expecting"),
        (b"\xef\xbb\xbf[]", "BOM|Expecting"), (b"", "Expecting"), (b"[1,]", "character"), (b" " * ((1 << 20) + 1), "bytes"),
        ("\u00e9" * (1 << 19) + "x", "bytes"), ("\ud800", "UTF-8"), (b'"' * 500_001, "character"),
    ],
)  # fmt: skip
def test_what_is_refused(reader: ModuleType, raw: bytes | str, why: str) -> None:
    with pytest.raises(reader.NotJson, match=why):
        read(reader, raw)


@BOTH
@pytest.mark.parametrize(
    "raw",
    [b"[" * 64 + b"]" * 64, b'["' + b"[" * 200_000 + b'"]', b'["\\"[[[[", "\\\\"]', b'{"a":{"a":1}}', b"1" * 100, b"1e308",
     b'["\\ud83d\\ude00"]', b"[" + b"[]," * 1000 + b"[]]", b'"' + b"a" * 1_000_000 + b'"'],
)  # fmt: skip
def test_what_is_taken_is_what_the_standard_parser_reads(reader: ModuleType, raw: bytes) -> None:
    assert read(reader, raw) == json.loads(raw)


@BOTH
@given(st.text(alphabet='[]{}",:\\0ae', max_size=60), st.integers(1, 6))
def test_nothing_deeper_than_agreed_reaches_the_parser(reader: ModuleType, text: str, depth: int) -> None:
    def deep(value: Any) -> int:
        inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else None
        return 0 if inner is None else 1 + max(map(deep, inner), default=0)

    try:
        expected = json.loads(text)
    except ValueError:
        with pytest.raises(reader.NotJson):
            read(reader, text, max_depth=depth)
        return
    try:
        value = read(reader, text, max_depth=depth)
    except reader.NotJson as error:
        assert deep(expected) > depth or "twice" in str(error)
    else:
        assert value == expected and deep(value) <= depth


def test_ours_is_an_input_error() -> None:
    with pytest.raises(InvalidInput):
        read(ours, "[")


@pytest.mark.parametrize(
    "text", ["[" * MAX_JSON_BYTES, '{"format":' * 1000, "NaN", '{"format":1,"format":1}', '"\\ud800"', "\ud800"]
)
def test_a_model_description_that_is_no_json_is_an_invalid_model(text: str) -> None:
    with pytest.raises(InvalidModel):
        ModelSpec.from_json(text)


@pytest.mark.parametrize("scale", ["1e999", "1" + "0" * 400, "NaN"])
def test_a_scale_beyond_a_double_is_an_invalid_model(scale: str) -> None:
    graph = DIGITS.graph.text
    with pytest.raises(InvalidModel):
        Graph.from_text(graph.replace("0.0625", scale))
