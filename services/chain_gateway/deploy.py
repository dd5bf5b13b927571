"""From nothing to version 1: contracts, Aspect, a task, everybody's first coins and stake, the first weights.

    TrainingPool (and its token) ─► Aspect, with the pool and its owner as properties ─► bind, setAspect ─► openTask
                                └► coin and $LL to the contributors ────────────────────────┴► they lock ─► loadPages ─► version 1

Every step is a request of the outbox under a name that never changes, so a deployment that was interrupted goes on where it was, and one
that is finished sends nothing. Stake is locked before the last page is loaded: it counts from the first round then, and a first round
without stake could not take an update.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from linklearner import artifacts
from linklearner.chain import contracts
from linklearner.chain.contracts import POOL, TOKEN, LoadPages
from linklearner.domain import strictjson
from linklearner.domain.digest import weight_bytes
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.errors import DataLoss, InvalidConfig, InvalidInput
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.model import ModelSpec
from linklearner.domain.notation import LL_WEI, UNIT_WEI
from linklearner.domain.rounds import Terms
from linklearner.domain.shape import Shape
from services.chain_gateway.aspect import PRE_CONTRACT_CALL, SYSTEM, SYSTEM_CONTRACT
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox import Outbox, Outcome, Patience, Prepare, Request, always
from services.chain_gateway.outbox.fees import MAX_GAS_PRICE, check_price

GENESIS: Final = 1_000_000 * LL_WEI
"""$LL that the owner has at the start, wei."""
FIRST_TASK: Final = 1
"""A pool counts its tasks from 1."""
LOAD_BYTES: Final = 80_000
"""Weights loaded by one transaction: 175 gas a byte (156.25 for state, 16 for calldata) make 14 of a block's 20 million."""
CONTRIBUTOR_GAS: Final = 200_000_000
"""Gas that a contributor's first coins are to last for, at twice the price of the day …"""
LEAST_COIN: Final = 10**16
"""… and no less than this, wei: an idle chain's price of 7 wei would buy nothing tomorrow."""

DeploymentProgress = Callable[[str, int, int], None]
"""Called with what is done next, how many steps are done, and of how many."""


@dataclass(frozen=True, kw_only=True)
class TaskPlan:
    """A task to open. seed: of its first weights."""

    model: ModelSpec = DIGITS
    exponent: int = SHAPE.tensors[0].exponent
    page_length: int = SHAPE.page_length
    group_pages: int = SHAPE.group_pages
    norm_bound: int = SHAPE.norm_bound
    terms: Terms
    seed: int = 0

    @property
    def shape(self) -> Shape:
        return self.model.shape(self.exponent, self.page_length, self.group_pages, self.norm_bound)

    def first_weights(self) -> NDArray[np.int16]:
        """(N,) int16."""
        return quantise_weights(self.model.initial(self.seed), self.shape)

    @classmethod
    def from_json(cls, text: str) -> TaskPlan:
        """`{"model": {…}, "exponent": 12, …, "terms": {"quorum": 5, …}}`; what is left out is as for `digits`. Raises InvalidConfig."""
        try:
            fields = strictjson.loads(text, max_bytes=PLAN_BYTES, max_values=PLAN_BYTES)
            model = ModelSpec.from_json(json.dumps(fields.pop("model"))) if "model" in fields else DIGITS
            terms = DIGITS_TERMS | fields.pop("terms", {})
            plan = cls(model=model, terms=Terms(**terms), **fields)
            plan.shape.encode()  # checks it
        except (ValueError, TypeError, AttributeError) as error:
            raise InvalidConfig(f"the task's settings cannot be read: {error}") from None
        except InvalidInput as error:
            raise InvalidConfig(f"the task's settings: {error.message}") from None
        return plan


PLAN_BYTES: Final = 1 << 20
"""Of a file of task settings."""

DIGITS_TERMS: Final[Mapping[str, int]] = {
    "quorum": 5,
    "max_updates": 64,
    "round_seconds": 120,
    "drop_seconds": 3600,
    "min_stake": 100,
    "settler_bps": 500,
    "reward": 100 * LL_WEI,
}


def digits(*, quorum: int = 5, seed: int = 0) -> TaskPlan:
    """64-32-10 on handwritten digits: 2,410 weights in one settlement group, rule `mean`."""
    return TaskPlan(terms=Terms(**{**DIGITS_TERMS, "quorum": quorum}), seed=seed)


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """A deployment. contributors: who gets coin and $LL; stake_units: what each gets and locks; coin_wei: None for a fair amount."""

    task: TaskPlan = field(default_factory=digits)
    contributors: Sequence[bytes] = ()
    stake_units: int = 1000
    coin_wei: int | None = None
    load: bool = True
    """False: stop before the first weights, so that others can lock stake first; deploy again to go on."""


class _Steps:
    """The requests of one deployment, counted."""

    def __init__(self, outbox: Outbox, owner: bytes, progress: DeploymentProgress, total: int) -> None:
        self._outbox = outbox
        self._owner = owner
        self._progress = progress
        self._done = 0
        self._total = total

    async def send(
        self, name: str, call: Call | Prepare, contents: bytes = b"", *, sender: bytes | None = None
    ) -> Outcome:
        """contents: what makes a repetition the same step; the calldata where nothing else is given."""
        if isinstance(call, Call):
            contents, prepare = contents or call.data, always(call)
        else:
            prepare = call
        self._progress(name, self._done, self._total)
        request = Request(request_id=f"deploy/{name}", account=sender or self._owner, kind="deploy", contents=contents)
        outcome = await self._outbox.fulfil(request, prepare)
        self._done += 1
        return outcome

    def finished(self) -> None:
        self._progress("ready", self._total, self._total)


async def deploy(
    chain: Chain,
    owner: Keystore,
    outbox_path: Path,
    plan: DeploymentPlan,
    *,
    contributors: Keystore | None = None,
    deployment_path: Path | None = None,
    progress: DeploymentProgress = lambda name, done, total: None,
    patience: Patience | None = None,
) -> Deployment:
    """Carries a plan out, or on. owner: one key, which pays for everything.

    contributors: keys of those who lock their stake here; others must do it themselves before the weights are loaded (`plan.load`).
    Raises Refused with the chain's reason (InsufficientFunds: fund the owner's account), Unavailable and TimedOut (deploy again: it goes
    on), RequestIdReused if the same outbox has begun another plan.
    """
    [owner_address] = owner.addresses
    held = [address for address in plan.contributors if contributors is not None and address in contributors]
    weights = plan.task.first_weights()
    loads = _loads(plan.task.shape)
    total = 5 + 2 * len(plan.contributors) + len(held) + (len(loads) if plan.load else 0)
    keys = owner if contributors is None else owner | contributors
    async with Outbox.open(outbox_path, chain, keys, patience) as outbox:
        steps = _Steps(outbox, owner_address, progress, total)
        code = artifacts.contract("TrainingPool").bytecode
        created = await steps.send(
            "pool", Call(None, code + POOL.encode_constructor(owner_address, owner_address, GENESIS))
        )
        pool = _created(created)
        token = bytes(POOL.decode_result("token", await chain.call(pool, POOL.encode_call("token")))["0"])
        aspect, _ = await asyncio.gather(
            _aspect(steps, plan, pool, owner_address), _fund(chain, steps, plan, pool, token)
        )
        deployment = Deployment(
            chain_id=chain.chain_id,
            pool=pool,
            token=token,
            aspect=aspect,
            block=created.receipt.block_number,
            owner=owner_address,
        )
        if deployment_path is not None:
            deployment.save(deployment_path)
        lock = Call(pool, POOL.encode_call("lock", FIRST_TASK, plan.stake_units))
        await asyncio.gather(*(steps.send(f"lock/{who.hex()}", lock, sender=who) for who in held))
        if plan.load:
            for first, part in loads:
                pages = LoadPages(task=FIRST_TASK, first_page=first, weights=weight_bytes(weights[part]))
                await steps.send(f"load/{first}", Call(pool, contracts.load_pages(pages)))
        steps.finished()
    return deployment


async def _aspect(steps: _Steps, plan: DeploymentPlan, pool: bytes, owner: bytes) -> bytes:
    """Deploys, binds and names the Aspect, and opens the task. Returns its id."""
    properties = [("pool", pool), ("owner", owner)]
    code = artifacts.aspect("aggregator")
    data = SYSTEM.encode_call("deploy", code, b"", properties, owner, b"", PRE_CONTRACT_CALL)
    aspect = _created(await steps.send("aspect", Call(SYSTEM_CONTRACT, data)))
    await asyncio.gather(
        steps.send("bind", Call(SYSTEM_CONTRACT, SYSTEM.encode_call("bind", aspect, 1, pool, 0))),
        steps.send("name aspect", Call(pool, POOL.encode_call("setAspect", aspect))),
    )
    task = plan.task
    data = contracts.open_task(FIRST_TASK, task.shape.encode(), task.model.to_json(), task.terms)
    await steps.send("open task", Call(pool, data))
    return aspect


async def _fund(chain: Chain, steps: _Steps, plan: DeploymentPlan, pool: bytes, token: bytes) -> None:
    """Coin for gas and $LL for stake, to each contributor."""
    coin = plan.coin_wei
    if coin is None:
        price = await chain.price()
        check_price(price, MAX_GAS_PRICE, chain.shown_url)  # the node's word decides how much is given away
        coin = max(2 * CONTRIBUTOR_GAS * price, LEAST_COIN)

    def gift(who: bytes) -> Prepare:
        async def prepare() -> Call:
            return Call(who, value=coin)

        return prepare

    await asyncio.gather(
        *(
            # the amount follows the price of the day, and an interrupted deployment may go on tomorrow
            steps.send(f"coin/{who.hex()}", gift(who), contents=who)
            for who in plan.contributors
        ),
        *(
            steps.send(
                f"stake/{who.hex()}", Call(token, TOKEN.encode_call("transfer", who, plan.stake_units * UNIT_WEI))
            )
            for who in plan.contributors
        ),
    )


def _loads(shape: Shape) -> list[tuple[int, slice]]:
    """The transactions that load all weights: first page and where its weights lie, whole pages of about 80 kB together."""
    at_once = max(1, LOAD_BYTES // (2 * shape.page_length))
    loads = []
    for first in range(0, shape.page_count, at_once):
        last = min(first + at_once, shape.page_count) - 1
        loads.append((first, slice(shape.page_slice(first).start, shape.page_slice(last).stop)))
    return loads


def _created(outcome: Outcome) -> bytes:
    if outcome.receipt.contract is None:
        raise DataLoss(f"the node's receipt of 0x{outcome.receipt.transaction_hash.hex()} names no contract address")
    return outcome.receipt.contract
