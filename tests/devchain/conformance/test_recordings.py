"""The devchain answers what a real Artela node answered."""

from __future__ import annotations

import copy

import pytest

from devchain import conformance
from devchain.conformance import RECORDINGS, known_differences, load, replay
from devchain.server import ChainThread

FILES = sorted(path.name for path in RECORDINGS.glob("*.json.gz"))


def replayed(recording: conformance.Json) -> list[conformance.Compared]:
    thread = ChainThread()
    try:
        return thread.run_blocking(lambda: list(replay(recording)))
    finally:
        thread.stop()


@pytest.mark.parametrize("name", FILES)
def test_every_step_of_a_recording_is_equal_but_those_listed_with_a_reason(name: str) -> None:
    recording = load(RECORDINGS / name)
    results = replayed(recording)
    assert len(results) == len(recording["steps"])
    assert [result for result in results if not result.equal and result.step not in known_differences()] == []


def test_a_step_that_differs_is_seen() -> None:
    recording = load(RECORDINGS / "random-0-40.json.gz")
    recording["steps"] = copy.deepcopy(recording["steps"][:8])
    recording["steps"][1]["receipt"]["gasUsed"] = "0x1"
    recording["steps"][4]["answer"]["result"] = "0x"
    assert [result.step for result in replayed(recording) if not result.equal] == ["contract B", "0: operation"]


def test_a_recording_may_begin_with_a_used_account() -> None:
    """The steps behind the first transaction alone, as if the recorder had come later."""
    recording = load(RECORDINGS / "random-0-40.json.gz")
    sent = [step for step in recording["steps"] if "tx" in step and step["receipt"] is not None]
    used = next(step for step in sent[1:] if step["block"]["number"] != sent[0]["block"]["number"])
    assert used["receipt"]["contractAddress"], "its address follows from the nonce"
    at = recording["steps"].index(used)
    recording["steps"] = recording["steps"][at : at + 1]
    recording["start"]["nonce"] = sent.index(used)
    assert [result.node for result in replayed(recording)] == [result.devchain for result in replayed(recording)]
    recording["start"]["nonce"] = 0
    assert not replayed(recording)[0].equal


def test_the_last_line_counts_the_steps(capsys: pytest.CaptureFixture[str]) -> None:
    assert conformance.main([str(RECORDINGS / "random-0-40.json.gz")]) == 0
    assert capsys.readouterr().out.splitlines()[-1] == "672 of 672 steps equal"
