"""Whoever cheats is refused, with the chain's own reason, in a transaction that really landed."""

from dataclasses import asdict

from linklearner.suite import Suite
from services.chain_gateway.cheat import CheatAttempt
from services.chain_gateway.misbehave import cheat_of
from tests.services.chain_gateway.conftest import World

ALONE = "a settlement before the others have come, with more weight for itself"
SUBMISSIONS = {
    ALONE: "RoundNotOver",
    "an update of the wrong shape": "WrongShape",
    "an update to an old version": "StaleBase",
    "an empty update": "EmptyUpdate",
    "a second update in one round": "AlreadySubmitted",
    "the same signed transaction again": "AlreadyKnown",
    "the calldata of an update of round 1 again": "StaleBase",
    "an update to a contract of its own, bound to our Aspect": "NotThePool",
    "an update through a contract that calls the pool": "NotDirect",
    "weights of its own for another's task": "TaskLoaded",
    "closing another's task, for the rest of its pot": "NotCreator",
    "a grant of new $LL without owning the pool": "OwnableUnauthorizedAccount",
}
"""What a cheat hands in while a round is open, and the reason why it is refused."""


def suite_of(world: World) -> Suite:
    deployment = world.deployment
    return Suite(
        rpc_url=world.node.url,
        chain_id=deployment.chain_id,
        pool="0x" + deployment.pool.hex(),
        vault="0x" + deployment.vault.hex(),
        token="0x" + deployment.token.hex(),
        aspect="0x" + deployment.aspect.hex(),
        deployed_block=deployment.block,
        task=1,
        gateway="",
        trainers=(),
        model_server="",
        metrics="",
        page="",
        keys=str(world.folder / "keys"),
        password_file=str(world.folder / "keys" / "password"),
        credential="",
        accounts=(),
        creator="",
        sponsor="",
        owner="0x" + deployment.owner.hex(),
        pid=0,
    )


def check(attempts: list[CheatAttempt], expected: dict[str, str]) -> None:
    assert {one.attempt: one.reason for one in attempts} == expected
    for one in attempts:
        assert one.refused, asdict(one)
        assert one.message and not one.message.startswith(one.reason)
        landed = one.reason != "AlreadyKnown"
        assert bool(one.transaction) == bool(one.block) == bool(one.gas_used) == landed, asdict(one)


async def test_every_trick_is_refused_by_name_and_the_round_goes_on(world: World) -> None:
    cheat_account, honest = world.accounts[0], world.accounts[1]
    await world.later(60)
    async with world.gateway() as gateway:
        for version in (1, 2):
            for who in (0, 1):
                if version == 2 and who == 1:
                    async with cheat_of(suite_of(world), cheat_account) as cheat:
                        attempts = [attempt async for attempt in cheat.submissions()]
                    check(
                        attempts,
                        SUBMISSIONS,
                    )
                update = world.update(version, seed=who)
                await gateway.ledger.submissions.submit(f"u{version}-{who}", world.accounts[who], update)
            if version == 2:
                async with cheat_of(suite_of(world), cheat_account) as cheat:
                    attempts = [attempt async for attempt in cheat.settlements()]
                check(
                    attempts,
                    {
                        "a settlement that leaves an update out": "RunningHashMismatch",
                        "a settlement in another order": "RunningHashMismatch",
                        "a settlement with an altered update": "RunningHashMismatch",
                        "a settlement that gives a friend more weight": "RunningHashMismatch",
                        "a settlement of a round that is over": "WrongRound",
                    },
                )
            settled = await gateway.ledger.settlements.settle(f"s{version}", honest, 1, version)
            assert settled.version.accepted_count == 2
        round_2 = await gateway.ledger.queries.round(1, 2)
        assert [one.contributor for one in round_2.contributions] == [cheat_account, honest]
        await gateway.ledger.tasks.model(1, 0)  # and the weights give the announced digest


async def test_a_cheat_who_is_slow_does_not_end_the_round_either(world: World) -> None:
    """The round might be settled by now, by whoever settles it right: the others' updates still come into it."""
    async with world.gateway() as gateway:
        await gateway.ledger.submissions.submit("u0", world.accounts[0], world.update())
        opened = await gateway.ledger.tasks.task(1)
        await world.later(opened.terms.round_seconds + 1)
        async with cheat_of(suite_of(world), world.accounts[0]) as cheat:
            attempts = [one async for one in cheat.submissions()]
        # round 1 is the open one here, so what is tried again of it has come already
        again = {"the calldata of an update of round 1 again": "AlreadySubmitted"}
        check(attempts, SUBMISSIONS | {ALONE: "RunningHashMismatch"} | again)
        await gateway.ledger.submissions.submit("u1", world.accounts[1], world.update(seed=1))
        assert (await gateway.ledger.queries.round(1, 0)).round == opened.round.round


async def test_a_cheat_behind_an_endpoint_that_loses_calls_plays_to_the_end(world: World) -> None:
    """What it hands in is lost once before each attempt; also what it replays, which no outbox sends again."""
    async with world.gateway() as gateway:
        await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())
        async with cheat_of(suite_of(world), world.accounts[0]) as cheat:
            world.node.break_sends = 1
            attempts = []
            async for attempt in cheat.submissions():
                assert not world.node.break_sends, f"nothing was lost in {attempt.attempt}"
                attempts.append(attempt)
                world.node.break_sends = 1
        assert [one.attempt for one in attempts] == list(SUBMISSIONS)
        assert all(one.refused for one in attempts)
