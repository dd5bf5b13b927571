"""Whole rounds of the training pool on both chains: what its contract does does not depend on whose EVM runs it.

anvil has no Aspects. So each transaction runs on the devchain first, with the real one; what the pool then reads from transient
storage (precompile 0x64) is put on anvil as a contract at that address which returns just this. Status, logs, gas and views must
be equal; the gas differs by what is no EVM: the Aspect's own, and the precompile's 5,000 (warm) against the stand-in's (cold).
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from bench.pool import CREATOR, POOL, SYSTEM, TOKEN, VAULT, PoolChain, account, address_of
from devchain.chain.blocks import Block
from devchain.chain.chain import EmbeddedChain
from devchain.chain.join_points import TransactionAspects
from devchain.config import ChainConfig
from linklearner import artifacts
from linklearner.chain.abi import ERROR_STRING
from linklearner.domain.digits import DIGITS
from linklearner.domain.encodings import ENCODINGS, Encoding
from linklearner.domain.errors import InvalidInput
from linklearner.domain.update import Update
from tests.differential.chains import CHAIN_ID, init_bytes
from tests.differential.chains import Chain as Rpc

CONTEXT = "0x" + "00" * 19 + "64"
PEOPLE = 4


class Shadow:
    """Repeats on anvil what happens on the devchain, and compares."""

    def __init__(self, anvil: Rpc) -> None:
        self.anvil = anvil
        self.answers: list[bytes] = []
        self.compared: list[str] = []

    def follow(self, block: Block) -> None:
        if not block.receipts:
            return  # time alone: the next block here has its own
        (receipt,) = block.receipts
        answers, self.answers = self.answers, []
        transaction = receipt.transaction
        sender = "0x" + transaction.sender.hex()
        name = self._name(transaction.data)
        aspects = sum(part.gas for part in receipt.parts if part.part == "aspect")
        # the Aspect refuses with a string, the contract with custom errors; what the Aspect stops never reaches the EVM
        if transaction.to == SYSTEM or receipt.output[:4] == ERROR_STRING:
            self.anvil.ask("anvil_setNonce", sender, hex(transaction.nonce + 1))
            return
        assert len(answers) <= 1
        answer = b"".join(answers)
        self.anvil.ask("anvil_setCode", CONTEXT, "0x" + stand_in(answer).hex())
        self.anvil.ask("anvil_setNextBlockBaseFeePerGas", "0x0")
        self.anvil.ask("evm_setNextBlockTimestamp", block.header.timestamp)
        found = self.anvil.receipt(self.anvil.ask("eth_sendRawTransaction", "0x" + transaction.raw.hex()))
        expected = receipt.gas_used - aspects
        if answers:
            expected += 2600 + stand_in_gas(answer) - (100 + 5000)
        if transaction.to is None:
            inner = init_bytes() if transaction.data.startswith(artifacts.contract("TrainingPool").bytecode) else []
            words = sum((length + 31) // 32 for length in (len(transaction.data), *inner))
            expected += 2 * words  # EIP-3860
        assert int(found["status"], 16) == receipt.status, name
        assert int(found["gasUsed"], 16) == expected, name
        logs = [(log.address.hex(), [topic.hex() for topic in log.topics], log.data.hex()) for log in receipt.logs]
        assert [
            (log["address"][2:], [topic[2:] for topic in log["topics"]], log["data"][2:]) for log in found["logs"]
        ] == logs
        self.compared.append(f"{name} {'ok' if receipt.status else 'refused'}")

    @staticmethod
    def _name(data: bytes) -> str:
        for interface in (POOL, VAULT, TOKEN):
            with contextlib.suppress(InvalidInput):
                return interface.decode_call(data).name
        return "creation"


def stand_in(answer: bytes) -> bytes:
    """Code that returns `answer` whatever it is asked."""
    size = len(answer).to_bytes(2, "big")
    return b"\x61" + size + b"\x60\x0c\x5f\x39\x61" + size + b"\x5f\xf3" + answer


def stand_in_gas(answer: bytes) -> int:
    words = (len(answer) + 31) // 32
    return 16 + 3 * words + 3 * words  # CODECOPY and memory, by the word


@pytest.fixture
def shadowed(anvil_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[PoolChain, Shadow]]:
    anvil = Rpc(anvil_url)
    snapshot = anvil.ask("evm_snapshot")
    shadow = Shadow(anvil)
    original = TransactionAspects.context_get

    def context_get(self: TransactionAspects, scope: bytes, key: bytes) -> bytes:
        answer = original(self, scope, key)
        shadow.answers.append(answer)
        return answer

    monkeypatch.setattr(TransactionAspects, "context_get", context_get)
    alloc = {address_of(account(index)): 10**24 for index in (*range(PEOPLE + 1), CREATOR)}
    for address in alloc:
        anvil.ask("anvil_setBalance", "0x" + address.hex(), hex(10**24))
    height = iter(range(10**9))
    chain = EmbeddedChain(
        ChainConfig(chain_id=CHAIN_ID, alloc=alloc, min_gas_multiplier=Fraction(0)),
        None,
        lambda: 2_500_000_000 + 12 * next(height),
    )
    original_mine = chain.mine

    def mine(*arguments: Any) -> Block:
        mined = original_mine(*arguments)
        shadow.follow(getattr(mined, "block", mined))
        return mined

    monkeypatch.setattr(chain, "mine", mine)
    begun = type("Begun", (PoolChain,), {"begin": staticmethod(lambda accounts: PoolChain(chain))})
    try:
        world: PoolChain = begun.deployed(PEOPLE + 1)
        yield world, shadow
    finally:
        chain.close()
        anvil.ask("evm_revert", snapshot)
        anvil.close()


@pytest.mark.parametrize("encoding", ENCODINGS.values())
def test_a_round_does_and_costs_the_same_but_for_the_aspect(
    shadowed: tuple[PoolChain, Shadow], encoding: Encoding
) -> None:
    world, shadow = shadowed
    shape = DIGITS.shape(12, 512, 3, 2**25)
    random = np.random.default_rng(5)
    task = world.open_task(shape, random.integers(-900, 900, shape.weight_count).astype(np.int16), [100, 200, 300, 400])
    for _ in range(2):
        status = world.status(task)
        choices = np.array(encoding.values, dtype=np.int8)
        updates = []
        for contributor in range(1, 4):
            pages = tuple(
                (page, random.choice(choices, shape.page_slice(page).stop - shape.page_slice(page).start))
                for page in range(shape.page_count)
            )
            update = Update(task, status["version"], encoding, (0,) * len(shape.tensors), pages)
            world.submit(contributor, update, shape)
            updates.append(update)
        # a second submission, a settlement out of order, one with a forged list: refused by the contract on both
        world.try_send(account(1), world.pool, world.submission(updates[0], shape))
        by_digest = {update.digest(shape): update for update in updates}
        groups = [world.settlements(task, group, shape, by_digest) for group in range(shape.group_count)]
        forged = POOL.encode_call("settle", task, status["round"], 0, groups[0][::-1])
        world.try_send(account(4), world.pool, forged)
        for group, settlements in enumerate(groups):
            world.transact(account(4), "settle", task, status["round"], group, settlements)
    world.transact_vault(account(2), "unlock", task, 150)
    world.try_send(account(2), world.vault, VAULT.encode_call("withdraw", task))
    world.transact(account(3), "claim", task)
    compare_views(world, shadow, task)
    done = {name: shadow.compared.count(name) for name in shadow.compared}
    assert done["settle ok"] == 2 * shape.group_count
    assert (done["submit ok"], done["lock ok"], done["openTask ok"], done["unlock ok"]) == (6, 4, 1, 1)
    # both refused the second submission, the forged list and what was not withdrawable yet
    assert (done["submit refused"], done["settle refused"], done["withdraw refused"]) == (2, 2, 1)


def compare_views(world: PoolChain, shadow: Shadow, task: int) -> None:
    questions = [(world.pool, POOL.encode_call("taskOf", task)), (world.pool, POOL.encode_call("termsOf", task))]
    questions.append((world.token, TOKEN.encode_call("totalSupply")))
    for index in range(PEOPLE + 1):
        who = account(index).address
        questions.append((world.token, TOKEN.encode_call("balanceOf", who)))
        questions += [
            (world.vault, VAULT.encode_call(view, task, who)) for view in ("stakeOf", "submittedIn", "feesOf")
        ]
        questions += [(world.pool, POOL.encode_call(view, task, who)) for view in ("earnedBy", "claimable")]
    for to, data in questions:
        theirs = shadow.anvil.ask("eth_call", {"to": "0x" + to.hex(), "data": "0x" + data.hex()}, "latest")
        assert theirs == "0x" + world.ask(to, data).hex()
