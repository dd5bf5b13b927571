"""The demo does what it prints: run as a user runs it, read as a program reads it."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from linklearner.demo.rounds import NO_REASONS
from linklearner.domain.notation import LL_WEI
from linklearner.keyfile import encrypted

ROOT = Path(__file__).resolve().parents[2]
LINKLEARNER = Path(sys.executable).with_name("linklearner")


def demo(home: Path, *arguments: str, **environment: str) -> tuple[int, list[dict[str, Any]], str]:
    """Exit status, events, and what people would have seen."""
    done = subprocess.run(
        [LINKLEARNER, "demo", "--format", "json", *arguments],
        cwd=ROOT, env={**os.environ, "LINKLEARNER_HOME": str(home), **environment},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    return done.returncode, [json.loads(line) for line in done.stdout.splitlines()], done.stderr


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> tuple[int, list[dict[str, Any]], str]:
    return demo(tmp_path_factory.mktemp("home"))


def of(played: tuple[int, list[dict[str, Any]], str], name: str) -> list[dict[str, Any]]:
    return [event for event in played[1] if event.get("event") == name]


def test_the_demo_ends_well(played: tuple[int, list[dict[str, Any]], str]) -> None:
    assert played[0] == 0, played[2]
    assert played[1][-1]["event"] == "done"


def test_five_rounds_train_the_model_on_the_chain(played: tuple[int, list[dict[str, Any]], str]) -> None:
    rounds = of(played, "round")
    assert [one["version"] for one in rounds] == [2, 3, 4, 5, 6]
    assert rounds[-1]["accuracy"] >= 0.93
    assert all(person["verdict"] == "accepted" for one in rounds for person in one["contributors"])


def test_the_task_is_an_ordinary_accounts_and_its_pot_a_sponsors(
    played: tuple[int, list[dict[str, Any]], str],
) -> None:
    [told] = of(played, "introduced")
    assert len({told["creator"], told["sponsor"], told["owner"]}) == 3
    assert int(told["pot_wei"]) == 10_000 * LL_WEI


def test_pay_follows_time_and_comes_out_of_the_pot(played: tuple[int, list[dict[str, Any]], str]) -> None:
    pot = int(of(played, "introduced")[0]["pot_wei"])
    for one in of(played, "round"):
        earned = [int(person["earned_wei"]) for person in one["contributors"]]
        took, share = int(one["took_wei"]), min(one["elapsed_s"], one["round_s"])
        assert one["elapsed_s"] >= 1
        assert took == 100 * LL_WEI * share // one["round_s"] == sum(earned) + int(one["settler_wei"])
        assert min(earned) > 0
        pot -= took
        assert int(one["pot_wei"]) == pot


def test_what_was_earned_is_claimed_and_the_pots_rest_goes_to_the_creator(
    played: tuple[int, list[dict[str, Any]], str],
) -> None:
    earned = Counter[str]()
    for one in of(played, "round"):
        for person in one["contributors"]:
            earned[person["name"]] += int(person["earned_wei"])
    assert {one["contributor"]: int(one["claimed_wei"]) for one in of(played, "claimed")} == earned
    [closed] = of(played, "closed")
    assert closed["refund_wei"] == of(played, "round")[-1]["pot_wei"]


def test_each_way_to_cheat_is_refused_with_the_chains_reason(played: tuple[int, list[dict[str, Any]], str]) -> None:
    attempts = of(played, "attempt")
    assert all(attempt["refused"] and attempt["reason"] not in ("", *NO_REASONS) for attempt in attempts)
    assert {attempt["reason"] for attempt in attempts} >= {
        "EmptyUpdate", "AlreadySubmitted", "StaleBase", "RoundNotOver", "TaskLoaded", "NotCreator", "OwnableUnauthorizedAccount",
        "NotThePool", "NotDirect", "RunningHashMismatch", "WrongRound",
    }  # fmt: skip


def test_an_answer_names_the_newest_weights_and_the_gate_turns_others_away(
    played: tuple[int, list[dict[str, Any]], str],
) -> None:
    [answer] = of(played, "inference")
    newest = of(played, "round")[-1]
    assert (answer["model_version"], answer["digest"]) == (newest["version"], newest["digest"])
    assert {one["reason"] for one in answer["turned_away"]} == {"NoToken", "NotEnoughLocked"}
    assert len(answer["turned_away"]) == 2


def test_gas_stays_below_what_was_promised(played: tuple[int, list[dict[str, Any]], str]) -> None:
    [gas] = of(played, "gas")
    assert gas["fixed"] <= 90_000
    assert gas["two-bits"] <= 76.4  # 74.2 of the pool before this one, and three per cent
    assert gas["int8"] <= 100


def test_the_audit_recomputes_every_version(played: tuple[int, list[dict[str, Any]], str]) -> None:
    [audit] = of(played, "verified")
    assert (audit["versions"], audit["updates"]) == (6, 25)


def test_the_demo_needs_no_tests_folder_and_leaves_nothing_behind(tmp_path: Path) -> None:
    """In a copy of the checkout that holds what an installation holds: the packages, and no tests/."""
    checkout, home = tmp_path / "checkout", tmp_path / "home"
    for folder in ("src", "services", "devchain", "bench"):
        shutil.copytree(ROOT / folder, checkout / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    done = subprocess.run(
        [sys.executable, "-c", "from linklearner.cli import app; app()", "demo", "--format", "json", "--rounds", "1"],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(checkout / "src"), "LINKLEARNER_HOME": str(home)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    events = [json.loads(line) for line in done.stdout.splitlines()]
    assert events[-1]["event"] == "done"
    assert any(event.get("event") == "gas" for event in events)
    assert list(home.iterdir()) == []


def test_the_demo_runs_on_a_chain_as_narrow_as_an_artela_node(tmp_path: Path) -> None:
    """No instant blocks, no filters, no queue: `--rpc` against a devchain in its strict mode with a block every half second, paid by an
    encrypted key, behind a proxy that is dead."""
    chain = subprocess.Popen(
        [sys.executable, "-m", "devchain", "--port", "0", "--state", str(tmp_path / "chain.sqlite"),
         "--strict-rpc", "--mining", "interval:0.5"],
        cwd=ROOT, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert chain.stdout is not None
        url = chain.stdout.readline().split(" at ")[1].strip()
        keys = json.loads((tmp_path / "chain.sqlite.keys.json").read_text())
        key_file, password_file = tmp_path / "funded.json", tmp_path / "password"
        key_file.write_text(encrypted(bytes.fromhex(next(iter(keys.values()))[2:]), "a funded key", scrypt_n=4096))
        password_file.write_text("a funded key\n")
        dead = "http://127.0.0.1:9"  # nothing of all this leaves the machine, whatever the environment says of proxies
        code, events, seen = demo(
            tmp_path / "home", "--rpc", url, "--key-file", str(key_file), "--password-file", str(password_file), "--rounds", "3",
            http_proxy=dead, https_proxy=dead, all_proxy=dead, no_proxy="", NO_PROXY="",
        )  # fmt: skip
    finally:
        chain.terminate()
        chain.wait(10)
    assert code == 0, seen
    assert events[-1]["event"] == "done"
