"""Emission and fees, on their way to the people of a task."""

from __future__ import annotations

import pytest

from linklearner.chain.contracts import POOL
from linklearner.domain.errors import Refused
from linklearner.domain.notation import LL_WEI
from linklearner.keyfile import read_password
from services.chain_gateway.chain import Call
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.outbox import Request, always
from tests.services.chain_gateway.conftest import World

FEE = 10 * LL_WEI


async def test_the_owner_grants_what_the_schedule_has_released(world: World) -> None:
    owner = own(world)
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        await world.later(1000)
        before = (await ledger.tasks.task(1)).pot
        granted = await ledger.money.grant("grant", owner, 1, 40 * LL_WEI)
        assert granted.pot == before + 40 * LL_WEI == (await ledger.tasks.task(1)).pot
        assert await ledger.money.grant("grant", owner, 1, 40 * LL_WEI) == granted, "once, however often it is asked"
        with pytest.raises(Refused) as refused:
            await ledger.money.grant("too much", owner, 1, 10**8 * LL_WEI)
        assert refused.value.reason == "BeyondEmission"


async def test_a_fee_is_claimed_by_contributors_and_by_stake(world: World) -> None:
    """Two of three contribute to a round; then somebody shares a fee. Who only holds stake has not moved: nothing of it shares yet."""
    owner = own(world)
    async with world.gateway() as gateway:
        ledger, (first, second, idle) = gateway.ledger, world.accounts
        for who, account in enumerate((first, second)):
            await ledger.submissions.submit(f"u{who}", account, world.update(seed=who))
        await world.later(60)
        await ledger.settlements.settle("settle", first, 1, 1)
        fee = Call(world.deployment.pool, POOL.encode_call("shareFees", 1, FEE), gas_limit=300_000)
        request = Request(request_id="fee", account=owner, kind="fee", contents=b"")
        await ledger._outbox.fulfil(request, always(fee))
        for account in (first, second):
            due, _ = await ledger.money.earnings(account, 1)
            assert due.pay == due.earned > 0
            assert 0 <= FEE // 4 - due.fees <= 1 and 0 <= FEE // 4 - due.stake_fees <= 1  # rounded down
            claimed = await ledger.money.claim(f"claim {account.hex()}", account, 1)
            assert (claimed.earnings, len(claimed.mined)) == (due, 2)
            after, _ = await ledger.money.earnings(account, 1)
            assert (after.earned, after.pay, after.fees, after.stake_fees) == (due.earned, 0, 0, 0)
        nothing, _ = await ledger.money.earnings(idle, 1)
        assert (nothing.earned, nothing.pay, nothing.fees, nothing.stake_fees) == (0, 0, 0, 0)
        assert (await ledger.money.claim("claim nothing", idle, 1)).mined == ()


def own(world: World) -> bytes:
    """The pool's owner, whose key goes into the gateway's keystore."""
    keys = world.folder / "keys"
    return Keystore.create(
        keys, read_password(keys / "password"), random_password=True, key=bytes(world.devchain.accounts[0].key)
    )
