"""A process ends with 0 when it is done, 2 when its caller must change something, 1 for everything else."""

import asyncio
import os
import signal
import subprocess
import sys

import pytest
import typer

from linklearner import output, process
from linklearner.domain import errors


def tree(kind: type[errors.LinkLearnerError]) -> list[type[errors.LinkLearnerError]]:
    """The branches of the domain: a service's own are among them."""
    below = [child for child in kind.__subclasses__() if child.__module__ == errors.__name__]
    return [kind, *(leaf for child in below for leaf in tree(child))]


@pytest.mark.parametrize("kind", tree(errors.LinkLearnerError))
def test_the_callers_fault_is_2_and_all_else_1(
    kind: type[errors.LinkLearnerError], capsys: pytest.CaptureFixture[str]
) -> None:
    def main() -> None:
        raise kind("what to do")

    assert process.run("part", main) == (2 if issubclass(kind, errors.InvalidInput) else 1)
    assert capsys.readouterr().err == "part: what to do\n"


def test_what_ends_well_is_0() -> None:
    assert process.run("part", lambda: "whatever") == 0


async def test_a_signal_ends_it_and_cancels_what_is_under_way() -> None:
    work = asyncio.create_task(asyncio.sleep(60))
    stop = process.stop_signal()
    os.kill(os.getpid(), signal.SIGTERM)
    await asyncio.wait_for(process.until(stop, work), 10)
    assert work.cancelled()


async def test_the_first_failure_ends_it_and_is_raised() -> None:
    async def fail() -> None:
        raise errors.DataLoss("two histories")

    other = asyncio.create_task(asyncio.sleep(60))
    with pytest.raises(errors.DataLoss):
        await asyncio.wait_for(process.until(asyncio.Event(), other, fail()), 10)
    assert other.cancelled()


@pytest.mark.parametrize(
    ("module", "prefix"),
    [
        ("services.chain_gateway", "LINKLEARNER_GATEWAY_"),
        ("services.model_server", "LINKLEARNER_MODEL_SERVER_"),
        ("services.trainer", "LINKLEARNER_TRAINER_"),
    ],
)
def test_every_service_says_which_setting_is_wrong_and_ends_with_2(module: str, prefix: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", module],
        env={**os.environ, prefix + "LOG_LEVEL": "loud"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 2
    assert f"{prefix}LOG_LEVEL must be debug, info, warning or error, got 'loud'" in done.stderr
    assert "Traceback" not in done.stderr


def test_what_a_process_says_at_its_end_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    """The name of a column of somebody's table, or of a picture in his archive, is in it."""

    def main() -> None:
        raise errors.InvalidConfig("no column 'a', but \x1b[2J\x1b]0;gone\x07, " + "b" * 9000)

    assert process.run("part", main) == 2
    said = capsys.readouterr().err
    assert said.startswith("part: no column 'a', but \\x1b[2J\\x1b]0;gone\\x07") and said[:-1].isprintable()
    assert len(said) < 5000


def test_what_another_service_says_of_a_failure_cannot_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(typer.Exit), output.reporting(output.Format.TEXT):
        raise errors.Unavailable("away \x1b[2J\x1b]0;gone\x07 [red]", reason="\x1b[31mAway[/red]")
    said = capsys.readouterr().err
    assert said.rstrip("\n").isprintable() and "\\x1b[2J" in said and "[red]" in said and "Away[/red]" in said
