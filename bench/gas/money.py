"""Gas of what moves stake and money: `python -m bench.gas.money`; and what a round brings and costs who settles it."""

from __future__ import annotations

from bench.gas.measure import TERMS
from bench.pool import CREATOR, POT, PoolChain, account, terms_tuple
from bench.pool_rounds import PlayedRound
from linklearner.domain.digest import weight_bytes
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.notation import LL_WEI

UPDATES = 5
KEEPER = 9
"""Settles and drops, and has no stake."""


def measured() -> tuple[dict[str, int], int]:
    """Gas by what is done in the digits task; and the settler's fee for a round of five with all stake present, wei."""
    world = PoolChain.deployed()
    weights = quantise_weights(DIGITS.initial(1), SHAPE)
    creator = account(CREATOR)
    task = world.number("nextTask")
    gas = {}
    opening = world.transact(creator, "openTask", task, SHAPE.encode(), DIGITS.to_json(), terms_tuple(TERMS))
    gas["openTask"] = opening.gas_used
    gas["lock, first"] = world.transact_vault(account(1), "lock", task, 1000).gas_used
    for contributor in range(2, UPDATES + 1):
        world.transact_vault(account(contributor), "lock", task, 1000)
    gas["fund, first"] = world.transact(account(0), "fund", task, POT).gas_used
    gas["fund, again"] = world.transact(account(0), "fund", task, POT).gas_used
    gas["loadPages, all of 2,410 weights"] = world.transact(
        creator, "loadPages", task, 0, weight_bytes(weights)
    ).gas_used
    fee = 0
    for name in ("settle 5, nobody was paid before", "settle 5"):
        round_ = PlayedRound(world, task, SHAPE)
        for contributor in range(1, UPDATES + 1):
            round_.submit(contributor)
        world.wait(TERMS.round_seconds)
        receipts = round_.settle(KEEPER)
        gas[name] = sum(receipt.gas_used for receipt in receipts)
        paid = [event.values for receipt in receipts for event in world.events(receipt) if event.name == "SettlerPaid"]
        fee = sum(values["amount"] for values in paid)
    gas["shareFees"] = world.transact(account(7), "shareFees", task, LL_WEI).gas_used
    gas["claim, first"] = world.transact(account(1), "claim", task).gas_used
    gas["claim of stake's fees"] = world.transact_vault(account(2), "claim", task).gas_used
    gas["lock, again"] = world.transact_vault(account(1), "lock", task, 10).gas_used
    gas["unlock"] = world.transact_vault(account(3), "unlock", task, 10).gas_used
    world.wait(TERMS.stake_seconds)
    gas["withdraw"] = world.transact_vault(account(3), "withdraw", task).gas_used
    world.wait(TERMS.drop_seconds)
    gas["drop, no update"] = world.transact(account(KEEPER), "drop", task).gas_used
    PlayedRound(world, task, SHAPE).submit(1)
    world.wait(TERMS.drop_seconds)
    gas["drop, one update"] = world.transact(account(KEEPER), "drop", task).gas_used
    world.chain.close()
    return gas, fee


def main() -> None:
    gas, fee = measured()
    for what, used in gas.items():
        print(f"{what:36}{used:>10,} gas")
    settling = gas["settle 5"]
    print(
        f"A settler gets {fee / LL_WEI:.2f} $LL ({TERMS.settler_bps / 100:g} % of {TERMS.reward // LL_WEI} $LL) for {settling:,} gas: "
        f"{fee / settling / 1e9:,.0f} Gwei of $LL a gas. Nobody gets anything for a drop."
    )


if __name__ == "__main__":
    main()
