"""Random bytecode: the devchain's EVM and revm see the same, but for what Artela does differently on purpose.

Artela runs the Cancun instructions with older rules around them, and no revm fork is exactly that. So programs come in two
dialects, each compared with the fork whose rules it cannot tell from Artela's; together they hold every instruction but
PREVRANDAO and the two of blobs. `DISAGREEMENTS` lists what is left, one by one, and a third dialect with everything in it shows
that the list is complete. More programs: LINKLEARNER_RANDOM_PROGRAMS=10000 python -m pytest tests/differential
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

pytest.importorskip("pyrevm", reason="pyrevm has no wheel for this platform; the comparison with revm is skipped")

from devchain.aspect.environment import NodePanic
from devchain.server import ChainThread
from tests.differential.machines import BLOCK, NotEvenBegun, Seen, on_devchain, on_revm
from tests.differential.programs import (
    BLOBBASEFEE,
    BLOBHASH,
    BLOBS,
    CONTRACTS,
    CREATE,
    CREATE2,
    CREATION,
    PREVRANDAO,
    SELFDESTRUCT,
    SHANGHAI_AND_CANCUN,
    Program,
    opcodes_of,
    program,
)

PROGRAMS = int(os.environ.get("LINKLEARNER_RANDOM_PROGRAMS", "500"))

DIALECTS = {
    # no EIP-3651, 3855, 3860, 1153, 5656, 6780: creation and destruction as on Artela, without the new instructions
    "Merge": SHANGHAI_AND_CANCUN | {PREVRANDAO},
    # the new instructions, without what EIP-3860 and EIP-6780 changed and without blobs
    "Cancun": BLOBS | CREATION | {PREVRANDAO, SELFDESTRUCT},
}


@pytest.fixture(scope="module")
def thread() -> Iterator[ChainThread]:
    """Has the stack that 1,024 nested frames need."""
    running = ChainThread()
    yield running
    running.stop()


def compare(candidate: Program, spec: str, block: object = BLOCK) -> tuple[Seen | None, Seen | None]:
    """What the devchain and revm made of it; None for a node panic (then revm is not asked)."""
    try:
        ours, places = on_devchain(candidate, block)
    except NodePanic:
        return None, None
    return ours, on_revm(candidate, spec, places, block)


@pytest.mark.parametrize("spec", DIALECTS)
def test_random_programs_come_to_the_same_as_on_revm(thread: ChainThread, spec: str) -> None:
    statuses: Counter[str] = Counter()
    for seed in range(PROGRAMS // len(DIALECTS)):
        candidate = program(seed, DIALECTS[spec])
        try:
            ours, theirs = thread.run_blocking(compare, candidate, spec)
        except NotEvenBegun:
            continue
        assert ours is not None and theirs is not None, f"seed {seed}: a node panic\n{candidate}"
        assert ours == theirs, f"seed {seed} on {spec}: {ours.differences(theirs)}\n{candidate}"
        statuses[ours.status] += 1
    # the programs are no noise: every kind of ending is common
    assert all(statuses[status] > PROGRAMS / 2 / 20 for status in ("success", "revert", "halt")), statuses


@dataclass(frozen=True, slots=True)
class Disagreement:
    """One thing that Artela does and revm's Cancun does not, as recorded on a real node (tests/data/conformance, docs/artela.md §6)."""

    what: str
    code: str
    ours: str
    theirs: str
    """Gas and status of the whole transaction; `panic` where the node crashes."""


def calling(address: int) -> str:
    """CALL with 200,000 gas and no data; returns whether that succeeded."""
    return f"5f5f5f5f5f60{address:02x}62030d40f1" + "5f5260205ff3"


DISAGREEMENTS = (
    Disagreement("PREVRANDAO: the node's block context has no random value", "44", "panic", "21002 success"),
    Disagreement("BLOBHASH does not exist (EIP-4844 is off)", "5f49", "500000 halt", "21005 success"),
    Disagreement("BLOBBASEFEE does not exist (EIP-7516 is off)", "4a", "500000 halt", "21002 success"),
    Disagreement("SELFDESTRUCT deletes whatever it likes (EIP-6780 is off)", "30ff", "26002 success, deleted", "26002 success, kept"),
    Disagreement("words of init code cost nothing (EIP-3860 is off)", "60405f5ff0", "53013 success", "53017 success"),
    Disagreement("init code may be longer than 49,152 bytes (EIP-3860 is off)", "62010000" + "5f5ff0", "67343 success", "500000 halt"),
    Disagreement("the coinbase is cold (EIP-3651 is off)", "4131", "23602 success", "21102 success"),
    Disagreement("no point evaluation precompile at 0x0a (EIP-4844 is off)", calling(0x0A), "23629 success 1", "221129 success 0"),
    Disagreement("precompile 0x64 reads transient storage", calling(0x64), "26129 success 1", "23629 success 1"),
    Disagreement("precompile 0x65 tells who submitted a user operation", calling(0x65), "26129 success 1", "23629 success 1"),
    Disagreement("precompile 0x66 writes transient storage", calling(0x66), "26129 success 1", "23629 success 1"),
)  # fmt: skip

FOREIGN = BLOBS | CREATION | {PREVRANDAO, SELFDESTRUCT}
"""The opcodes of the table. (Random programs never take the coinbase for an address, nor call precompiles above 9.)"""


@pytest.mark.parametrize("row", DISAGREEMENTS, ids=lambda row: row.what)
def test_a_disagreement_is_exactly_as_the_table_says(thread: ChainThread, row: Disagreement) -> None:
    block = replace(BLOCK, coinbase=bytes.fromhex("cb" * 20))
    candidate = Program(
        codes=(bytes.fromhex(row.code), b"", b""), storage={}, balances=(1, 0, 0), data=b"", value=0, gas=500_000,
        to=CONTRACTS[0],
    )  # fmt: skip
    ours, theirs = thread.run_blocking(compare, candidate, "Cancun", block)
    if row.ours == "panic":
        assert ours is None
        return
    destroys = SELFDESTRUCT in {opcode for _, opcode in opcodes_of(candidate.codes[0])}
    assert (_summary(ours, destroys), _summary(theirs, destroys)) == (row.ours, row.theirs)


def _summary(seen: Seen | None, destroys: bool) -> str:
    assert seen is not None
    fate = f", {'kept' if seen.accounts[CONTRACTS[0]][0] else 'deleted'}" if destroys else ""
    answer = f" {int.from_bytes(seen.output, 'big')}" if seen.output else ""
    return f"{seen.gas_used} {seen.status}{answer}{fate}"


def test_every_disagreement_of_unrestricted_programs_comes_from_an_opcode_of_the_table(thread: ChainThread) -> None:
    """Take the table's opcodes out of a program that differs, and it differs no more."""
    differing = 0
    for seed in range(PROGRAMS // 5):
        candidate = program(seed, frozenset())
        try:
            ours, theirs = thread.run_blocking(compare, candidate, "Cancun")
        except NotEvenBegun:
            continue
        if ours is not None and ours == theirs:
            continue
        differing += 1
        without = _without_foreign(candidate)
        ours, theirs = thread.run_blocking(compare, without, "Cancun")
        assert ours is not None and ours == theirs, f"seed {seed}: {ours and ours.differences(theirs)}\n{without}"
    assert differing > PROGRAMS // 50


def _without_foreign(candidate: Program) -> Program:
    def patched(code: bytes) -> bytes:
        out = bytearray(code)
        for at, opcode in opcodes_of(code):
            if opcode in FOREIGN:
                out[at] = 0xFE
        return bytes(out)

    codes = tuple(patched(code) for code in candidate.codes)
    # a creation itself pays for the words of its init code
    to = CONTRACTS[0] if candidate.to is None else candidate.to
    return replace(candidate, codes=codes, to=to, data=b"" if candidate.to is None else candidate.data)


def test_the_table_speaks_of_the_opcodes_that_the_dialects_leave_out() -> None:
    everywhere_missing = DIALECTS["Merge"] & DIALECTS["Cancun"]
    assert everywhere_missing == {PREVRANDAO}
    assert {PREVRANDAO, BLOBHASH, BLOBBASEFEE, CREATE, CREATE2, SELFDESTRUCT} == FOREIGN
