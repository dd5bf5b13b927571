"""$LL: who makes it, how much of it and when, and who moves it; by transactions on a chain."""

from collections.abc import Iterator

import pytest
from eth_account.messages import encode_typed_data

from bench.pool import CAP, EMISSION, GENESIS, POOL, TOKEN, PoolChain, Reverted, account, address_of
from bench.pool_rounds import FLAT, opened
from devchain.chain.blocks import StoredReceipt
from linklearner.domain.notation import LL_WEI
from tests.contracts.evm import relay
from tests.contracts.test_training_pool import refused


def send(world: PoolChain, who: int, function: str, *arguments: object) -> StoredReceipt:
    return world.send(account(who), world.token, TOKEN.encode_call(function, *arguments))


def balance(world: PoolChain, who: int) -> int:
    return world.balance(address_of(account(who)))


def grant(world: PoolChain, task: int, amount: int) -> StoredReceipt:
    return world.transact(account(0), "grant", task, amount)


# ── Emission ─────────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_the_genesis_supply_is_the_treasurys_and_the_token_knows_its_makers(world: PoolChain) -> None:
    assert world.supply() == GENESIS
    assert balance(world, 0) == GENESIS - 23 * 10_000 * LL_WEI
    for name, value in (("cap", CAP), ("emissionPerSecond", EMISSION), ("emitted", 0)):
        assert world.read_token(name) == value
    for name, maker in (("pool", world.pool), ("vault", world.vault)):
        assert TOKEN.decode_result(name, world.ask(world.token, TOKEN.encode_call(name))) == {"0": maker}


def test_only_the_pool_emits(world: PoolChain) -> None:
    for who in (0, 1):
        refused("NotThePool", lambda who=who: send(world, who, "emitToPool", 1))
    relayed = world.create(account(3), relay("CALL"))
    data = world.token + TOKEN.encode_call("emitToPool", 1)
    refused("NotThePool", lambda: world.send(account(0), relayed, data))


def test_a_contract_that_borrows_the_pools_code_emits_nothing(world: PoolChain) -> None:
    """`token` is an immutable of the pool, so delegated code names the true token; but the token asks who calls."""
    task = opened(world, FLAT, [100]).task
    borrower = world.create(account(0), relay("DELEGATECALL"))
    for function in ("grant", "fund"):
        with pytest.raises(Reverted, match=r"UnknownTask|Ownable"):
            world.send(account(0), borrower, world.pool + POOL.encode_call(function, task, 1))
    assert world.supply() == GENESIS


def test_emission_follows_its_schedule_to_the_wei(world: PoolChain) -> None:
    task = opened(world, FLAT, [100], pot=0).task
    start = world.read_token("emissionStart")
    for wait_s, asked in ((1, 0), (9, 3), (100, 50), (1, 0)):
        world.wait(wait_s)
        if asked:
            grant(world, task, asked * EMISSION)
        released = (world.now - start) * EMISSION
        assert world.read_token("emittable") == released - world.read_token("emitted")
    assert world.read_token("emitted") == world.status(task)["pot"] == world.supply() - GENESIS == 53 * EMISSION


def test_what_was_released_is_asked_for_once_and_can_wait(world: PoolChain) -> None:
    task = opened(world, FLAT, [100], pot=0).task
    world.wait(1_000)  # nobody asked all the while
    left = world.read_token("emittable")
    assert left >= 1_000 * EMISSION
    assert refused("BeyondEmission", lambda: grant(world, task, left + 1)).values == {"asked": left + 1, "left": left}
    grant(world, task, left)
    refused("BeyondEmission", lambda: grant(world, task, 1))
    world.wait(1)
    refused("BeyondEmission", lambda: grant(world, task, EMISSION + 1))
    grant(world, task, EMISSION)


@pytest.mark.parametrize("who", [1, 99])
def test_nobody_but_the_owner_grants(world: PoolChain, who: int) -> None:
    task = opened(world, FLAT, [100]).task
    world.wait(100)
    refused("OwnableUnauthorizedAccount", lambda: world.transact(account(who), "grant", task, 1))


def test_the_emission_goes_with_the_ownership_once_it_is_accepted(world: PoolChain) -> None:
    task = opened(world, FLAT, [100]).task
    world.wait(100)
    world.transact(account(0), "transferOwnership", account(5).address)
    refused("OwnableUnauthorizedAccount", lambda: world.transact(account(5), "grant", task, 1))
    refused("OwnableUnauthorizedAccount", lambda: world.transact(account(6), "acceptOwnership"))
    world.transact(account(5), "acceptOwnership")
    refused("OwnableUnauthorizedAccount", lambda: grant(world, task, 1))
    world.transact(account(5), "grant", task, 1)


@pytest.fixture
def nearly_capped() -> Iterator[PoolChain]:
    """100 wei below the cap, which a second of emission fills."""
    world = PoolChain.deployed(3, cap=GENESIS + 100, emission=LL_WEI)
    yield world
    world.chain.close()


def test_the_cap_is_the_last_word(nearly_capped: PoolChain) -> None:
    world = nearly_capped
    task = opened(world, FLAT, [100], pot=0).task
    world.wait(10**6)
    assert world.read_token("emittable") == 100
    refused("BeyondEmission", lambda: grant(world, task, 101))
    grant(world, task, 60)
    grant(world, task, 40)
    world.wait(10**6)
    assert world.read_token("emittable") == 0
    refused("BeyondEmission", lambda: grant(world, task, 1))
    assert world.supply() == GENESIS + 100


@pytest.mark.parametrize(
    ("cap", "emission", "error"),
    [(2**90 + 1, 1, "BadTerms"), (GENESIS - 1, 1, "BeyondCap"), (GENESIS, GENESIS + 1, "BadTerms")],
)
def test_a_schedule_that_could_overflow_is_not_deployed(world: PoolChain, cap: int, emission: int, error: str) -> None:
    second = PoolChain(world.chain)
    refused(error, lambda: second.create_pool(account(0), cap, emission))


def test_a_year_of_the_fastest_schedule_does_not_overflow(world: PoolChain) -> None:
    second = PoolChain(world.chain)
    second.create_pool(account(0), 2**90, 2**90)
    world.wait(366 * 86_400)
    assert second.read_token("emittable") == 2**90 - GENESIS


# ── Who moves it ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def test_pool_and_vault_need_no_approval_and_nobody_else_has_one(world: PoolChain) -> None:
    me = account(1).address
    for spender, allowed in ((world.pool, 2**256 - 1), (world.vault, 2**256 - 1), (world.aspect, 0), (world.token, 0)):
        assert world.read_token("allowance", me, "0x" + spender.hex()) == allowed
    for other in (0, 2):
        assert world.read_token("allowance", me, account(other).address) == 0
        refused(
            "ERC20InsufficientAllowance",
            lambda other=other: send(world, other, "transferFrom", me, account(other).address, 1),
        )


def test_no_call_of_pool_or_vault_moves_anothers_tokens(world: PoolChain) -> None:
    """Every function that anybody may call, by account 3 in every manner: the others keep what they have."""
    round_ = opened(world, FLAT, [100, 100])
    task = round_.task
    round_.submit(1)
    round_.submit(2)
    round_.settle(3)
    rest = {who: balance(world, who) for who in (1, 2, 4, 5)}
    for function, arguments in (("fund", (5,)), ("shareFees", (5,)), ("claim", ())):
        world.transact(account(3), function, task, *arguments)
    for function, arguments in (("lock", (5,)), ("unlock", (5,)), ("mature", ()), ("claim", ())):
        world.transact_vault(account(3), function, task, *arguments)
    world.wait(1_000)
    world.transact_vault(account(3), "withdraw", task)
    world.transact(account(3), "drop", task)
    assert {who: balance(world, who) for who in rest} == rest


def test_a_contract_spends_what_is_its_own_and_not_its_callers(world: PoolChain) -> None:
    task = opened(world, FLAT, [100]).task
    contract = world.create(account(3), relay("CALL"))
    before = balance(world, 3)
    refused(
        "ERC20InsufficientBalance",
        lambda: world.send(account(3), contract, world.pool + POOL.encode_call("fund", task, 5)),
    )
    send(world, 3, "transfer", "0x" + contract.hex(), 5)
    world.send(account(3), contract, world.pool + POOL.encode_call("fund", task, 5))
    assert (balance(world, 3), world.balance(contract)) == (before - 5, 0)


# ── Permit ───────────────────────────────────────────────────────────────────────────────────────────────────────────────


def permit(
    world: PoolChain, owner: int, spender: int, amount: int, deadline: int, *, nonce: int = 0, chain: int | None = None
) -> tuple[object, ...]:
    """Arguments of `permit`, signed by the owner."""
    kinds = ("owner", "address"), ("spender", "address"), ("value", "uint256"), ("nonce", "uint256")
    signed = account(owner).sign_message(
        encode_typed_data(
            full_message={
                "types": {
                    "EIP712Domain": [
                        {"name": "name", "type": "string"},
                        {"name": "version", "type": "string"},
                        {"name": "chainId", "type": "uint256"},
                        {"name": "verifyingContract", "type": "address"},
                    ],
                    "Permit": [{"name": name, "type": kind} for name, kind in (*kinds, ("deadline", "uint256"))],
                },
                "primaryType": "Permit",
                "domain": {
                    "name": "LinkLearner",
                    "version": "1",
                    "chainId": world.chain.config.chain_id if chain is None else chain,
                    "verifyingContract": "0x" + world.token.hex(),
                },
                "message": {
                    "owner": account(owner).address,
                    "spender": account(spender).address,
                    "value": amount,
                    "nonce": nonce,
                    "deadline": deadline,
                },
            }
        )
    )
    places = account(owner).address, account(spender).address
    return (*places, amount, deadline, signed.v, signed.r.to_bytes(32, "big"), signed.s.to_bytes(32, "big"))


def test_a_permit_lets_its_spender_spend_so_much_until_then_and_once(world: PoolChain) -> None:
    me, spender = account(1).address, account(2).address
    arguments = permit(world, 1, 2, 700, world.now + 60)
    send(world, 9, "permit", *arguments)  # anybody hands it in
    assert world.read_token("allowance", me, spender) == 700
    send(world, 2, "transferFrom", me, spender, 700)
    refused("ERC20InsufficientAllowance", lambda: send(world, 2, "transferFrom", me, spender, 1))
    refused("ERC2612InvalidSigner", lambda: send(world, 2, "permit", *arguments))


def test_a_permit_too_late_of_another_chain_or_altered_is_none(world: PoolChain) -> None:
    refused("ERC2612ExpiredSignature", lambda: send(world, 2, "permit", *permit(world, 1, 2, 7, world.now - 1)))
    good = permit(world, 1, 2, 7, world.now)
    for bad in (
        permit(world, 1, 2, 7, world.now, chain=1),
        permit(world, 1, 2, 7, world.now, nonce=1),
        (*good[:2], 8, *good[3:]),
        (good[0], account(3).address, *good[2:]),
        (account(4).address, *good[1:]),
    ):
        refused("ERC2612InvalidSigner", lambda bad=bad: send(world, 2, "permit", *bad))
