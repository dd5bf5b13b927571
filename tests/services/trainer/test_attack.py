"""`simulate --attack`: one attacker of the lab, as people type it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from services.trainer.simulation.attack import cell_of
from services.trainer.simulation.lab.attacks import ATTACKS
from services.trainer.simulation.lab.course import WAYS, play

LINKLEARNER = Path(sys.executable).with_name("linklearner")


def simulated(*arguments: str) -> tuple[int, Any]:
    done = subprocess.run(
        [LINKLEARNER, "simulate", "--format", "json", *arguments], capture_output=True, text=True, check=False
    )
    return done.returncode, json.loads(done.stdout) if done.returncode == 0 else done.stdout + done.stderr


def test_one_attack_is_played_beside_the_same_task_without_it() -> None:
    typed = ("--attack", "label-flip", "--share", "0.4", "--rounds", "4", "--skew", "iid", "--encoding", "int8")
    code, row = simulated(*typed)
    assert code == 0
    assert row["attackers"] == 4 and row["examples"] == 10 and 0.3 < row["accuracy"] <= 1
    assert set(row["part_of_pay"]) == set(WAYS) and all(0 <= one <= 1 for one in row["part_of_pay"].values())
    from linklearner.domain.encodings import INT8
    from linklearner.simulation import Skew

    course = play(cell_of("digits", Skew(None), 4), 1, ATTACKS["label-flip"], 0.4, INT8, 10, 4)
    assert row["accuracy"] == course.accuracy()  # the lab's own figures


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--attack", "bribe"), "must be one of noise, label-flip"),
        (("cifar", "--attack", "mimic"), "digits, warp, modes"),
        (("--attack", "mimic", "--share", "0.01"), "share must leave an attacker"),
        (("--attack", "mimic", "--stakes", "5,3"), "equal stakes"),
        (("--attack", "mimic", "--skew", "odd"), "skew must be"),
    ],
)
def test_what_cannot_be_played_is_said(arguments: tuple[str, ...], complaint: str) -> None:
    code, said = simulated(*arguments)
    assert code == 2 and complaint in " ".join(said.split())
