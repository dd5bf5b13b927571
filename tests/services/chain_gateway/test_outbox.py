"""No request is lost, none is paid twice: over a real chain behind a proxy with the habits of an Artela node."""

import asyncio
import sqlite3
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import rlp
import structlog
from structlog.testing import capture_logs

from devchain import Devchain
from linklearner.domain.errors import (
    InvalidConfig,
    InvalidInput,
    NotFound,
    Refused,
    RequestIdReused,
    TimedOut,
    Unavailable,
)
from services.chain_gateway.chain import Call, Chain
from services.chain_gateway.outbox import Outbox, Outcome, Patience, Prepare, Request, State, always
from services.chain_gateway.outbox.delivery import Troubles
from tests.services.chain_gateway.conftest import HURRY, keystore_of
from tests.services.chain_gateway.quirky_node import QuirkyNode

TARGET = bytes.fromhex("00000000000000000000000000000000000beef1")


def transfer(request_id: str, account: bytes, amount: int = 1) -> tuple[Request, Prepare]:
    """Sends `amount` wei to TARGET; what arrives there counts how often that happened."""

    async def prepare() -> Call:
        return Call(TARGET, b"", amount)

    return Request(request_id=request_id, account=account, kind="coin", contents=str(amount).encode()), prepare


async def send(
    outbox: Outbox, devchain: Devchain, request_id: str = "r", *, account: int = 0, amount: int = 1
) -> Outcome:
    return await outbox.fulfil(*transfer(request_id, devchain.accounts[account].address, amount))


async def test_a_request_ends_in_one_transaction_however_often_it_is_repeated(
    outbox: Outbox, chain: Chain, devchain: Devchain
) -> None:
    first = await send(outbox, devchain)
    again = await asyncio.gather(*(send(outbox, devchain) for _ in range(5)))
    assert again == [first] * 5
    assert first.receipt.succeeded
    assert await chain.balance(TARGET) == 1
    assert outbox.state("r") is State.MINED


async def test_repeating_at_the_same_moment_sends_once(outbox: Outbox, chain: Chain, devchain: Devchain) -> None:
    outcomes = await asyncio.gather(*(send(outbox, devchain) for _ in range(8)))
    assert len({outcome.receipt.transaction_hash for outcome in outcomes}) == 1
    assert await chain.balance(TARGET) == 1


async def test_many_requests_of_one_account_land_one_after_another(
    outbox: Outbox, chain: Chain, devchain: Devchain
) -> None:
    await asyncio.gather(*(send(outbox, devchain, f"r{n}") for n in range(20)))
    assert await chain.balance(TARGET) == 20
    assert await chain.nonce(devchain.accounts[0].address) == 20


async def test_a_request_id_stands_for_one_request(outbox: Outbox, devchain: Devchain, chain: Chain) -> None:
    await send(outbox, devchain, amount=1)
    with pytest.raises(RequestIdReused):
        await send(outbox, devchain, amount=2)
    with pytest.raises(RequestIdReused):
        await send(outbox, devchain, account=1, amount=1)
    assert await chain.balance(TARGET) == 1


@pytest.mark.parametrize("length", [1, 192])
def test_request_ids_of_1_to_192_characters_are_taken(length: int) -> None:
    Request(request_id="r" * length, account=bytes(20), kind="", contents=b"")


@pytest.mark.parametrize("length", [0, 193])
def test_other_request_ids_are_refused(length: int) -> None:
    with pytest.raises(InvalidInput):
        Request(request_id="r" * length, account=bytes(20), kind="", contents=b"")


async def test_an_account_without_a_key_is_not_found(outbox: Outbox) -> None:
    with pytest.raises(NotFound, match="no key"):
        await outbox.fulfil(*transfer("r", b"\7" * 20))
    assert outbox.state("r") is None


async def test_what_the_chain_refuses_is_never_sent_and_may_be_tried_again(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain
) -> None:
    poor = 10**30
    with pytest.raises(Refused) as refused:
        await send(outbox, devchain, amount=poor)
    assert refused.value.reason == "InsufficientFunds"
    assert outbox.state("r") is State.REFUSED
    assert not node.raw
    with pytest.raises(Refused):
        await send(outbox, devchain, amount=poor)
    assert (await send(outbox, devchain, "next")).receipt.succeeded  # its nonce was not used up


async def test_a_refusal_at_sending_frees_the_nonce(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.refuse_sends = 1
    with pytest.raises(Refused) as refused:
        await send(outbox, devchain)
    assert refused.value.reason == "NodeRefused"
    await send(outbox, devchain, "next")
    assert (await send(outbox, devchain)).receipt.succeeded
    assert await chain.balance(TARGET) == 2


async def test_a_transaction_that_fails_in_its_block_is_final_and_says_why(
    outbox: Outbox, devchain: Devchain, chain: Chain
) -> None:
    # creation code that reverts with Error("Late: too late")
    text = b"Late: too late"
    payload = (
        bytes.fromhex("08c379a0") + (32).to_bytes(32, "big") + len(text).to_bytes(32, "big") + text.ljust(32, b"\0")
    )
    code = bytes([0x60, len(payload), 0x60, 12, 0x60, 0, 0x39, 0x60, len(payload), 0x60, 0, 0xFD]) + payload

    async def prepare() -> Call:
        return Call(None, code, gas_limit=200_000)  # sent without asking

    request = Request(request_id="r", account=devchain.accounts[0].address, kind="create", contents=b"")
    for _ in range(2):
        with pytest.raises(Refused) as refused:
            await outbox.fulfil(request, prepare)
        assert refused.value.reason == "Late"
        assert refused.value.facts["gas_used"] == "100000"  # half the limit at least
    assert outbox.state("r") is State.FAILED
    assert await chain.nonce(devchain.accounts[0].address) == 1


async def test_known_means_look_for_the_receipt(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.lose_answers = 1  # it arrives, the answer does not; the repetition is answered "already in mempool"
    assert (await send(outbox, devchain)).receipt.succeeded
    assert node.raw[0] == node.raw[1]
    assert await chain.balance(TARGET) == 1


async def test_a_broken_connection_sends_the_same_bytes_again(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.break_sends = 3
    await send(outbox, devchain)
    assert len(node.raw) == 4
    assert len(set(node.raw)) == 1
    assert await chain.balance(TARGET) == 1


async def test_an_unheard_of_refusal_of_what_did_arrive_is_no_refusal(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    account = devchain.accounts[0].address
    node.lose_answers = 1
    sending = asyncio.create_task(send(outbox, devchain))
    while not node.raw:
        await asyncio.sleep(0.005)
    node.refuse_sends = 1
    assert (await sending).receipt.succeeded
    assert await chain.nonce(account) == 1


async def test_a_lost_transaction_is_signed_anew_at_the_same_nonce(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.swallow = 2
    await send(outbox, devchain)
    assert len(set(node.raw)) == 3  # other bytes each time: the same would be "already in mempool"
    assert await chain.nonce(devchain.accounts[0].address) == 1
    assert await chain.balance(TARGET) == 1


async def test_what_waits_behind_a_lost_transaction_lands_too(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.swallow = 1
    await asyncio.gather(*(send(outbox, devchain, f"r{n}") for n in range(4)))
    assert await chain.balance(TARGET) == 4


async def test_a_used_nonce_without_a_receipt_means_failed(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain
) -> None:
    node.panic = 1
    with pytest.raises(Refused) as refused:
        await send(outbox, devchain)
    assert refused.value.reason == "NoReceipt"
    assert outbox.state("r") is State.FAILED
    sent = len(node.raw)
    with pytest.raises(Refused):
        await send(outbox, devchain)
    assert len(node.raw) == sent  # final: nothing more is sent under this request_id
    assert (await send(outbox, devchain, "next")).receipt.succeeded


async def test_a_receipt_that_is_late_is_waited_for(outbox: Outbox, node: QuirkyNode, devchain: Devchain) -> None:
    node.hide_receipts = 4
    assert (await send(outbox, devchain)).receipt.succeeded
    assert len(node.raw) == 1


async def test_a_foreign_user_of_the_key_costs_no_request(outbox: Outbox, chain: Chain, devchain: Devchain) -> None:
    keystore, account = keystore_of(devchain), devchain.accounts[0].address
    async with Chain.connect(devchain.url) as other:
        real = chain.nonce

        async def stale(who: bytes, *, pending: bool = False) -> int:
            answer = await real(who, pending=pending)
            if pending and not raced:
                raced.append(answer)
                await other.send(signed(keystore, account, answer, other.chain_id))
            return answer

        raced: list[int] = []
        chain.nonce = stale  # type: ignore[method-assign]  # the other program sends between our question and our sending
        await send(outbox, devchain)
    assert raced == [0]
    assert await real(account) == 2


def signed(keystore: Any, account: bytes, nonce: int, chain_id: int) -> bytes:
    return bytes(
        keystore.sign_transaction(
            account,
            {
                "chainId": chain_id,
                "nonce": nonce,
                "gas": 21_000,
                "gasPrice": 100,
                "to": "0x" + "00" * 19 + "01",
                "value": 0,
                "data": b"",
            },
        )
    )


async def test_an_unreachable_chain_is_reported_at_once_and_nothing_is_signed(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain
) -> None:
    node.down = True
    with pytest.raises(Unavailable, match="503"):
        await send(outbox, devchain)
    assert outbox.state("r") is State.PLANNED
    node.down = False
    assert (await send(outbox, devchain)).receipt.succeeded


async def test_a_chain_that_goes_away_while_we_wait_is_waited_for(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.hide_receipts = 10_000
    sending = asyncio.create_task(send(outbox, devchain))
    while node.calls["eth_getTransactionReceipt"] < 2:
        await asyncio.sleep(0.005)
    node.down = True
    await asyncio.sleep(0.3)
    node.down, node.hide_receipts = False, 0
    assert (await sending).receipt.succeeded
    assert await chain.balance(TARGET) == 1


async def test_a_node_that_will_not_tell_does_not_make_us_give_up(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    """A Refused now would have the caller send it again under another name."""
    node.hide_receipts = 10_000
    sending = asyncio.create_task(send(outbox, devchain))
    while not node.raw:
        await asyncio.sleep(0.005)
    for method in ("eth_getTransactionCount", "eth_blockNumber", "eth_getTransactionReceipt"):
        node.fail_methods = {method}
        await asyncio.sleep(0.15)
        assert not sending.done()
    node.fail_methods, node.hide_receipts = set(), 0
    assert (await sending).receipt.succeeded
    assert await chain.balance(TARGET) == 1


async def test_patience_with_an_unreachable_chain_ends_as_unavailable(
    tmp_path: Path, chain: Chain, node: QuirkyNode, devchain: Devchain
) -> None:
    patience = Patience(receipt_s=0.5, retry_s=0.05, longest_poll_s=0.02)
    async with Outbox.open(tmp_path / "outbox", chain, keystore_of(devchain), patience) as outbox:
        node.break_sends = 10_000
        with pytest.raises(Unavailable):
            await send(outbox, devchain)
        assert outbox.state("r") is State.SIGNED
        node.break_sends = 0
        assert (await send(outbox, devchain)).receipt.succeeded
    assert await chain.balance(TARGET) == 1


async def test_patience_ends_with_the_caller_not_with_the_request(
    tmp_path: Path, chain: Chain, node: QuirkyNode, devchain: Devchain
) -> None:
    patience = Patience(receipt_s=0.3, longest_poll_s=0.02)
    async with Outbox.open(tmp_path / "outbox", chain, keystore_of(devchain), patience) as outbox:
        node.hide_receipts = 10_000
        with pytest.raises(TimedOut) as timed_out:
            await send(outbox, devchain)
        assert timed_out.value.facts["transaction"].startswith("0x")
        node.hide_receipts = 0
        assert (await send(outbox, devchain)).receipt.succeeded
    assert len(node.raw) == 1


@pytest.mark.parametrize("arrived", [False, True])
async def test_a_signed_transaction_survives_its_process(
    tmp_path: Path, chain: Chain, node: QuirkyNode, devchain: Devchain, arrived: bool
) -> None:
    """The process ends after signing, before (or after) the node took the transaction."""
    path = tmp_path / "outbox"
    async with Outbox.open(path, chain, keystore_of(devchain), HURRY) as outbox:
        if arrived:
            node.lose_answers = 1
        else:
            node.break_sends = 10_000
        sending = asyncio.create_task(send(outbox, devchain))
        while not node.raw:
            await asyncio.sleep(0.005)
        sending.cancel()
    node.break_sends = 0
    async with Outbox.open(path, chain, keystore_of(devchain), HURRY) as outbox:
        assert (await send(outbox, devchain)).receipt.succeeded
    assert len(set(node.raw)) == 1
    assert await chain.balance(TARGET) == 1


async def test_what_was_signed_is_sent_after_a_restart_even_if_nobody_asks_again(
    tmp_path: Path, chain: Chain, node: QuirkyNode, devchain: Devchain
) -> None:
    path = tmp_path / "outbox"
    async with Outbox.open(path, chain, keystore_of(devchain), HURRY) as outbox:
        node.break_sends = 10_000
        sending = [asyncio.create_task(send(outbox, devchain, f"r{n}", account=n)) for n in range(2)]
        while len(node.raw) < 2:
            await asyncio.sleep(0.005)
        for task in sending:
            task.cancel()
    node.break_sends = 0
    async with Outbox.open(path, chain, keystore_of(devchain), HURRY) as outbox:
        while outbox.state("r0") is not State.MINED or outbox.state("r1") is not State.MINED:
            await asyncio.sleep(0.01)
    assert await chain.balance(TARGET) == 2


async def test_a_nonce_that_somebody_else_used_meanwhile_is_replaced_after_a_restart(
    tmp_path: Path, chain: Chain, node: QuirkyNode, devchain: Devchain
) -> None:
    path, keystore, account = tmp_path / "outbox", keystore_of(devchain), devchain.accounts[0].address
    async with Outbox.open(path, chain, keystore, HURRY) as outbox:
        node.break_sends = 10_000
        sending = asyncio.create_task(send(outbox, devchain))
        while not node.raw:
            await asyncio.sleep(0.005)
        sending.cancel()
    node.break_sends = 0
    async with Chain.connect(devchain.url) as other:
        await other.send(signed(keystore, account, 0, chain.chain_id))
    async with Outbox.open(path, chain, keystore, HURRY) as outbox:
        assert (
            await send(outbox, devchain)
        ).receipt.succeeded  # a block is seen to hold the other program's transaction
        assert (await send(outbox, devchain, "new request")).receipt.succeeded
    assert await chain.balance(TARGET) == 2
    assert await chain.nonce(account) == 3


async def test_two_processes_do_not_share_an_outbox(tmp_path: Path, chain: Chain, devchain: Devchain) -> None:
    path = tmp_path / "outbox"
    async with Outbox.open(path, chain, keystore_of(devchain)):
        with pytest.raises(InvalidConfig, match="another process"):
            async with Outbox.open(path, chain, keystore_of(devchain)):
                pass


async def test_an_outbox_stays_with_its_chain(tmp_path: Path, chain: Chain, devchain: Devchain) -> None:
    path = tmp_path / "outbox"
    async with Outbox.open(path, chain, keystore_of(devchain)):
        pass
    async with Devchain.start() as another, Chain.connect(another.url) as elsewhere:
        with pytest.raises(InvalidConfig, match="another chain"):
            async with Outbox.open(path, elsewhere, keystore_of(devchain)):
                pass


async def test_a_file_that_is_no_outbox_is_refused(tmp_path: Path, chain: Chain, devchain: Devchain) -> None:
    path = tmp_path / "outbox"
    path.write_text("something else " * 100)
    with pytest.raises(InvalidConfig, match="no outbox"):
        async with Outbox.open(path, chain, keystore_of(devchain)):
            pass


async def test_the_outbox_is_readable_by_its_owner_alone(tmp_path: Path, chain: Chain, devchain: Devchain) -> None:
    async with Outbox.open(tmp_path / "outbox", chain, keystore_of(devchain)):
        assert (tmp_path / "outbox").stat().st_mode & 0o777 == 0o600


LIES = {
    "nonce": "invalid nonce; got 0, expected 1: invalid sequence",
    "funds": "sender balance < tx cost (9 < 10): insufficient funds: insufficient funds",
    "fee": "max fee per gas less than block base fee (0 < 7): insufficient fee: insufficient fee",
    "gas": "tx gas (25000000) exceeds block gas limit (20000000): out of gas: out of gas",
    "cap": "tx fee (1.90 art) exceeds the configured cap (1.00 art)",
    "unheard": "codespace sdk code 38: something new",
    "gone": "block not found",
    "full": "mempool is full: number of txs 5000",
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("stale", [0, 1, 2, 5], ids=lambda n: f"{n} stale nonces")
async def test_what_arrived_is_paid_once_whatever_was_answered(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain, lie: str, stale: int
) -> None:
    """A node that takes the transaction and says no, at first and at repetitions, while backends that are behind show old nonces."""
    await send(outbox, devchain, "before", amount=1000)
    node.lie_about_sends = [(True, LIES[lie])] * 3
    node.stale_nonces = 0 if stale == 0 else stale + 1  # one is asked before signing
    async with asyncio.timeout(60):
        while True:
            try:
                outcome = await send(outbox, devchain)
                break
            except (Refused, Unavailable):
                assert outbox.state("r") is not State.REFUSED  # its bytes are out
    assert outcome.receipt.succeeded
    assert await chain.balance(TARGET) == 1001
    assert outbox.state("r") is State.MINED
    node.lie_about_sends.clear()
    assert (await send(outbox, devchain, "after", amount=5)).receipt.succeeded
    assert await chain.balance(TARGET) == 1006


@pytest.mark.parametrize("lie", ["nonce", "funds", "fee", "unheard"])
async def test_what_did_not_arrive_is_repeated_at_the_same_nonce(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain, lie: str
) -> None:
    node.lie_about_sends = [(False, LIES[lie])] * 4
    async with asyncio.timeout(60):
        while True:
            try:
                await send(outbox, devchain)
                break
            except Refused as refused:
                assert outbox.state("r") is State.HELD
                assert refused.facts["nonce"] == "0"
                assert "repeat the same request_id" in refused.message
    assert await chain.balance(TARGET) == 1
    assert await chain.nonce(devchain.accounts[0].address) == 1


async def test_the_next_request_takes_the_nonce_of_one_that_was_refused_and_that_one_goes_on_behind_it(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    """Both hope for one nonce; equal calls, and yet different transactions."""
    node.lie_about_sends = [(False, LIES["funds"])]
    with pytest.raises(Refused):
        await send(outbox, devchain)
    next_one = await send(outbox, devchain, "next")
    assert len(set(node.raw)) == 2
    assert outbox.state("r") is State.REFUSED  # proven by the other's receipt
    first = await send(outbox, devchain)
    assert first.receipt.transaction_hash != next_one.receipt.transaction_hash
    assert await chain.balance(TARGET) == 2


async def test_a_refused_one_that_landed_all_the_same_sends_the_next_request_on(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.lie_about_sends = [(True, LIES["funds"])]
    node.stale_nonces = 3
    with pytest.raises(Refused):
        node.hide_receipts = 1
        await send(outbox, devchain)
    assert outbox.state("r") is State.HELD
    assert (await send(outbox, devchain, "next")).receipt.succeeded
    assert (await send(outbox, devchain)).receipt.succeeded
    assert await chain.balance(TARGET) == 2
    assert await chain.nonce(devchain.accounts[0].address) == 2


async def test_a_hole_below_waiting_requests_is_filled(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    """The lower one is refused after a restart and its caller never comes back; the higher one lands all the same."""
    path = tmp_path / "outbox"
    async with Outbox.open(path, chain, keystore_of(devchain), HURRY) as outbox:
        node.swallow = 1
        first = asyncio.create_task(send(outbox, devchain, "first"))
        while outbox.state("first") is not State.SENT:
            await asyncio.sleep(0.005)
        node.lie_about_sends = [(False, LIES["nonce"])] * 1000
        second = asyncio.create_task(send(outbox, devchain, "second", amount=2))
        while outbox.state("second") is not State.SIGNED:
            await asyncio.sleep(0.005)
        for task in (first, second):
            task.cancel()
    sent = len(node.raw)
    node.lie_about_sends = [(False, LIES["funds"])]
    async with Outbox.open(path, chain, keystore_of(devchain), HURRY) as outbox:
        async with asyncio.timeout(60):
            while outbox.state("second") is not State.MINED:
                await asyncio.sleep(0.01)
            while outbox.state("first") not in (State.HELD, State.REFUSED, State.MINED):  # written a moment later
                await asyncio.sleep(0.01)
        assert len(node.raw) > sent
    assert await chain.balance(TARGET) in (2, 3)


async def test_a_transaction_that_breaks_every_connection_blocks_nobody(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.break_sends = 10_000
    poison = asyncio.create_task(send(outbox, devchain, "poison"))
    while not node.raw:
        await asyncio.sleep(0.005)
    other = asyncio.create_task(send(outbox, devchain, "other", amount=2))
    with pytest.raises(Unavailable, match="not this transaction"):
        await poison
    node.break_sends = 0
    await other
    assert await chain.balance(TARGET) == 2
    await send(outbox, devchain, "poison")
    assert await chain.balance(TARGET) == 3


async def test_a_receipt_that_comes_after_we_gave_up_is_believed(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    node.hide_receipts = 10_000
    with pytest.raises(Refused) as refused:
        await send(outbox, devchain)
    assert refused.value.reason == "NoReceipt"
    assert outbox.state("r") is State.FAILED
    node.hide_receipts = 0
    assert (await send(outbox, devchain)).receipt.succeeded
    assert await chain.balance(TARGET) == 1


async def test_a_full_disk_is_waited_for(outbox: Outbox, devchain: Devchain, chain: Chain) -> None:
    """At whichever write it is noticed, nothing is lost and nothing is sent twice."""
    connection = outbox._store._connection
    [pages] = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count = {pages}")
    refused = 0
    for number in range(200):
        sending = asyncio.create_task(send(outbox, devchain, f"r{number}"))
        await asyncio.wait({sending}, timeout=2.0)
        if sending.done() and not sending.exception():
            continue
        refused += 1
        connection.execute("PRAGMA max_page_count = 1000000")
        if sending.done():
            assert isinstance(sending.exception(), Unavailable)
            await send(outbox, devchain, f"r{number}")
        else:
            await sending
        break
    assert refused
    assert await chain.balance(TARGET) == number + 1


@pytest.mark.parametrize("field", ["eth_gasPrice", "baseFeePerGas"])
async def test_the_node_s_price_is_believed_up_to_a_limit(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain, field: str
) -> None:
    limit = asked = 10**10

    def dear(method: str, result: Any) -> Any:
        if method == field == "eth_gasPrice":
            return hex(asked)
        if method == "eth_getBlockByNumber" and field == "baseFeePerGas":
            return result | {"baseFeePerGas": hex(asked)}
        return result

    node.alter = dear
    async with Outbox.open(tmp_path / "outbox", chain, keystore_of(devchain), HURRY, max_gas_price=limit) as outbox:
        asked = limit + 1
        with pytest.raises(Refused, match="MAX_GAS_PRICE_GWEI") as refused:
            await send(outbox, devchain)
        assert refused.value.reason == "GasPriceTooHigh"
        assert not node.raw
        asked = limit
        assert (await send(outbox, devchain)).receipt.succeeded
    assert max(_max_fee(raw) for raw in node.raw) == limit


def _max_fee(raw: bytes) -> int:
    fields: list[bytes] = rlp.decode(raw[1:])
    return int.from_bytes(fields[3], "big")


async def test_no_other_step_can_be_written(outbox: Outbox, devchain: Devchain) -> None:
    await send(outbox, devchain)
    connection = outbox._store._connection
    for state in State:
        if state is not State.MINED:
            with pytest.raises(sqlite3.IntegrityError, match="no such step"):
                connection.execute("UPDATE request SET state = ? WHERE request_id = 'r'", (state.value,))
    with pytest.raises(RuntimeError, match="no step"):
        outbox._store.taken("r")


async def hold(outbox: Outbox, node: QuirkyNode, devchain: Devchain, *, taken: bool) -> None:
    """Request "r" is refused at sending and held; taken: the node has it all the same, and shows it to nobody yet."""
    node.lie_about_sends = [(taken, LIES["funds"])]
    node.stale_nonces = 3
    node.hide_receipts = 1
    with pytest.raises(Refused):
        await send(outbox, devchain)
    assert outbox.state("r") is State.HELD
    node.stale_nonces = node.hide_receipts = 0


async def until(outbox: Outbox, state: State) -> None:
    async with asyncio.timeout(30):
        while outbox.state("r") is not state:
            await asyncio.sleep(0.01)


REVIEWED = replace(HURRY, review_s=0.1)


async def test_a_held_request_that_landed_unseen_is_found_at_the_next_start(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    path = tmp_path / "outbox"
    async with Outbox.open(path, chain, keystore_of(devchain), replace(HURRY, review_s=3600.0)) as outbox:
        await asyncio.sleep(0.05)  # its first look is over
        await hold(outbox, node, devchain, taken=True)
    sent = len(node.raw)
    async with Outbox.open(path, chain, keystore_of(devchain), replace(HURRY, review_s=3600.0)) as outbox:
        await until(outbox, State.MINED)  # though nobody has asked again
    assert len(node.raw) == sent
    assert await chain.balance(TARGET) == 1


async def test_a_held_request_that_lands_unseen_is_found_while_we_run(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    async with Outbox.open(tmp_path / "outbox", chain, keystore_of(devchain), REVIEWED) as outbox:
        await hold(outbox, node, devchain, taken=True)
        await until(outbox, State.MINED)
        assert (await send(outbox, devchain)).receipt.succeeded
    assert await chain.balance(TARGET) == 1


async def test_a_held_request_whose_nonce_another_program_used_is_free_again_without_being_asked(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    keystore, account = keystore_of(devchain), devchain.accounts[0].address
    async with Outbox.open(tmp_path / "outbox", chain, keystore, REVIEWED) as outbox:
        await hold(outbox, node, devchain, taken=False)
        await asyncio.sleep(0.3)
        assert outbox.state("r") is State.HELD  # without a proof it stays
        async with Chain.connect(devchain.url) as other:
            await other.send(signed(keystore, account, 0, chain.chain_id))
        await until(outbox, State.REFUSED)
        assert (await send(outbox, devchain)).receipt.succeeded
    assert await chain.balance(TARGET) == 1


async def test_a_request_that_was_given_up_is_found_when_its_receipt_is_shown(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    async with Outbox.open(tmp_path / "outbox", chain, keystore_of(devchain), REVIEWED) as outbox:
        node.hide_receipts = 10_000
        with pytest.raises(Refused, match="no receipt"):
            await send(outbox, devchain)
        node.hide_receipts = 0
        await until(outbox, State.MINED)


async def test_a_node_that_answers_nothing_of_one_held_request_shows_the_others(
    tmp_path: Path, node: QuirkyNode, devchain: Devchain, chain: Chain
) -> None:
    async with Outbox.open(
        tmp_path / "outbox", chain, keystore_of(devchain), replace(HURRY, review_s=3600.0)
    ) as outbox:
        await asyncio.sleep(0.05)
        node.lie_about_sends = [(False, LIES["funds"])]
        with pytest.raises(Refused):
            await send(outbox, devchain, "first", account=1)
        await hold(outbox, node, devchain, taken=True)
        real, [poison] = chain.receipt, outbox._store.hashes("first")

        async def receipt(transaction_hash: bytes) -> Any:
            if transaction_hash == poison:
                raise Unavailable("cut")
            return await real(transaction_hash)

        chain.receipt = receipt  # type: ignore[method-assign]
        await outbox._evidence.review()
        assert (outbox.state("first"), outbox.state("r")) == (State.HELD, State.MINED)


async def test_a_held_request_with_a_computed_gas_limit_is_handed_in_again_as_it_is(
    outbox: Outbox, node: QuirkyNode, devchain: Devchain
) -> None:
    """The computed limit does not travel, so it is no reason to sign anew."""
    request, _ = transfer("r", devchain.accounts[0].address)
    prepare = always(Call(TARGET, value=1, known_gas=21_000))
    node.lie_about_sends = [(False, LIES["funds"])]
    with pytest.raises(Refused):
        await outbox.fulfil(request, prepare)
    assert (await outbox.fulfil(request, prepare)).receipt.succeeded
    assert len(node.raw) == 2 and len(set(node.raw)) == 1


async def test_one_trouble_is_one_line_in_the_log_however_many_wait() -> None:
    structlog.reset_defaults()  # warnings, too
    troubles = Troubles(retry_s=0.0)
    waiting = [Request(request_id=f"r{number}", account=b"", kind="k", contents=b"") for number in range(9)]
    with capture_logs() as logged:
        for _ in range(3):
            for request in waiting:
                await troubles.wait(request, Unavailable("the disk is full"))
        await troubles.wait(waiting[0], Unavailable("the node is away"))
        for request in waiting:
            troubles.over(request.request_id)
        await troubles.wait(waiting[0], Unavailable("the disk is full"))
    assert [one["detail"] for one in logged] == ["the disk is full", "the node is away", "the disk is full"]
