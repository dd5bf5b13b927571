"""From nothing to a task that can be trained: contracts, Aspect, everybody's first coins and stake, a task with a pot and first weights.

    EvidenceRoom ─► TrainingPool (its vault, its token) ─► Aspect, with both as properties ─► bind ─► setAspect ─► openTask ─► fund
                                        └► coin and $LL: creator and contributors ───────────────────────────┴► they lock ─► loadPages

The room is the code of the calls that only rule `evidence` has, to which the pool delegates.

The treasury's key owns the pool until it hands it on; it names the Aspect, once, and gives the first coins. The task is its creator's, an
account like any other. Binding comes before naming: afterwards nobody can bind or unbind an Aspect, and nobody can upgrade this one, whose
owner is the zero address. A new rule is a new deployment.

Every step is a request of the outbox under a name that never changes, so a deployment that was interrupted goes on where it was, and one
that is finished sends nothing. Stake is locked before the last page is loaded: it counts from the first round then, and a first round
without stake could not take an update.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from linklearner import artifacts
from linklearner.chain.contracts import POOL, TOKEN, VAULT
from linklearner.domain.addresses import token_of, vault_of
from linklearner.domain.digest import weight_bytes
from linklearner.domain.errors import DataLoss
from linklearner.domain.notation import LL_WEI, UNIT_WEI
from linklearner.domain.plan import TaskPlan, digits
from linklearner.domain.rules.evidence.course import least_bond
from services.chain_gateway.aspect import PRE_CONTRACT_CALL, SYSTEM, SYSTEM_CONTRACT
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.opening import NewTask, Opening, loads
from services.chain_gateway.outbox import Outbox, Outcome, Patience, Prepare, Request, always
from services.chain_gateway.outbox.fees import MAX_GAS_PRICE, check_price

GENESIS: Final = 1_000_000 * LL_WEI
"""$LL that the treasury has at the start, wei."""
CAP: Final = 10_000_000 * LL_WEI
"""$LL that there will ever be at most, wei."""
EMISSION: Final = LL_WEI // 20
"""Wei a second that may be granted to pots: nine million $LL take 5.7 years."""
POT: Final = 10_000 * LL_WEI
"""Of the first task, wei: a hundred rounds that take their whole time."""
FAUCET: Final = 100_000 * LL_WEI
"""Of a faucet, wei."""
CONTRIBUTOR_GAS: Final = 200_000_000
"""Gas that an account's first coins are to last for, at twice the price of the day …"""
LEAST_COIN: Final = 10**16
"""… and no less than this, wei: an idle chain's price of 7 wei would buy nothing tomorrow."""

DeploymentProgress = Callable[[str, int, int], None]
"""Called with what is done next, how many steps are done, and of how many."""


@dataclass(frozen=True, kw_only=True)
class DeploymentPlan:
    """A deployment.

    task: to open; None: contracts and Aspect only. pot_wei: what its sponsor is given and fills its pot with. contributors: who gets coin
    and $LL; stake_units: what each gets and locks; coin_wei: None for a fair amount. cap_wei, emission_wei (a second): of $LL.
    faucet: an account that hands on faucet_wei of $LL to newcomers, and faucet_coin_wei of coin (None: it has as much as the others, and
    more from elsewhere); None: there is none.
    """

    task: TaskPlan | None = field(default_factory=digits)
    pot_wei: int = POT
    contributors: Sequence[bytes] = ()
    stake_units: int = 1000
    coin_wei: int | None = None
    cap_wei: int = CAP
    emission_wei: int = EMISSION
    faucet: bytes | None = None
    faucet_wei: int = FAUCET
    faucet_coin_wei: int | None = None
    load: bool = True
    """False: stop before the first weights, so that others can lock stake first; deploy again to go on."""


class _Steps:
    """The requests of one deployment, counted."""

    def __init__(self, outbox: Outbox, treasury: bytes, progress: DeploymentProgress, total: int) -> None:
        self.outbox = outbox
        self.treasury = treasury
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
        request = Request(request_id=_id(name), account=sender or self.treasury, kind="deploy", contents=contents)
        outcome = await self.outbox.fulfil(request, prepare)
        self._done += 1
        return outcome

    def finished(self) -> None:
        self._progress("ready", self._total, self._total)


def _id(name: str) -> str:
    return f"deploy/{name}"


async def deploy(
    chain: Chain,
    treasury: Keystore,
    outbox_path: Path,
    plan: DeploymentPlan,
    *,
    creator: Keystore | None = None,
    sponsor: Keystore | None = None,
    contributors: Keystore | None = None,
    deployment_path: Path | None = None,
    progress: DeploymentProgress = lambda name, done, total: None,
    patience: Patience | None = None,
) -> Deployment:
    """Carries a plan out, or on. treasury: one key, which owns the pool, has the genesis supply and pays for everything.

    creator: one key, whose account opens the task; None: the treasury's, which has no right beyond others by that. sponsor: one key, whose
    account fills the pot; None: the creator's. contributors: keys of those who lock their stake here; others must do it themselves before
    the weights are loaded (`plan.load`).
    Raises Refused with the chain's reason (InsufficientFunds: fund the treasury's account), Unavailable and TimedOut (deploy again: it
    goes on), RequestIdReused if the same outbox has begun another plan.
    """
    [owner] = treasury.addresses
    [opener] = (creator or treasury).addresses
    [funder] = (sponsor or creator or treasury).addresses
    held = [address for address in plan.contributors if contributors is not None and address in contributors]
    keys = treasury | (creator or treasury) | (sponsor or treasury) | (contributors or treasury)
    owning: dict[bytes, int] = {}  # whom the treasury gives coin, and $LL for the bond and for the pot
    if plan.task is not None:
        owning[opener] = 0 if plan.task.examples is None else least_bond(plan.task.terms)
        if plan.pot_wei:
            owning[funder] = owning.get(funder, 0) + plan.pot_wei
    if plan.faucet is not None:
        owning[plan.faucet] = plan.faucet_wei
    owning.pop(owner, None)
    async with Outbox.open(outbox_path, chain, keys, patience) as outbox:
        steps = _Steps(outbox, owner, progress, _count(plan, owning, held=len(held)))
        room = _created(await steps.send("evidence room", Call(None, artifacts.contract("EvidenceRoom").bytecode)))
        code = artifacts.contract("TrainingPool").bytecode
        arguments = POOL.encode_constructor(owner, owner, GENESIS, plan.cap_wei, plan.emission_wei, room)
        created = await steps.send("pool", Call(None, code + arguments))
        pool = _created(created)
        token, vault = token_of(pool), vault_of(pool)
        aspect, _ = await asyncio.gather(_aspect(steps, pool, vault), _give(chain, steps, plan, token, owning))
        task, opening = 0, None
        if plan.task is not None:
            opening = _opening(chain, steps, pool, plan.task, opener)
            task = await opening.open()
        deployment = Deployment(
            chain_id=chain.chain_id,
            pool=pool,
            vault=vault,
            token=token,
            aspect=aspect,
            block=created.receipt.block_number,
            owner=owner,
            task=task,
        )
        if deployment_path is not None:
            deployment.save(deployment_path)
        if opening is not None:
            lock = Call(vault, VAULT.encode_call("lock", task, plan.stake_units))
            fund = Call(pool, POOL.encode_call("fund", task, plan.pot_wei))
            await asyncio.gather(
                *([steps.send("fund", fund, sender=funder)] if plan.pot_wei else []),
                *(steps.send(f"lock/{who.hex()}", lock, sender=who) for who in held),
            )
            if plan.load:
                await opening.commit(task)
                await opening.load(task)
        steps.finished()
    return deployment


def _count(plan: DeploymentPlan, owning: Mapping[bytes, int], *, held: int) -> int:
    """Of the steps, if nobody else opens a task first."""
    count = 5 + 2 * len(plan.contributors) + len(owning) + sum(wei > 0 for wei in owning.values())
    if plan.task is not None:
        count += 1 + (plan.pot_wei > 0) + held
        if plan.load:
            count += len(loads(plan.task.shape)) + (plan.task.examples is not None)
    return count


async def _aspect(steps: _Steps, pool: bytes, vault: bytes) -> bytes:
    """Deploys, binds and names the Aspect, which nobody owns. Returns its id."""
    properties = [("owner", bytes(20)), ("pool", pool), ("vault", vault)]
    code = artifacts.aspect("aggregator")
    data = SYSTEM.encode_call("deploy", code, b"", properties, steps.treasury, b"", PRE_CONTRACT_CALL)
    aspect = _created(await steps.send("aspect", Call(SYSTEM_CONTRACT, data)))
    await steps.send("bind", Call(SYSTEM_CONTRACT, SYSTEM.encode_call("bind", aspect, 1, pool, 0)))
    await steps.send("name aspect", Call(pool, POOL.encode_call("setAspect", aspect)))
    return aspect


async def _give(chain: Chain, steps: _Steps, plan: DeploymentPlan, token: bytes, owning: Mapping[bytes, int]) -> None:
    """Coin for gas and $LL: for stake to each contributor, and to creator, sponsor and faucet as `owning` says, wei."""
    coin = plan.coin_wei
    if coin is None:
        price = await chain.price()
        check_price(price, MAX_GAS_PRICE, chain.shown_url)  # the node's word decides how much is given away
        coin = max(2 * CONTRIBUTOR_GAS * price, LEAST_COIN)

    def gift(who: bytes) -> Prepare:
        own = plan.faucet_coin_wei if who == plan.faucet else None

        async def prepare() -> Call:
            return Call(who, value=coin if own is None else own)

        return prepare

    tokens = [(f"stake/{who.hex()}", who, plan.stake_units * UNIT_WEI) for who in plan.contributors]
    coins = [(f"coin/{who.hex()}", who) for who in plan.contributors]
    coins += [(f"coin/{who.hex()}", who) for who in owning if who not in plan.contributors]
    tokens += [(f"pot/{who.hex()}", who, wei) for who, wei in owning.items() if wei]
    await asyncio.gather(
        # the amount follows the price of the day, and an interrupted deployment may go on tomorrow
        *(steps.send(name, gift(who), contents=who) for name, who in coins),
        *(steps.send(name, Call(token, TOKEN.encode_call("transfer", who, wei))) for name, who, wei in tokens),
    )


def _opening(chain: Chain, steps: _Steps, pool: bytes, plan: TaskPlan, creator: bytes) -> Opening:
    weights = weight_bytes(plan.first_weights())
    new = NewTask(plan.model.to_json(), plan.shape, plan.terms, weights, plan.examples)

    async def send(name: str, contents: bytes, prepare: Prepare) -> Outcome:
        return await steps.send(name, prepare, contents, sender=creator)

    return Opening(chain, pool, creator, new, send, lambda name: steps.outbox.state(_id(name)))


def _created(outcome: Outcome) -> bytes:
    if outcome.receipt.contract is None:
        raise DataLoss(f"the node's receipt of 0x{outcome.receipt.transaction_hash.hex()} names no contract address")
    return outcome.receipt.contract
