"""Rounds of the digits task on an in-process devchain, taken apart into what each weight and each contribution costs."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from bench.gas.predict import Prediction, Watched
from bench.pool import PoolChain
from bench.pool_rounds import PlayedRound
from devchain.aspect.runtime import WASM_GAS_PER_EVM_GAS
from devchain.chain.blocks import StoredReceipt
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import TWO_BITS, Encoding
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.notation import LL_WEI
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

TERMS = Terms(
    quorum=1, max_updates=20, round_seconds=60, drop_seconds=600, min_stake=1, settler_bps=500, reward=100 * LL_WEI
)


@dataclass(frozen=True, slots=True)
class Parts:
    """EVM gas by cause; they sum to what was charged."""

    intrinsic: float = 0
    """21,000 and the calldata."""
    evm: float = 0
    """The pool and the token."""
    host: float = 0
    """Host calls of the Aspect other than writing state."""
    wasm: float = 0
    """The Aspect's own instructions, rounding up to whole gas included."""
    state: float = 0
    """Writing the Aspect's state, 156.25 gas a byte."""

    @property
    def total(self) -> float:
        return self.intrinsic + self.evm + self.host + self.wasm + self.state

    def __add__(self, other: Parts) -> Parts:
        return Parts(*(getattr(self, part.name) + getattr(other, part.name) for part in fields(self)))

    def scaled(self, factor: float) -> Parts:
        return Parts(*(getattr(self, part.name) * factor for part in fields(self)))

    def less(self, other: Parts) -> Parts:
        return self + other.scaled(-1)


@dataclass(frozen=True, slots=True)
class RoundCost:
    """What one contribution of a round costs all in: its submission, and its share of the settlement."""

    submission: Parts
    settlement_share: Parts

    @property
    def parts(self) -> Parts:
        return self.submission + self.settlement_share


class GasBench:
    """One pool; each measured round is a settled round of the same task."""

    def __init__(self) -> None:
        self._world = PoolChain.deployed()
        self._watched = Watched(self._world.chain._runtime)
        self._world.chain._runtime = self._watched  # type: ignore[assignment]
        base = quantise_weights(DIGITS.initial(1), SHAPE)
        self._task = self._world.open_task(SHAPE, base, [1000] * 20, TERMS, DIGITS.to_json())
        self._generator = np.random.default_rng(7)

    @property
    def predictions(self) -> list[Prediction]:
        """Every Aspect call so far, predicted and measured."""
        return self._watched.calls

    def round(self, updates: int, encoding: Encoding | None) -> RoundCost:
        """A round of that many dense updates (None: of empty ones), its averages."""
        round_ = PlayedRound(self._world, self._task, SHAPE)
        version = round_.version
        submissions = Parts()
        for contributor in range(1, updates + 1):
            update = self._update(version, encoding)
            submissions += self._measured(round_.submit(contributor, update))
        (receipt,) = round_.settle()
        return RoundCost(submissions.scaled(1 / updates), self._measured(receipt).scaled(1 / updates))

    def _update(self, version: int, encoding: Encoding | None) -> Update:
        if encoding is None:
            return Update(self._task, version, TWO_BITS, (0,) * len(SHAPE.tensors), ())
        delta = self._generator.normal(0, 0.02, SHAPE.weight_count)
        return quantise_delta(delta, SHAPE, self._task, version, encoding).update

    def _measured(self, receipt: StoredReceipt) -> Parts:
        call = self._watched.calls[-1]
        gas = {part.part: part.gas for part in receipt.parts}
        if gas["aspect"] != call.measured:
            raise AssertionError("the parts of the receipt are not those of the Aspect call that was watched")
        parts = Parts(
            intrinsic=gas["intrinsic"],
            evm=gas["evm"] + gas.get("refund", 0),
            host=call.host / WASM_GAS_PER_EVM_GAS,
            wasm=call.measured - (call.host + call.state_writes) / WASM_GAS_PER_EVM_GAS,
            state=call.state_writes / WASM_GAS_PER_EVM_GAS,
        )
        if round(parts.total) != receipt.gas_used:
            raise AssertionError(f"the parts sum to {parts.total}, the receipt says {receipt.gas_used}")
        return parts


def per_weight(cost: RoundCost, empty: RoundCost, shape: Shape = SHAPE) -> Parts:
    """What a weight costs above the fixed part."""
    return cost.parts.less(empty.parts).scaled(1 / shape.weight_count)
