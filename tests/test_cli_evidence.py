"""Tasks by rule `evidence` as people see them: the set, phases with their times, verdicts with reasons, records."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from linklearner.cli import app
from linklearner.cli.status import last_verdict
from linklearner.cli.task import terms_in_words, who_can_come_in
from linklearner.client.gateway import GatewayClient
from linklearner.domain.encodings import INT8
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rounds import RULE_EVIDENCE
from linklearner.domain.rules.evidence.batches import encode_batch
from linklearner.domain.rules.evidence.verdicts import Examples
from linklearner.testing.gateway import FakeGateway, terms_for, weights_of
from linklearner.watching.screen import when
from linklearner.watching.watched import Watched

NOW = 10_000.0


@pytest.fixture
def fake() -> FakeGateway:
    fake = FakeGateway(accounts=2, terms=replace(terms_for(2), rule=RULE_EVIDENCE))
    fake.auto_settle = False
    fake.chain.clock = lambda: NOW
    generator = np.random.default_rng(0)
    inputs = generator.integers(0, 17, (20, 64)).astype(np.int16)
    examples = Examples(inputs, np.arange(20, dtype=np.int64) % 10)
    fake.first.commit([encode_batch(examples[n : n + 4]) for n in range(0, 20, 4)], 4)
    fake.publish(weights_of(1))
    return fake


def submit(fake: FakeGateway, who: int) -> None:
    delta = np.random.default_rng(who).normal(0, 0.01, 2410)
    update = quantise_delta(delta, fake.shape, 1, len(fake.versions), INT8).update
    fake.first.submit(fake.accounts[who], update.encode(fake.shape))


@pytest.fixture
async def address(fake: FakeGateway) -> AsyncIterator[str]:
    async with fake.served() as address:
        yield address


async def answer(address: str, *arguments: str) -> Any:
    typed = [*arguments, "--gateway", address, "--format", "json"]
    done = await asyncio.to_thread(CliRunner().invoke, app, typed)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()  # the fake's log is among them
    return json.loads("\n".join(lines[next(i for i, line in enumerate(lines) if line in ("[", "{")) :]))


async def test_task_show_tells_the_set_its_maker_and_the_phases_with_their_ends(
    fake: FakeGateway, address: str
) -> None:
    submit(fake, 0)
    row = await answer(address, "task", "show", "--task", "1")
    assert (row["examples"]["batches"], row["examples"]["examples"], row["examples"]["opened_examples"]) == (5, 20, 0)
    assert row["examples"]["root"] == row["examples_root"] and "the task's creator" in row["examples_made_by"]
    due = {one["step"]: (one["from_s"], one["until_s"]) for one in row["next_steps"]}
    assert due["submit"] == (0, NOW + 60) and due["open the examples"] == (NOW + 60, NOW + 600)
    assert due["drop"] == (NOW + 600, None)
    assert "waits for its examples" in row["who_can_come_in"]  # by our clock, which is far ahead of this chain's
    done = await asyncio.to_thread(CliRunner().invoke, app, ["task", "show", "--task", "1", "--gateway", address])
    said = " ".join(done.output.split())
    assert "0 of 20 opened, in 0 of 5 batches" in said and "rule evidence" in said


def test_terms_and_who_comes_in_are_told_in_words(fake: FakeGateway) -> None:
    lines = terms_in_words(fake.terms)
    assert any("examples that are opened after" in line for line in lines) and any(
        "never punished" in line for line in lines
    )
    submit(fake, 0)
    fake.first.open_examples()
    assert "examples are opened" in who_can_come_in(fake.first.described())


async def test_earnings_and_the_last_verdict_are_told_with_the_reason(fake: FakeGateway, address: str) -> None:
    for who in (0, 1):
        submit(fake, who)
    fake.first.open_examples()
    fake.settle()
    rows = await answer(address, "earnings", "--task", "1")
    course = fake.first.course
    assert course is not None
    for row, account in zip(rows, fake.accounts, strict=True):
        assert row["record"] == f"{course.records[account] / 2**16:+.3f}"
    async with GatewayClient.connect(address) as gateway:
        for account in fake.accounts:
            said = await last_verdict(gateway, 1, account)
            assert (
                said.startswith("round 1: ") and "on 4 examples opened afterwards; the account's record stands" in said
            )
            assert said.endswith("$LL")
        assert await last_verdict(gateway, 1, b"\x99" * 20) == ""
        submit(fake, 0)
        fake.drop()
        assert await last_verdict(gateway, 1, fake.accounts[0]) == "round 2: dropped, nobody was paid"


def test_watching_tells_openings_and_verdicts_once(fake: FakeGateway) -> None:
    state = Watched()
    list(state.saw_task(fake.first.described(), NOW))
    submit(fake, 0)
    assert "takes no more updates in 60 s" in when(fake.first.described(), NOW)
    submit(fake, 1)
    list(state.saw_round(fake.first.round(0), NOW))
    fake.first.open_examples()
    assert [one.event for one in state.saw_round(fake.first.round(0), NOW)] == ["examples"]
    assert list(state.saw_round(fake.first.round(0), NOW)) == []
    assert "can be settled now" in when(fake.first.described(), NOW)
    fake.settle()
    told = list(state.saw_round(fake.first.round(1), NOW))
    assert [one.event for one in told] == ["settled", "verdict", "verdict"]
    assert {one.facts["contributor"] for one in told[1:]} == {"0x" + one.hex() for one in fake.accounts}
    assert all("examples opened afterwards" in one.text for one in told[1:])
