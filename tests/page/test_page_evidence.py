"""A task by rule `evidence` in the page: what its round waits for, and of each update whether it was merged, why not, and by how much."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import httpx
import numpy as np
import pytest
from sklearn.datasets import load_digits

from linklearner.client.gateway import GatewayClient
from linklearner.domain.digest import weight_bytes
from linklearner.domain.digits import DIGITS, SHAPE
from linklearner.domain.encodings import INT8
from linklearner.domain.notation import address
from linklearner.domain.plan import USUAL_TERMS, TaskPlan
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import RULE_EVIDENCE, Terms
from linklearner.domain.rules.evidence.batches import encode_batch
from linklearner.domain.rules.evidence.sets import ExampleBatches
from linklearner.domain.rules.evidence.verdicts import Examples
from linklearner.rpc.access import Credential
from linklearner.suite import Suite
from tests.page.browser import axe_script
from tests.page.conftest import Open
from tests.page.test_troubles import in_a_thread
from tests.page.wallet import PythonWallet

pytestmark = pytest.mark.skipif(
    os.environ.get("PAGE_TESTS") != "all", reason="a minute: run by PAGE_TESTS=all (make page-test)"
)

BATCHES, SIZE = 6, 8
PIXEL_EXPONENT = 4  # a pixel of 0 to 16 stands for 0 to 1
TERMS = {
    "rule": RULE_EVIDENCE, "quorum_bps": 1, "max_updates": 4, "min_round_seconds": 1, "round_seconds": 20,
    "drop_seconds": 3600, "stake_seconds": 1, "reward": 0,
}  # fmt: skip
"""One update is enough for a quorum."""


def judged_task() -> TaskPlan:
    digits = load_digits()
    batches = []
    for batch in range(BATCHES):
        rows = slice(batch * SIZE, (batch + 1) * SIZE)
        batches.append(encode_batch(Examples(digits.data[rows].astype(np.int16), digits.target[rows].astype(np.int64))))
    return TaskPlan(
        model=DIGITS, terms=Terms(**{**USUAL_TERMS, **TERMS}), seed=3,
        examples=ExampleBatches(PIXEL_EXPONENT, 64, tuple(batches)),
    )  # fmt: skip


async def given_money(suite: Suite, account: str) -> None:
    """By the page's faucet."""
    async with httpx.AsyncClient(timeout=60) as browser:
        given = await browser.post(f"{suite.page}/faucet", json={"account": account})
        assert given.status_code == 200, given.text


async def opened(suite: Suite) -> int:
    plan = judged_task()
    await given_money(suite, suite.creator)  # who answers with a bond for opening the examples
    async with GatewayClient.connect(suite.gateway, Credential.read(Path(suite.credential))) as gateway:
        made = await gateway.open_task(
            "judged", address(suite.creator), plan.model.to_json(), plan.shape, plan.terms,
            weight_bytes(plan.first_weights()), plan.examples,
        )  # fmt: skip
    return made.task


async def somebody_sends_noise(suite: Suite, number: int) -> None:
    """With stake that counts: the suite's first account."""
    me = address(suite.accounts[0])
    await given_money(suite, suite.accounts[0])
    async with GatewayClient.connect(suite.gateway, Credential.read(Path(suite.credential))) as gateway:
        await gateway.lock("noise-lock", me, number, 100_000)
        async with asyncio.timeout(120):
            while not (await gateway.balance(me, number)).stake.eligible:
                await asyncio.sleep(0.3)
        task = await gateway.task(number)
        noise = np.random.default_rng(1).normal(0, 0.5, SHAPE.weight_count)
        update = quantise_delta(noise, SHAPE, number, task.version, INT8).update
        await gateway.submit("noise", me, update.encode(SHAPE), update.digest(SHAPE))


def test_what_examples_that_nobody_knew_say_of_an_update(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    number = in_a_thread(opened(suite))
    wallet.chain = suite.chain_id
    script = axe_script()
    at = desk(wallet=wallet, fragment=f"#/task/{number}/learn", script=script)
    at.collect("01234")
    at.button("Python wallet").click()
    at.button("Get test money").click()
    at.button("Lock 100 $LL").click()
    at.button("Train in this browser").click()
    at.page.wait_for_selector(".measure")
    at.button("Open round 2").click()  # nobody else is there, and stake counts from the next round on
    at.button("Submit your update").click()
    at.says("Accepted in round 2")
    at.says("Round 2 made version 2")  # it helps, from the first weights on
    at.says(f"On {SIZE} examples that were opened afterwards, the loss is")
    at.says("lower with a quarter of your update")
    at.says("Your record, to be above 0")

    at.shot("evidence-round")
    in_a_thread(somebody_sends_noise(suite, number))
    at.open(f"#/task/{number}")
    at.page.locator(".judged .bad", has_text="not merged").wait_for()
    at.says("Record −")
    at.says("an update is merged if it helps on examples that nobody knew")
    at.says(f"{2 * SIZE} of {BATCHES * SIZE}")
    at.shot("evidence-live")
    assert at.overflow() <= 0
    found = at.page.evaluate(
        "axe.run(document, { resultTypes: ['violations'] }).then(all => all.violations.map(one => one.id))"
    )
    assert found == []
    assert at.trouble == []
