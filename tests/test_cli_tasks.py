"""Tasks of one's own, earnings and stake, typed as people type them, at a gateway in this process."""

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from linklearner.cli import app
from linklearner.cli.task import terms_in_words, who_can_come_in
from linklearner.domain.notation import LL_WEI
from linklearner.domain.plan import TaskPlan, digits
from linklearner.output import ago, moment, until
from linklearner.testing.gateway import FakeGateway

ME, OTHER = b"\x01" * 20, b"\x02" * 20


class Typed:
    """A fake gateway, and what is typed at it."""

    def __init__(self, fake: FakeGateway, address: str, folder: Path) -> None:
        self.fake = fake
        self._address = address
        self.plan = folder / "plan.json"
        self.plan.write_text('{"seed": 3, "terms": {"reward": "10", "stake_seconds": 100}}')

    async def said(self, *arguments: str) -> tuple[int, str]:
        """Exit status and everything printed."""
        typed = [*arguments, "--gateway", self._address]
        done = await asyncio.to_thread(CliRunner().invoke, app, typed)
        if done.exception is not None and not isinstance(done.exception, SystemExit):
            raise done.exception
        return done.exit_code, " ".join(done.output.split())

    async def answer(self, *arguments: str) -> Any:
        """The JSON that a command prints, which must succeed."""
        typed = [*arguments, "--gateway", self._address, "--format", "json"]
        done = await asyncio.to_thread(CliRunner().invoke, app, typed)
        assert done.exit_code == 0, done.output
        lines = done.stdout.splitlines()
        return json.loads("\n".join(lines[next(i for i, line in enumerate(lines) if line in ("[", "{", "[]")) :]))


@pytest.fixture
async def typed(home: Path, tmp_path: Path) -> AsyncIterator[Typed]:
    fake = FakeGateway(seed=1, accounts=2)
    fake.tokens.update({ME: 500 * LL_WEI, OTHER: 500 * LL_WEI})
    async with fake.served() as address:
        yield Typed(fake, address, tmp_path)


async def test_a_task_is_opened_from_a_plan_and_is_its_openers(typed: Typed) -> None:
    opened = await typed.answer("task", "open", str(typed.plan), "--fund", "20")
    assert (opened["task"], opened["version"], opened["pot"]) == (2, 1, "20 $LL")
    task = typed.fake.tasks[2]
    assert (task.creator, task.pot, typed.fake.tokens[ME]) == (ME, 20 * LL_WEI, 480 * LL_WEI)
    assert task.terms == TaskPlan.from_json(typed.plan.read_text()).terms
    assert task.terms.reward == 10 * LL_WEI
    assert await typed.answer("task", "list", "--after", "1") == await typed.answer(
        "task", "list", "--creator", "0x" + ME.hex()
    )


async def test_a_pot_beyond_what_the_account_has_opens_nothing(typed: Typed) -> None:
    code, output = await typed.said("task", "open", str(typed.plan), "--fund", "500.1")
    assert code == 2
    assert "nothing was sent" in output and sorted(typed.fake.tasks) == [1]


async def test_an_opening_that_is_typed_again_under_its_name_is_the_same_task(typed: Typed) -> None:
    first = await typed.answer("task", "open", str(typed.plan), "--request-id", "mine", "--fund", "1")
    again = await typed.answer("task", "open", str(typed.plan), "--request-id", "mine", "--fund", "1")
    assert first == again and sorted(typed.fake.tasks) == [1, 2]
    assert typed.fake.tasks[2].pot == LL_WEI


@pytest.mark.parametrize(
    ("plan", "complaint"),
    [
        ('{"terms": {"max_updates": 1000}}', "max_updates must be between 1 and 221"),
        ('{"terms": {"quorum_bps": 0}}', "quorum_bps must be between 1 and 10000, got 0"),
        ('{"terms": {"quorum": 5}}', "quorum"),
        ('{"terms": {"reward": "1,5"}}', "'1,5' is not an amount of $LL"),
        ('{"terms": {"min_stake": "0.0001"}}', "no multiple of 0.001"),
        ('{"seed": -1}', "seed must be between 0"),
        ('{"seed": true}', "seed is a whole number"),
        ('{"page_length": 3}', "a page holds 4 to 16384 weights"),
        ("{", "settings"),
        ("\udc80", "settings"),
        ("[]", "JSON object"),
    ],
)
async def test_a_plan_that_the_pool_would_refuse_is_refused_in_a_sentence(
    plan: str, complaint: str, typed: Typed
) -> None:
    typed.plan.write_bytes(plan.encode(errors="surrogateescape"))
    code, output = await typed.said("task", "open", str(typed.plan))
    assert code == 2
    assert complaint in output
    assert sorted(typed.fake.tasks) == [1]


async def test_anyone_fills_a_pot_and_only_the_owner_has_new_ll_emitted(typed: Typed) -> None:
    assert (await typed.answer("task", "fund", "1.5", "--task", "1", "--account", "0x" + OTHER.hex()))[
        "pot"
    ] == "10001.5 $LL"
    code, output = await typed.said("task", "grant", "1", "--task", "1")
    assert (code, "owner" in output) == (1, True)
    typed.fake.owner = ME
    assert (await typed.answer("task", "grant", "1", "--task", "1"))["pot"] == "10002.5 $LL"


async def test_a_task_is_closed_by_its_creator_alone(typed: Typed) -> None:
    await typed.answer("task", "open", str(typed.plan), "--fund", "20")
    code, output = await typed.said("task", "close", "--task", "2", "--account", "0x" + OTHER.hex())
    assert (code, "NotCreator" in output) == (1, True)
    assert (await typed.answer("task", "close", "--task", "2"))["closed"] is True
    assert typed.fake.tokens[ME] == 500 * LL_WEI
    shown = await typed.answer("task", "show", "--task", "2")
    assert (shown["phase"], shown["next_steps"]) == ("closed", [])
    assert "nobody" in shown["who_can_come_in"]


async def test_a_task_is_shown_in_words_and_in_numbers(typed: Typed) -> None:
    code, output = await typed.said("task", "show", "--task", "1")
    assert code == 0
    for words in ("a round lasts 1 s or longer", "50.00% of the stake", "drop in 10 min", "10000 $LL", "submit now"):
        assert words in output
    shown = await typed.answer("task", "show", "--task", "1")
    assert shown["terms"]["reward"] == str(100 * LL_WEI) and shown["terms"]["round_seconds"] == 60
    assert [step["step"] for step in shown["next_steps"]] == ["submit", "drop"]
    assert shown["opened"] == typed.fake.first.rounds[-1].opened_s


async def test_stake_says_when_it_counts_and_when_it_comes_home(typed: Typed) -> None:
    await typed.answer("task", "open", str(typed.plan))
    now = int(time.time())
    locked = await typed.answer("stake", "lock", "3", "--task", "2")
    assert locked["counts_this_round"] == "0 $LL" and now + 100 <= locked["rest_counts"] <= now + 300
    unlocked = await typed.answer("stake", "unlock", "1", "--task", "2")
    assert now + 100 <= unlocked["withdrawable"] <= now + 200
    code, output = await typed.said("stake", "show", "--task", "2")
    assert code == 0
    assert "in rounds that open in " in output and "or after the open round" in output
    code, output = await typed.said("stake", "withdraw", "--task", "2")
    assert (code, "StakeStillLocked" in output) == (1, True)


async def test_earnings_are_shown_and_paid_out_once(typed: Typed) -> None:
    task = typed.fake.first
    task._earn(ME, 3 * LL_WEI)  # type: ignore[attr-defined, unused-ignore]
    [mine, other] = await typed.answer("earnings", "--task", "1")
    assert (mine["unclaimed"], other["unclaimed"]) == ("3", "0")
    assert (await typed.answer("balance", "--task", "1"))[0]["unclaimed"] == "3"
    claimed = await typed.answer("earnings", "--task", "1", "--claim")
    assert [row["claimed"] for row in claimed] == ["3", "0"]
    assert [len(row["transactions"]) for row in claimed] == [1, 0]
    assert typed.fake.tokens[ME] == 503 * LL_WEI
    assert [row["unclaimed"] for row in await typed.answer("earnings", "--task", "1")] == ["0", "0"]


async def test_a_task_that_this_program_cannot_read_is_listed_all_the_same(typed: Typed) -> None:
    typed.fake.first.model = '{"format": 99}'
    [row] = await typed.answer("task", "list")
    assert row["model"] == "unknown to this program"


def test_terms_are_told_for_a_person() -> None:
    words = " ".join(terms_in_words(digits(contributors=5).terms))
    assert "100.00% of the stake" in words and "100 $LL" in words and "0.1 $LL of stake" in words


async def test_who_can_come_in_follows_the_round(typed: Typed) -> None:
    task = typed.fake.first
    assert "more that count" in who_can_come_in(task.described())
    task.closing = True
    assert "last round" in who_can_come_in(task.described())


def test_times_are_told_as_people_say_them() -> None:
    assert [until(s) for s in (-1, 0, 0.2, 12, 121, 7200, 7201, 86400 * 3)] == [
        "now", "now", "in 1 s", "in 12 s", "in 3 min", "in 120 min", "in 2.1 h", "in 3.0 days",
    ]  # fmt: skip
    assert moment(0).text == "now" and ago(0).text == "never"
    assert ago(int(time.time()) - 30).text in ("30 s ago", "31 s ago")


async def test_a_task_by_rule_evidence_is_opened_with_the_examples_beside_its_plan(typed: Typed) -> None:
    make = ["task", "examples", str(typed.plan), "--hold-out", "digits", "--rounds", "10"]
    made = await asyncio.to_thread(CliRunner().invoke, app, make)
    assert made.exit_code == 0 and "keep it to yourself" in " ".join(made.output.split())
    opened = await typed.answer("task", "open", str(typed.plan), "--request-id", "mine")
    task = typed.fake.tasks[opened["task"]]
    assert task.course is not None and len(task.batches) == 10 and len(opened["transactions"]) == 3
    assert await typed.answer("task", "open", str(typed.plan), "--request-id", "mine") == opened


async def test_an_interrupted_creation_by_rule_evidence_goes_on_with_the_same_examples(typed: Typed) -> None:
    file = typed.plan.with_name("my.py")
    file.write_text((Path(__file__).parents[1] / "examples" / "tasks" / "mlp.py").read_text())
    create = ("task", "create", str(file), "--rule", "evidence", "--rounds", "5", "--request-id", "again")
    first = await typed.answer(*create)
    assert first["examples"] == 20
    second = await typed.answer(*create)
    assert second["task"] == first["task"] and sorted(typed.fake.tasks) == [1, first["task"]]
    code, output = await typed.said("task", "create", str(file), "--rule", "median")
    assert code == 2 and "must be mean or evidence" in output
