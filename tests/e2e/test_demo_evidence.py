"""`demo --rule evidence` does what it prints: honest work is merged and paid, flipped labels are not, all of it can be computed anew."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
LINKLEARNER = Path(sys.executable).with_name("linklearner")
ROUNDS = 3


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, events, and what people would have seen."""
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [LINKLEARNER, "demo", "--rule", "evidence", "--rounds", str(ROUNDS), "--format", "json"],
        cwd=ROOT, env={**os.environ, "LINKLEARNER_HOME": str(home)}, capture_output=True, text=True, timeout=600, check=False,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def of(played: tuple[int, list[dict[str, Any]], str], name: str) -> list[dict[str, Any]]:
    return [event for event in played[1] if event.get("event") == name]


def test_it_ends_well_and_says_how_it_began(played: tuple[int, list[dict[str, Any]], str]) -> None:
    assert played[0] == 0, played[2]
    assert played[1][-1]["event"] == "done"
    [told] = of(played, "introduced")
    assert told["batches"] == ROUNDS + 5 and told["examples"] == 4 * told["batches"]
    assert {one["attack"] for one in told["people"]} == {None, "label-flip", "stale-copy", "mimic"}


def test_each_round_is_judged_by_examples_of_its_own(played: tuple[int, list[dict[str, Any]], str]) -> None:
    rounds = of(played, "round")
    assert [one["version"] for one in rounds] == [2, 3, 4]
    assert [one["opened"] for one in rounds] == [4, 8, 12]
    assert rounds[-1]["accuracy"] > 0.8
    for one in rounds:
        assert len(one["contributors"]) == 7
        for person in one["contributors"]:
            paid, merged = int(person["earned_wei"]), person["outcome"] == "merged"
            assert (paid > 0) == (merged and person["gain"] > 0)
            assert "examples opened afterwards; the account's record stands at" in person["text"]
            assert (person["expected"] is None) == (person["attack"] is not None)


def test_what_each_earned_is_what_the_rounds_paid_and_why(played: tuple[int, list[dict[str, Any]], str]) -> None:
    earned = of(played, "earned")
    for one in earned:
        paid = [
            int(person["earned_wei"])
            for round in of(played, "round")
            for person in round["contributors"]
            if person["name"] == one["contributor"]
        ]
        assert int(one["earned_wei"]) == sum(paid) and one["rounds"] == len(paid) == ROUNDS
        assert f"merged {one['merged']} of {ROUNDS} times" in one["why"]
    honest = [int(one["earned_wei"]) for one in earned if one["attack"] is None]
    [flipper] = [int(one["earned_wei"]) for one in earned if one["attack"] == "label-flip"]
    assert flipper < sum(honest) / len(honest)


def test_the_audit_computes_every_verdict_anew(played: tuple[int, list[dict[str, Any]], str]) -> None:
    [audit] = of(played, "verified")
    assert (audit["versions"], audit["updates"], audit["verdicts"]) == (ROUNDS + 1, 7 * ROUNDS, 7 * ROUNDS)
    assert audit["batches_of_examples"] == ROUNDS and len(audit["records"]) == 7
    merged = sum(person["outcome"] == "merged" for one in of(played, "round") for person in one["contributors"])
    assert audit["merged"] == merged
