"""Rounds of the digits task on an in-process devchain, taken apart into what each weight and each contribution costs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Final

import numpy as np

from bench.gas.predict import Prediction, Watched
from bench.pool import TERMS, PoolChain
from bench.pool_rounds import Round
from devchain.aspect.runtime import WASM_GAS_PER_EVM_GAS
from devchain.chain.blocks import Receipt
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import TWO_BITS, Encoding
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.shape import Shape
from linklearner.domain.update import Update

CUT: Final = DIGITS.shape(SHAPE.tensors[0].exponent, 2408, SHAPE.group_pages, SHAPE.norm_bound)
"""The digits' tensors in two pages, as in the task, but the second one has two weights: an update of that page is as good as empty."""


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
        base = quantise_weights(DIGITS.initial(1), CUT)
        self._task = self._world.open_task(CUT, base, [1000] * 20, TERMS, DIGITS.to_json())
        self._generator = np.random.default_rng(7)

    @property
    def predictions(self) -> list[Prediction]:
        """Every Aspect call so far, predicted and measured."""
        return self._watched.calls

    def fixed(self, updates: int) -> RoundCost:
        """What a contribution to a round of so many costs beside its pages and their weights.

        Empty updates are refused, so it is not measured but is what three rounds that are have in common: with F the fixed part, p what a
        page costs and w a weight, the first page alone costs F + p + 2408 w, the second one F + p + 2 w, both F + 2 p + 2410 w.
        """
        first, second, both = (self.round(updates, TWO_BITS, pages) for pages in ((0,), (1,), (0, 1)))
        return RoundCost(
            (first.submission + second.submission).less(both.submission),
            (first.settlement_share + second.settlement_share).less(both.settlement_share),
        )

    def round(self, updates: int, encoding: Encoding, pages: Sequence[int] = (0, 1)) -> RoundCost:
        """A round of that many updates, dense in these pages, its averages."""
        round_ = Round(self._world, self._task, CUT)
        version = round_.version
        submissions = Parts()
        for contributor in range(1, updates + 1):
            update = self._update(version, encoding, pages)
            submissions += self._measured(round_.submit(contributor, update))
        self._world.wait(TERMS.min_round_seconds)
        (receipt,) = round_.settle()
        return RoundCost(submissions.scaled(1 / updates), self._measured(receipt).scaled(1 / updates))

    def _update(self, version: int, encoding: Encoding, pages: Sequence[int]) -> Update:
        delta = self._generator.normal(0, 0.02, CUT.weight_count)
        for page in {*range(CUT.page_count)}.difference(pages):
            delta[CUT.page_slice(page)] = 0
        return quantise_delta(delta, CUT, self._task, version, encoding).update

    def _measured(self, receipt: Receipt) -> Parts:
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


def per_weight(cost: RoundCost, fixed: RoundCost, shape: Shape = SHAPE) -> Parts:
    """What a weight costs above the fixed part."""
    return cost.parts.less(fixed.parts).scaled(1 / shape.weight_count)
