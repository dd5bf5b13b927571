"""Shows that the guards are guarded: removes one at a time from the contracts or the Aspect, rebuilds, and expects its test to fail.

`python -m tests.mutations [words]` (needs Node and installed tools/node_modules; some minutes for all). Not part of `make test`.
"""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import dataclass
from pathlib import Path

import pytest

from linklearner import artifacts

ROOT = Path(__file__).parents[2]
POOL, TOKEN = "contracts/TrainingPool.sol", "contracts/LinkLearnerToken.sol"
ASPECT = "aspects/aggregator/"
TESTS = ("tests/contracts/test_training_pool.py", "tests/aspects/test_aggregator.py", "tests/aspects/test_attacks.py")


@dataclass(frozen=True, slots=True)
class Mutant:
    """`old` stands once in `file`; without it (with `new` instead) the tests selected by `test` must fail."""

    file: str
    old: str
    new: str
    test: str


def guard(file: str, condition: str, test: str) -> Mutant:
    """The guard `if (condition)` never fires."""
    return Mutant(file, f"if ({condition})", f"if (false && ({condition}))", test)


POOL_MUTANTS = [
    Mutant(POOL, "if (msg.sender != owner) revert NotOwner(msg.sender);", "", "only_the_owner or named_once"),
    Mutant(POOL, "if (msg.sender != tx.origin) revert NotDirect(msg.sender, tx.origin);", "", "caught_refusal"),
    Mutant(
        POOL, "return account == owner;", "return account == owner || account != address(0);", "stranger_cannot_bind"
    ),
    guard(POOL, "aspect != address(0)", "named_once"),
    guard(POOL, "aspect == address(0)", "without_a_named"),
    guard(POOL, "task != nextTask", "numbered_in_order"),
    guard(POOL, "terms.rule != RULE_MEAN", "terms_hold"),
    guard(POOL, "terms.quorum == 0 || terms.quorum > terms.maxUpdates", "terms_hold"),
    guard(POOL, "terms.maxUpdates > MAX_UPDATES", "terms_hold"),
    guard(POOL, "terms.dropSeconds <= terms.roundSeconds", "terms_hold"),
    guard(POOL, "terms.minStake > MAX_ELIGIBLE", "terms_hold"),
    guard(POOL, "terms.settlerBps > BPS", "terms_hold"),
    guard(POOL, "terms.reward > MAX_REWARD", "terms_hold"),
    guard(POOL, "current.version != 0", "speaks_first"),
    Mutant(
        POOL,
        "units > MAX_ELIGIBLE || current.eligible + t.joining + units > MAX_ELIGIBLE",
        "false && units == 1",
        "stake_holds",
    ),
    Mutant(POOL, "stake.fresh = (stake.round == current.round ? stake.fresh : 0) + units;", "", "no_influence_in_it"),
    guard(POOL, "units > stake.amount", "stake_holds"),
    Mutant(POOL, "unlocking.round < current.round ||", "unlocking.round <= current.round ||", "leave_during"),
    Mutant(POOL, "t.leaving += units - fromFresh;", "", "leaves_after"),
    Mutant(POOL, "t.joining -= fromFresh;", "", "leave_at_once"),
    guard(POOL, "current.accepted >= t.terms.maxUpdates", "full_round"),
    guard(POOL, "stake.submitted == round", "one_update or replayed"),
    guard(POOL, "counting < minStake", "too_little_stake"),
    guard(POOL, "actual != digest", "digest_is_the or verdict_of_one"),
    Mutant(POOL, "round != current.round || current.version == 0", "false && (round != current.round)", "speaks_first"),
    Mutant(POOL, "current.accepted < t.terms.quorum && block", "false && block", "quorum"),
    guard(POOL, "group != current.merged", "speaks_first"),
    guard(POOL, "update.digests[group] != actual", "omit_reorder"),
    guard(POOL, "running != t.running", "omit_reorder"),
    guard(POOL, "block.timestamp < droppableAt", "dropped"),
    Mutant(POOL, "present > eligible / 4 ? present : eligible / 4", "present", "lone_update"),
    Mutant(POOL, "uint256 shared = terms.reward - fee;", "uint256 shared = terms.reward;", "never_mints or pays_by"),
    Mutant(POOL, "if (t.saturated != 0) t.saturated = 0;", "", "saturated"),
    Mutant(POOL, "if (saturated != 0) t.saturated += saturated;", "", "saturated"),
    Mutant(TOKEN, "if (msg.sender != pool) revert NotThePool(msg.sender);", "", "but_the_pool_mints"),
    Mutant(TOKEN, "spender == pool ?", "spender == pool || true ?", "without_approval or genesis"),
]

ASPECT_MUTANTS = [
    Mutant(
        ASPECT + "index.ts",
        "lengthOf(pool) != 20 || fieldLength != 20 || !same20(to, pool + HEADER)",
        "false",
        "foreign",
    ),
    Mutant(
        ASPECT + "index.ts",
        "!findField(sender + HEADER, lengthOf(sender), 1) || fieldLength != 20 || !same20(fieldAt, from)",
        "false",
        "contract_cannot_call",
    ),
    Mutant(ASPECT + "index.ts", "&& same20(owner + HEADER, account) ? 1 : 0", "? 1 : 0", "stranger_cannot_upgrade"),
    guard(ASPECT + "index.ts", "lengthOf(stateGet(shapeKey(task))) != 0", "number_is_used_once"),
    guard(ASPECT + "index.ts", "!decodeShape(shape, length)", "python_refuses"),
    guard(ASPECT + "index.ts", "!decodeShape(shape + HEADER, lengthOf(shape))", "was_not_opened or bad_question"),
    Mutant(
        ASPECT + "index.ts",
        'if (version != 0) refuseNumbers("TaskLoaded',
        'if (false) refuseNumbers("TaskLoaded',
        "loaded_once",
    ),
    guard(ASPECT + "index.ts", "first != loaded", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "page >= pageCount", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "left < bytes", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "length == 0", "whole_and_in_order"),
    guard(ASPECT + "index.ts", "length != headerBytes()", "another_shape"),
    guard(ASPECT + "index.ts", "count != groupCount", "another_shape"),
    Mutant(
        ASPECT + "index.ts",
        "if (!isHeader(header)) {\n    refuseWith",
        "if (false) {\n    refuseWith",
        "header_that_is",
    ),
    guard(ASPECT + "index.ts", "taskOf(header) != task", "another_task"),
    guard(ASPECT + "index.ts", "version == 0", "before_its_weights"),
    guard(ASPECT + "index.ts", "baseOf(header) != version", "stale or last_rounds"),
    guard(ASPECT + "index.ts", "stake == 0", "without_stake"),
    guard(ASPECT + "index.ts", "norm > MAX_SQUARED_NORM", "beyond_all"),
    Mutant(ASPECT + "index.ts", "min<u64>(stake, eligible >> 2)", "stake", "capped"),
    Mutant(ASPECT + "index.ts", "effectiveWeight(weight, norm, normBound)", "weight", "scaled_down"),
    guard(ASPECT + "index.ts", "!measurePage(encoding, page, tensor, data)", "unused_bits or zeros"),
    guard(ASPECT + "index.ts", "page != last || data != end", "another_shape"),
    guard(ASPECT + "index.ts", "!areShifts(header)", "left_out or header_that"),
    Mutant(ASPECT + "index.ts", "version == 0 || given != round", "false", "not_due"),
    guard(ASPECT + "index.ts", "group != merged", "not_due"),
    guard(ASPECT + "index.ts", "accepted == 0", "not_due"),
    Mutant(
        ASPECT + "index.ts",
        "length != expected || groups != groupCount || !isHeader(header)",
        "false",
        "with_the_reason",
    ),
    Mutant(ASPECT + "index.ts", "weight > MAX_ELIGIBLE || present > MAX_ELIGIBLE", "false", "with_the_reason"),
    Mutant(ASPECT + "index.ts", "next > <usize>load<u32>(record, END)", "false", "with_the_reason"),
    Mutant(ASPECT + "index.ts", "load<u32>(record, NEXT) != load<u32>(record, END)", "false", "with_the_reason"),
    Mutant(ASPECT + "index.ts", "if ((outcome & CHANGED) != 0) {", "if (true) {", "rounds_to_nothing"),
    guard(ASPECT + "index.ts", "first > pageCount || count > pageCount - first || count == 0", "bad_question"),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 64, 4 << 5);\n", "", "offsets_that"),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 96, (5 << 5) + padded(length));\n", "", "offsets_that"),
    Mutant(ASPECT + "index.ts", "    expectWord(groups + (group << 5), offset);\n", "", "judged_in_one"),
    Mutant(ASPECT + "index.ts", "  expectWord(args + 96, 4 << 5);\n", "", "show_the_aspect"),
    Mutant(ASPECT + "index.ts", "    expectWord(array + (i << 5), offset);\n", "", "show_the_aspect"),
    Mutant(ASPECT + "index.ts", "    expectWord(update + 96, 6 << 5);\n", "", "show_the_aspect"),
    Mutant(ASPECT + "index.ts", "    expectWord(update + 128, <u32>(digests - update));\n", "", "show_the_aspect"),
    Mutant(ASPECT + "index.ts", "    expectWord(update + 160, <u32>(pages - update));\n", "", "show_the_aspect"),
    Mutant(
        ASPECT + "pool.ts",
        "be64(slot + 8) == round ? amount - be64(slot + 16) : amount",
        "amount",
        "no_influence or later_than",
    ),
    Mutant(ASPECT + "merge.ts", "if (beyond >> 16 == 0)", "if (true)", "saturated"),
]

# Guards whose condition stands more than once: named by what follows.
SPELLED_OUT = [
    Mutant(
        POOL,
        "if (current.merged != 0) revert RoundSettling(current.round, current.merged);\n        if (current.accepted",
        "if (current.accepted",
        "being_settled",
    ),
    Mutant(
        POOL,
        "if (current.merged != 0) revert RoundSettling(current.round, current.merged);\n        uint256 droppable",
        "uint256 droppable",
        "half_settled",
    ),
    Mutant(POOL, "if (current.accepted == 0) revert NoUpdates(round);", "", "speaks_first"),
    Mutant(
        POOL,
        "if (current.version == 0) revert TaskNotReady(task);\n        if (current.merged != 0) revert RoundSettling("
        "current.round, current.merged);\n        if",
        "if (current.merged != 0) revert RoundSettling(current.round, current.merged);\n        if",
        "speaks_first",
    ),
    Mutant(
        POOL,
        "if (current.version == 0) revert TaskNotReady(task);\n        if (current.merged != 0) revert RoundSettling("
        "current.round, current.merged);\n        uint256",
        "if (current.merged != 0) revert RoundSettling(current.round, current.merged);\n        uint256",
        "no_round_to_drop",
    ),
]


def all_mutants() -> Iterator[Mutant]:
    yield from ASPECT_MUTANTS + POOL_MUTANTS + SPELLED_OUT


@contextmanager
def mutated(mutant: Mutant) -> Iterator[Path]:
    """A folder of artifacts built from the mutated sources."""
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        for name in ("contracts", "aspects"):
            shutil.copytree(ROOT / name, tree / name)
        (tree / "tools").mkdir()
        for script in (ROOT / "tools").glob("*.mjs"):
            shutil.copy(script, tree / "tools")
        for name in ("package.json", "package-lock.json", "node_modules"):
            (tree / "tools" / name).symlink_to(ROOT / "tools" / name)
        text = (tree / mutant.file).read_text()
        if text.count(mutant.old) != 1:
            raise SystemExit(f"{mutant.file}: stands {text.count(mutant.old)} times: {mutant.old}")
        (tree / mutant.file).write_text(text.replace(mutant.old, mutant.new))
        output = tree / "artifacts"
        shutil.copytree(ROOT / "src/linklearner/artifacts", output)
        is_aspect = mutant.file.startswith("aspects")
        build = ["build_aspects.mjs", str(output), str(output)] if is_aspect else ["build_contracts.mjs", str(output)]
        built = subprocess.run(["node", *build], cwd=tree / "tools", capture_output=True, text=True, check=False)
        if built.returncode:
            raise SystemExit(f"the mutant does not build: {mutant.old}\n{built.stdout}{built.stderr}")
        yield output


def survives(mutant: Mutant) -> bool:
    """Whether its tests pass all the same. At least one must have been selected."""
    with mutated(mutant) as output, pytest.MonkeyPatch.context() as patch:
        patch.setattr(artifacts, "_read", lambda name: (output / name).read_bytes())
        artifacts.contract.cache_clear()
        artifacts.aspect.cache_clear()
        said = io.StringIO()
        with redirect_stdout(said):
            # faulthandler, enabled anew by every session, would take the traps of wasm code away from wasmtime
            result = pytest.main(["-x", "-q", "-p", "no:faulthandler", *TESTS, "-k", mutant.test])
    if result not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        raise SystemExit(f"pytest could not run {mutant.test!r}:\n{said.getvalue()[-2000:]}")
    return result == pytest.ExitCode.OK


def main(words: list[str]) -> int:
    chosen = [m for m in all_mutants() if all(word in f"{m.file} {m.old} {m.test}" for word in words)]
    survivors = 0
    for number, mutant in enumerate(chosen, start=1):
        alive = survives(mutant)
        survivors += alive
        print(
            f"[{number}/{len(chosen)}] {'SURVIVED' if alive else 'killed'}: {mutant.file}: {mutant.old[:90]!r}",
            flush=True,
        )
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants killed")
    return 1 if survivors else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
