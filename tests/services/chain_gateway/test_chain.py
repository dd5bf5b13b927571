"""The adapter to a node: its answers as values, its quirks handled, its refusals as our errors."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import web
from eth_account import Account
from eth_hash.auto import keccak

from bench.proxy import Proxy, posted_to
from devchain import Devchain
from linklearner.chain.contracts import CONTRACTS, POOL, TOKEN, VAULT
from linklearner.chain.profile import ARTELA, ETHEREUM
from linklearner.domain.errors import InvalidConfig, NotFound, Refused, Unavailable
from services.chain_gateway.chain import Call, Chain, NonceRefused, SendResult
from tests.services.chain_gateway.conftest import CONTRIBUTORS, STRICT, World, keystore_of
from tests.services.chain_gateway.quirky_node import QuirkyNode

TARGET = bytes(19) + b"\x77"


async def test_artela_s_surcharge_is_measured_and_taken_off(devchain: Devchain, chain: Chain) -> None:
    sender = devchain.accounts[0].address
    call = Call(TARGET, b"\1" * 100)
    assert chain.profile.envelope_gas == 150_000
    assert await chain.estimate(sender, call) == call.intrinsic_gas() + 150_000
    limit = await chain.gas_limit(sender, call)
    assert call.intrinsic_gas() < limit < 2 * call.intrinsic_gas()


async def test_a_chain_without_the_surcharge_is_recognised(devchain: Devchain, node: QuirkyNode) -> None:
    node.estimate_extra = -150_000  # as any other EVM chain answers
    async with Chain.connect(node.url) as chain:
        assert chain.profile.envelope_gas == 0
        call = Call(TARGET, b"\1" * 100)
        assert await chain.gas_limit(devchain.accounts[0].address, call) >= call.intrinsic_gas()


async def test_a_limit_never_falls_below_what_the_data_cost(devchain: Devchain, node: QuirkyNode, chain: Chain) -> None:
    node.estimate_extra = -60_000
    call = Call(TARGET, b"\1" * 5000)
    assert await chain.gas_limit(devchain.accounts[0].address, call) > call.intrinsic_gas()


async def test_a_plain_transfer_gets_exactly_its_gas(devchain: Devchain, chain: Chain) -> None:
    assert await chain.gas_limit(devchain.accounts[0].address, Call(TARGET, value=1)) == 21_000


async def test_half_of_no_limit_is_charged_for_nothing(world: World) -> None:
    """gasUsed is at least half the limit on Artela: our limits stay below double."""
    async with world.gateway() as gateway:
        await gateway.ledger.submissions.submit("u", world.accounts[0], world.update())
        await gateway.ledger.wallets.unlock("l", world.accounts[1], 1, 1)
        for raw in world.node.raw:
            receipt = await gateway.ledger.chain.receipt(bytes(keccak(raw)))
            assert receipt is not None
            import rlp

            limit = int.from_bytes(rlp.decode(raw[1:])[4], "big")
            assert receipt.gas_used * 2 > limit


async def test_more_gas_than_a_block_holds_is_refused_before_sending(
    devchain: Devchain, node: QuirkyNode, chain: Chain
) -> None:
    sender, call = devchain.accounts[0].address, Call(TARGET, b"\0")
    node.estimate_extra = ARTELA.transaction_gas - call.intrinsic_gas()
    assert await chain.gas_limit(sender, call) == ARTELA.transaction_gas
    node.estimate_extra += 1
    with pytest.raises(Refused) as refused:
        await chain.gas_limit(sender, call)
    assert refused.value.reason == "GasLimitTooHigh"


async def test_raw_transactions_have_at_most_a_mebibyte(chain: Chain, node: QuirkyNode) -> None:
    with pytest.raises(Refused) as refused:
        await chain.send(bytes(ARTELA.transaction_bytes + 1))
    assert refused.value.reason == "TransactionTooLarge"
    assert not node.raw
    with pytest.raises(Refused) as refused:
        await chain.send(bytes(ARTELA.transaction_bytes))  # nonsense, but handed in
    assert refused.value.reason == "NodeRefused"
    assert len(node.raw) == 1


async def test_another_kind_of_node_has_other_limits(node: QuirkyNode) -> None:
    async with Chain.connect(node.url, profile=ETHEREUM) as chain:
        assert chain.profile.envelope_gas == ARTELA.envelope_gas  # measured, whatever the profile says
        with pytest.raises(Refused) as refused:
            await chain.send(bytes(ETHEREUM.transaction_bytes + 1))
        assert refused.value.reason == "TransactionTooLarge"
        assert not node.raw


async def test_logs_are_asked_for_in_ranges_that_a_node_answers(world: World) -> None:
    async with Chain.connect(world.node.url) as chain:
        await chain.logs([world.deployment.pool], 1, ARTELA.log_blocks)
        with pytest.raises(ValueError, match="10000"):
            await chain.logs([world.deployment.pool], 1, ARTELA.log_blocks + 1)
        logs = await chain.logs([world.deployment.pool], 0, await chain.head_number())
        names = [decoded.name for one in logs if (decoded := POOL.decode_log(one.topics, one.data)) is not None]
        assert names[-3:] == ["PotFunded", "PagesLoaded", "ModelUpdated"]
        vault = list(await chain.logs([world.deployment.vault], 0, await chain.head_number()))
        locked = [
            one for one in vault if (told := VAULT.decode_log(one.topics, one.data)) and told.name == "StakeLocked"
        ]
        assert len(locked) == CONTRIBUTORS
        both = await chain.logs([world.deployment.pool, world.deployment.vault], 0, await chain.head_number())
        assert both == sorted(logs + vault, key=lambda one: (one.block_number, one.index))


async def test_more_logs_than_a_node_tells_at_once_are_asked_for_in_parts(world: World) -> None:
    async with Chain.connect(world.node.url) as chain:
        head = await chain.head_number()
        whole = await chain.logs([world.deployment.pool], 0, head)
        before = world.node.calls["eth_getLogs"]
        world.node.log_limit = 2
        assert await chain.logs([world.deployment.pool], 0, head) == whole
        assert world.node.calls["eth_getLogs"] > before + 4
        world.node.log_limit = 0  # not even one block's
        with pytest.raises(Refused):
            await chain.logs([world.deployment.pool], 0, head)


@pytest.mark.parametrize("kind", ["legacy", "access list", "fee cap"])
async def test_a_signed_transaction_is_told_byte_for_byte(devchain: Devchain, chain: Chain, kind: str) -> None:
    sender = devchain.accounts[0].address
    fields: dict[str, object] = {
        "chainId": chain.chain_id, "nonce": 0, "gas": 60_000, "value": 5, "data": b"\1\0", "to": "0x" + "00" * 19 + "77",
    }  # fmt: skip
    access = [{"address": "0x" + "00" * 19 + "77", "storageKeys": ["0x" + "00" * 31 + "09"]}]
    fields |= {
        "legacy": {"gasPrice": 100},
        "access list": {"type": 1, "gasPrice": 100, "accessList": access},
        "fee cap": {"type": 2, "maxFeePerGas": 100, "maxPriorityFeePerGas": 1, "accessList": access},
    }[kind]
    raw = keystore_of(devchain, 0).sign_transaction(sender, fields)
    assert await chain.send(raw) is SendResult.ACCEPTED
    assert await chain.send(raw) is SendResult.ALREADY_KNOWN
    transaction_hash = bytes(keccak(raw))
    mined = await chain.transaction(transaction_hash)
    assert (mined.sender, mined.call.data, mined.length, mined.block_number) == (sender, b"\1\0", len(raw), 1)
    assert await chain.raw_transaction(transaction_hash) == raw
    receipt = await chain.receipt(transaction_hash)
    assert receipt is not None and receipt.succeeded and receipt.block_number == 1


async def test_a_nonce_that_is_not_the_next_one_is_refused(devchain: Devchain, chain: Chain) -> None:
    raw = keystore_of(devchain, 0).sign_transaction(
        devchain.accounts[0].address,
        {"chainId": chain.chain_id, "nonce": 3, "gas": 21_000, "gasPrice": 100, "value": 0, "data": b"", "to": "0x" + "00" * 20},
    )  # fmt: skip
    with pytest.raises(NonceRefused, match="expected 0"):
        await chain.send(raw)


async def test_what_is_not_there_is_not_found(chain: Chain) -> None:
    assert await chain.receipt(b"\1" * 32) is None
    for asked in (
        chain.transaction(b"\1" * 32),
        chain.raw_transaction(b"\1" * 32),
        chain.block_hash(10**9),
        chain.balance(TARGET, 10**9),
    ):
        with pytest.raises(NotFound):
            await asked


@pytest.mark.parametrize("answer", [b"<html>", b"[]", b"{}", b"null", b'{"jsonrpc": "2.0", "id": 1}'])
async def test_what_is_no_node_is_unavailable(answer: bytes) -> None:
    async def handle(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=answer, content_type="application/json")

    async with posted_to(handle) as url:
        with pytest.raises(Unavailable):
            async with Chain.connect(url):
                pass


async def test_a_url_that_holds_a_secret_is_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(Unavailable) as error:
        async with Chain.connect("http://user:hunter2@127.0.0.1:9/v3/apikey?token=abc"):
            pass
    told = str(error.value) + str(error.value.facts)
    assert "127.0.0.1:9" in told
    assert not any(secret in told for secret in ("hunter2", "apikey", "abc"))


async def test_a_slow_node_is_given_up(devchain: Devchain) -> None:
    async def handle(request: web.Request) -> web.Response:
        await asyncio.sleep(5)
        return web.Response()

    async with posted_to(handle) as url:
        with pytest.raises(Unavailable):
            async with Chain.connect(url, timeout_s=0.1):
                pass


async def test_custom_errors_of_every_contract_are_decoded(world: World) -> None:
    async with Chain.connect(world.devchain.url, CONTRACTS) as chain:
        with pytest.raises(Refused) as refused:
            await chain.call(world.deployment.pool, POOL.encode_call("taskOf", 77))
        assert (refused.value.reason, refused.value.facts) == ("UnknownTask", {"task": "77"})
        with pytest.raises(Refused) as refused:
            await chain.call(world.deployment.token, TOKEN.encode_call("transfer", TARGET, 5))
        assert (refused.value.reason, refused.value.facts["needed"]) == ("ERC20InsufficientBalance", "5")


async def test_calls_that_are_cancelled_leave_the_others_alone(chain: Chain) -> None:
    """web3's own session cache would stay locked for ever."""
    for rest in range(40):
        calls = [asyncio.create_task(chain.head_number()) for _ in range(8)]
        for _ in range(rest % 5):
            await asyncio.sleep(0)
        for call in calls[::2]:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
    async with asyncio.timeout(5):
        assert await chain.head_number() == 0


async def test_a_node_that_cannot_estimate_is_asked_with_more_and_less_gas(world: World) -> None:
    account = world.accounts[1]
    async with world.gateway() as gateway:
        ledger = gateway.ledger
        call = await ledger.submissions.call(world.update())
        estimated = await ledger.chain.estimate(account, call)
        world.node.fail_estimates = True
        searched = await ledger.chain._searched(account, call)
        assert estimated <= searched <= estimated + estimated // 16
        await ledger.submissions.submit("u", account, world.update())
        with pytest.raises(Refused) as refused:
            await ledger.submissions.submit("v", account, world.update(seed=1))
        assert refused.value.reason == "AlreadySubmitted"  # a real refusal keeps its name
        async with Chain.connect(world.node.url) as chain:
            assert chain.profile.envelope_gas == 150_000


async def test_a_chain_that_cannot_estimate_and_has_no_surcharge_is_recognised(
    devchain: Devchain, node: QuirkyNode
) -> None:
    node.fail_estimates = node.cheap_questions = True
    async with Chain.connect(node.url) as chain:
        assert chain.profile.envelope_gas == 0


async def test_a_gateway_goes_on_with_another_url_where_one_fails(world: World) -> None:
    async with QuirkyNode.start(world.devchain.url) as second:
        async with world.gateway(rpc_url=f"{world.node.url},{second.url}") as gateway:
            await gateway.ledger.submissions.submit("one", world.accounts[0], world.update())
            world.node.down = True
            await gateway.ledger.submissions.submit("two", world.accounts[1], world.update(seed=1))
            await gateway.ledger.settlements.settle("settle", world.accounts[0], 1, 1)
            assert second.calls["eth_sendRawTransaction"] >= 2
            second.down, world.node.down = True, False
            assert (await gateway.ledger.tasks.task(1)).version == 2
        assert sorted(map(len, (world.node.raw, second.raw)))[0] >= 1


async def test_urls_of_two_chains_are_refused_at_the_start(world: World) -> None:
    async with Devchain.start(config=STRICT) as stranger:
        async with Chain.connect(stranger.url) as other, Chain.connect(world.devchain.url) as ours:
            assert other.chain_id == ours.chain_id
            sender = stranger.accounts[0]
            signed = Account.from_key(sender.key).sign_transaction(
                {
                    "nonce": 0,
                    "gas": 21_000,
                    "gasPrice": 10**9,
                    "to": "0x" + TARGET.hex(),
                    "value": 1,
                    "chainId": other.chain_id,
                }
            )
            await other.send(bytes(signed.raw_transaction))
            assert await other.block_hash(1) != await ours.block_hash(1)
        with pytest.raises(InvalidConfig, match="another chain"):
            async with Chain.connect(f"{world.node.url},{stranger.url}"):
                pass


async def test_a_question_survives_one_lost_call_and_a_transaction_is_handed_in_once(
    chain: Chain, node: QuirkyNode, devchain: Devchain
) -> None:
    node.lose_answers = 1
    signed = Account.from_key(devchain.accounts[0].key).sign_transaction(
        {"nonce": 0, "gas": 21_000, "gasPrice": 10**9, "to": "0x" + TARGET.hex(), "value": 1, "chainId": chain.chain_id}
    )
    with pytest.raises(Unavailable):
        await chain.send(bytes(signed.raw_transaction))
    assert len(node.raw) == 1  # it landed, and nobody below the outbox sent it again


@pytest.mark.parametrize("loss", [0.1, 0.3])
async def test_every_question_is_answered_behind_a_proxy_that_loses_calls(devchain: Devchain, loss: float) -> None:
    async with Proxy.start(devchain.url, loss=loss, seed=5) as proxy, Chain.connect(proxy.url) as chain:
        for _ in range(60):
            assert await chain.balance(devchain.accounts[0].address) > 0
        assert sum(proxy.lost.values()) > 3
