"""What the Aspect's source takes for granted: solc's storage layout, the pool's selectors, Python's bounds, the node's rules."""

import re
from pathlib import Path
from typing import Any

import pytest
from eth_hash.auto import keccak

from bench.pool import POOL
from devchain.wasm.validate import validate_aspect
from linklearner import artifacts
from linklearner.domain import encodings, shape, stakes, update
from linklearner.domain.rules import mean
from linklearner.domain.rules.evidence import credit, ledger, memory, network, verdicts
from linklearner.domain.rules.evidence.course import CODES
from linklearner.domain.rules.table import RULES
from linklearner.v1 import model_pb2

SOURCES = Path(__file__).parents[2] / "aspects/aggregator"
CONTRACTS = Path(__file__).parents[2] / "contracts"
POOL_LAYOUT = artifacts.contract("TrainingPool").storage_layout
VAULT_LAYOUT = artifacts.contract("StakeVault").storage_layout


def constant(file: str, name: str) -> int:
    """A numeric constant of the AssemblyScript sources."""
    text = (SOURCES / file).read_text()
    found = re.search(rf"const {name}: \w+ = ([^;]+);", text)
    assert found, name
    return int(eval(found[1].replace("<u64>", ""), {"__builtins__": {}}))


def members(layout: dict[str, Any], kind: str) -> dict[str, tuple[int, int, int]]:
    """Of a struct: field -> (slot, first byte from the low end, bytes)."""
    entry = next(entry for name, entry in layout["types"].items() if name.startswith(f"t_struct({kind})"))
    return {
        m["label"]: (int(m["slot"]), m["offset"], int(layout["types"][m["type"]]["numberOfBytes"]))
        for m in entry["members"]
    }


def test_the_mappings_lie_where_the_aspect_looks() -> None:
    for layout, label, name in (
        (POOL_LAYOUT, "_tasks", "TASKS_SLOT"),
        (POOL_LAYOUT, "_examples", "EXAMPLES_SLOT"),
        (POOL_LAYOUT, "_records", "RECORDS_SLOT"),
        (VAULT_LAYOUT, "_stakes", "STAKES_SLOT"),
    ):
        slots = {entry["label"]: int(entry["slot"]) for entry in layout["storage"]}
        assert slots[label] == constant("pool.ts", name)


def test_a_task_begins_with_its_round_and_the_round_is_packed_as_the_aspect_unpacks_it() -> None:
    assert members(POOL_LAYOUT, "Task")["current"] == (0, 0, 32)
    assert members(POOL_LAYOUT, "Round") == {
        "version": (0, 0, 4),
        "round": (0, 4, 4),
        "eligible": (0, 8, 5),
        "present": (0, 13, 5),
        "openedAt": (0, 18, 4),
        "firstAt": (0, 22, 4),
        "merged": (0, 26, 3),
        "accepted": (0, 29, 2),
        "opened": (0, 31, 1),
    }


def test_a_set_of_examples_begins_with_what_the_aspect_unpacks() -> None:
    assert members(POOL_LAYOUT, "ExampleSet") == {
        "batches": (0, 0, 4),
        "examples": (0, 4, 4),
        "openedBatches": (0, 8, 4),
        "openedExamples": (0, 12, 4),
        "inputExponent": (0, 16, 1),
        "pay": (0, 17, 1),
        "root": (1, 0, 32),
    }


def test_a_stake_is_packed_as_the_aspect_unpacks_it() -> None:
    assert members(VAULT_LAYOUT, "Stake") == {
        "amount": (0, 0, 5),
        "fresh": (0, 5, 5),
        "maturesAt": (0, 10, 4),
        "submitted": (0, 14, 4),
        "unlocking": (0, 18, 5),
        "withdrawableAt": (0, 23, 4),
    }


@pytest.mark.parametrize(
    ("name", "function"),
    [
        ("OPEN_TASK", "openTask"),
        ("LOAD_PAGES", "loadPages"),
        ("SUBMIT", "submit"),
        ("SETTLE", "settle"),
        ("DROP", "drop"),
        ("COMMIT_EXAMPLES", "commitExamples"),
        ("REVEAL_UPDATE", "revealUpdate"),
        ("OPEN_EXAMPLES", "openExamples"),
        ("NAME_PAY", "namePay"),
        ("PAY", "pay"),
    ],
)
def test_the_selectors_are_the_pools(name: str, function: str) -> None:
    selectors = {entry["name"]: key for key, entry in POOL._by_selector.items()}
    assert constant("index.ts", name) == int.from_bytes(selectors[function], "big")


def test_the_bounds_are_pythons() -> None:
    for name in (
        "MAX_TENSORS",
        "MAX_WEIGHTS",
        "MIN_PAGE_LENGTH",
        "MAX_PAGE_LENGTH",
        "MAX_PAGES",
        "MAX_GROUP_PAGES",
        "MAX_GROUPS",
    ):
        assert constant("shape.ts", name) == getattr(shape, name)
    for name in ("MIN_EXPONENT", "MAX_EXPONENT", "MAX_NORM_BOUND"):
        assert constant("shape.ts", name) == getattr(shape, name)
    assert constant("update.ts", "MIN_SHIFT") == encodings.MIN_SHIFT
    assert constant("update.ts", "MAX_SQUARED_NORM") == update.MAX_SQUARED_NORM
    assert constant("rules/mean.ts", "SCALE_BITS") == mean.SCALE_BITS
    for name in ("MAX_LAYERS", "MAX_WIDTH", "MAX_WEIGHTS", "MAX_INPUT_EXPONENT", "ACTIVATION_BITS"):
        assert constant("rules/evidence/network.ts", name) == getattr(network, name)
    for name in ("MAX_GAIN", "LEAST_LOSS"):
        assert constant("rules/evidence/judge.ts", name) == getattr(verdicts, name)
    for name in ("MEMORY_ROUNDS", "ATOMS", "COEFFICIENT_BITS", "COPY_FACTOR", "LOST_FACTOR", "MAX_OWNERS"):
        assert constant("rules/evidence/memory.ts", name) == getattr(memory, name)
    for name in ("HORIZON", "MAX_CREDIT", "CREDIT_BITS"):
        assert constant("rules/evidence/credit.ts", name) == getattr(credit, name)
    assert constant("index.ts", "FAIR") == ledger.PayKind.FAIR
    for outcome, code in CODES.items():
        assert constant("rules/evidence/judge.ts", outcome.name) == code
    assert constant("state.ts", "MAX_TASK") == update.MAX_TASK
    assert constant("index.ts", "MAX_ELIGIBLE") == stakes.MAX_ELIGIBLE


def test_the_pool_s_bounds_of_pay_are_pythons() -> None:
    text = (CONTRACTS / "rules/EvidencePay.sol").read_text()
    for name, value in (
        ("NOVEL", ledger.PayKind.NOVEL),
        ("FAIR", ledger.PayKind.FAIR),
        ("HORIZON", credit.HORIZON),
        ("MEMORY_ROUNDS", memory.MEMORY_ROUNDS),
        ("MAX_UPDATES_PAID_LATER", ledger.MAX_UPDATES),
        ("DEPOSIT", credit.DEPOSIT),
        ("LEVERAGE", credit.LEVERAGE),
        ("MAX_FULL", credit.MAX_CREDIT),
    ):
        found = re.search(rf"constant {name} = ([^;]+);", text)
        assert found, name
        assert int(eval(found[1], {"__builtins__": {}})) == value, name


@pytest.mark.parametrize(("file", "encoding"), [("two_bits.ts", encodings.TWO_BITS), ("int8.ts", encodings.INT8)])
def test_the_encodings_are_pythons(file: str, encoding: encodings.Encoding) -> None:
    assert constant(f"encodings/{file}", "CODE") == encoding.code
    assert constant(f"encodings/{file}", "MAX_SHIFT") == encoding.max_shift


def test_every_encoding_of_python_has_its_file() -> None:
    files = {path.stem.replace("_", "-") for path in (SOURCES / "encodings").glob("*.ts")}
    assert files - {"table"} == {encoding.name for encoding in encodings.ENCODINGS.values()}
    assert model_pb2.Encoding.values() == [0, *sorted(encodings.ENCODINGS)]


def test_every_rule_has_its_file_in_each_language_and_one_number() -> None:
    for rule in RULES.values():
        assert constant(f"rules/{rule.name}.ts", "NUMBER") == rule.number
        found = re.search(r"NUMBER = (\d+);", (CONTRACTS / f"rules/{rule.name.title()}.sol").read_text())
        assert found
        assert int(found[1]) == rule.number
    assert {path.stem for path in (SOURCES / "rules").glob("*.ts")} - {"table", "outcome"} == {
        r.name for r in RULES.values()
    }


def test_a_node_takes_the_code() -> None:
    validate_aspect(artifacts.aspect("aggregator"))


def test_the_keccak_constants_are_those_of_the_permutation() -> None:
    # The linear feedback shift register of FIPS 202, 3.2.5.
    def bit(t: int) -> int:
        register = 1
        for _ in range(t % 255):
            register <<= 1
            if register & 0x100:
                register ^= 0x171
        return register & 1

    expected = [sum(bit(j + 7 * i) << (2**j - 1) for j in range(7)) for i in range(24)]
    text = (SOURCES / "keccak.ts").read_text()
    assert [int(word, 16) for word in re.findall(r"0x([0-9a-f]{16}),", text)][:24] == expected
    assert keccak(b"").hex().startswith("c5d2460186f7")
