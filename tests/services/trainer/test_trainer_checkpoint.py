"""What a training is, on disk: whole or not at all, of this very training, and never worth more than the time that it saves."""

import os
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from services.trainer import checkpoint
from services.trainer.checkpoint import SHARE, Checkpoint, digest_of, key_of
from services.trainer.data import Samples
from services.trainer.recipe import AdamW, Recipe
from services.trainer.training import LocalState

N = 100
KEY, OTHER = key_of("this training"), key_of("another")


def state(step: int, buffers: int = 2) -> LocalState:
    generator = np.random.default_rng(step)
    arrays = [generator.normal(size=N).astype(np.float32) for _ in range(1 + buffers)]
    return LocalState(step, step / 8, step // 2, step / 3, arrays[0], tuple(arrays[1:]))


def same(found: LocalState | None, expected: LocalState) -> bool:
    return (
        found is not None
        and (found.step, found.seconds, found.reported, found.total)
        == (expected.step, expected.seconds, expected.reported, expected.total)
        and np.array_equal(found.weights, expected.weights)
        and len(found.buffers) == len(expected.buffers)
        and all(map(np.array_equal, found.buffers, expected.buffers))
    )


def the_file(folder: Path) -> Path:
    (found,) = folder.glob("training-*.state")
    return found


@pytest.mark.parametrize("buffers", [0, 1, 2])
def test_the_last_state_comes_back_whoever_reads_it(tmp_path: Path, buffers: int) -> None:
    for last in range(1, 5):
        writer = Checkpoint.at(tmp_path, "scope", KEY)
        assert last == 1 or same(writer.read(N), state(last - 1, buffers))
        for step in range(max(1, last - 1), last + 1):
            writer.write(state(step, buffers), durably=step == last)
        writer.close()
        assert same(Checkpoint.at(tmp_path, "scope", KEY).read(N), state(last, buffers))
    assert stat.S_IMODE(the_file(tmp_path).stat().st_mode) == 0o600


def test_a_state_is_good_for_its_own_training_only(tmp_path: Path) -> None:
    Checkpoint.at(tmp_path, "scope", KEY).write(state(7))
    assert Checkpoint.at(tmp_path, "scope", OTHER).read(N) is None
    assert Checkpoint.at(tmp_path, "another scope", KEY).read(N) is None
    assert Checkpoint.at(tmp_path, "scope", KEY).read(N - 1) is None
    Checkpoint.at(tmp_path, "scope", OTHER).write(state(3))  # over it: the first one's is worthless by then
    assert same(Checkpoint.at(tmp_path, "scope", OTHER).read(N), state(3))


def test_what_a_training_follows_from_is_in_its_key() -> None:
    def digest(x: NDArray[Any], y: NDArray[Any], **more: Any) -> bytes:
        return digest_of(Samples({"x": x, **more.pop("beside", {})}, y, **more))

    x, y = np.arange(8, dtype=np.float32).reshape(4, 2), np.arange(4)
    parts: list[Any] = ["1/aa/1/bb", 3, b"d" * 32, "model", Recipe(), 0, digest(x, y)]
    others: list[tuple[int, Any]] = [(0, "1/aa/2/bb"), (1, 4), (2, b"e" * 32), (3, "other"), (5, 1)]
    others += [(4, Recipe(step_count=99)), (4, Recipe(proximal=0.1)), (4, Recipe(optimiser=AdamW(learning_rate=0.02)))]
    others += [
        (6, digest(x + 1, y)),
        (6, digest(x, y[::-1])),
        (6, digest(x[::-1], y)),
        (6, digest(x.reshape(4, 1, 2), y)),
    ]
    others += [(6, digest(x, y, beside={"z": x})), (6, digest(x, y, names=("a", "b", "c", "d")))]
    others += [(6, digest(x, y.astype(np.float32)[:, None])), (6, digest(x.astype(np.int64), y))]
    keys = {key_of(*parts)} | {key_of(*parts[:at], value, *parts[at + 1 :]) for at, value in others}
    assert len(keys) == 1 + len(others)
    assert key_of("a", "b") != key_of("a, b") and key_of(1) != key_of("1")


@settings(max_examples=60, deadline=None)
@given(data=st.data(), buffers=st.integers(0, 2))
def test_a_write_cut_short_anywhere_leaves_the_state_before_it(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, buffers: int
) -> None:
    """A kill in the middle of the system's write leaves a part of it, from its beginning on."""
    folder = tmp_path_factory.mktemp("cut")
    writer = Checkpoint.at(folder, "scope", KEY)
    last = data.draw(st.integers(1, 4))
    for step in range(1, last + 1):
        writer.write(state(step, buffers))
    writer.close()
    before = the_file(folder).read_bytes()
    writer = Checkpoint.at(folder, "scope", KEY)
    writer.read(N)
    writer.write(state(last + 1, buffers))
    writer.close()
    after = the_file(folder).read_bytes()
    changed = [at for at in range(len(after)) if at >= len(before) or after[at] != before[at]]
    cut = data.draw(st.integers(changed[0], changed[-1]))
    half = after[:cut] + before[cut:]
    the_file(folder).write_bytes(half)
    assert same(Checkpoint.at(folder, "scope", KEY).read(N), state(last, buffers))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_a_damaged_file_is_as_good_as_none_or_gives_a_state_that_was_written(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("damaged")
    writer = Checkpoint.at(folder, "scope", KEY)
    for step in (1, 2):
        writer.write(state(step))
    writer.close()
    spoilt = bytearray(the_file(folder).read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        spoilt[data.draw(st.integers(0, len(spoilt) - 1))] = data.draw(st.integers(0, 255))
    the_file(folder).write_bytes(bytes(spoilt[: data.draw(st.integers(0, len(spoilt)))]))
    found = Checkpoint.at(folder, "scope", KEY).read(N)
    assert found is None or same(found, state(1)) or same(found, state(2))


@pytest.mark.parametrize(
    "wrong",
    [
        lambda one: replace(one, weights=np.full(N, np.nan, np.float32)),
        lambda one: replace(one, buffers=(one.weights, np.full(N, np.inf, np.float32))),
        lambda one: replace(one, total=float("nan")),
    ],
)
def test_a_state_from_which_every_attempt_would_fail_is_not_gone_on_from(
    tmp_path: Path, wrong: Callable[[LocalState], LocalState]
) -> None:
    writer = Checkpoint.at(tmp_path, "scope", KEY)
    writer.write(state(1))
    writer.write(wrong(state(2)))
    assert same(Checkpoint.at(tmp_path, "scope", KEY).read(N), state(1))


def test_a_file_of_any_length_is_not_read_into_memory(tmp_path: Path) -> None:
    Checkpoint.at(tmp_path, "scope", KEY).write(state(1))
    os.truncate(the_file(tmp_path), 2**40)  # holes: it takes no room
    assert Checkpoint.at(tmp_path, "scope", KEY).read(N) is None


def test_a_link_in_its_place_is_not_followed(tmp_path: Path) -> None:
    writer = Checkpoint.at(tmp_path, "scope", KEY)
    writer.write(state(1))
    writer.close()
    path, victim = the_file(tmp_path), tmp_path / "victim"
    path.unlink()
    victim.write_bytes(b"precious")
    path.symlink_to(victim)
    with structlog.testing.capture_logs() as logs:
        Checkpoint.at(tmp_path, "scope", KEY).write(state(2))
    assert victim.read_bytes() == b"precious" and logs[0]["event"] == "checkpoint_impossible"


@pytest.mark.parametrize("how", ["full", "part", "away"])
def test_a_disk_that_takes_nothing_ends_the_writing_and_is_said_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(checkpoint.os, "pwritev", {"full": full, "part": lambda *_: 5, "away": os.pwritev}[how])
    writer = Checkpoint.at(tmp_path / "away" if how == "away" else tmp_path, "scope", KEY)
    with structlog.testing.capture_logs() as logs:
        for step in range(1, 4):
            assert writer.due(step) == (step == 1)
            writer.write(state(step), durably=True)
    assert [line["event"] for line in logs] == ["checkpoint_impossible"]
    writer.drop()


def test_what_is_over_leaves_nothing(tmp_path: Path) -> None:
    writer = Checkpoint.at(tmp_path, "scope", KEY)
    writer.drop()
    writer.write(state(1))
    writer.drop()
    assert not list(tmp_path.iterdir()) and writer.read(N) is None


def test_writing_takes_its_share_of_a_training_and_no_state_is_written_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 0.0
    really = os.pwritev

    def slow(*arguments: Any) -> int:
        nonlocal now
        now += 0.01
        return really(*arguments)

    monkeypatch.setattr(checkpoint.os, "pwritev", slow)
    writer = Checkpoint.at(tmp_path, "scope", KEY)
    writer = Checkpoint(writer._path, KEY, clock=lambda: now)
    writes = 0
    for step in range(1000):
        now += 0.004
        if writer.due(step):
            writer.write(state(step))
            writes += 1
            assert not writer.due(step)
    assert writes * 0.01 / now == pytest.approx(SHARE, rel=0.15)
    written = the_file(tmp_path).stat().st_mtime_ns
    last = Checkpoint(writer._path, KEY).read(N)
    assert last is not None
    writer.write(state(last.step), durably=True)  # a pause right after: only made durable
    assert the_file(tmp_path).stat().st_mtime_ns == written


def test_the_first_state_is_written_whoever_made_the_checkpoint(tmp_path: Path) -> None:
    """Its clock is that of the thread which calls; the one that made it may have computed for hours."""
    now = 3600.0
    writer = Checkpoint(tmp_path / "state", KEY, clock=lambda: now)
    now = 0.001
    assert writer.due(0)
    writer.write(state(0))
    assert not writer.due(0) and writer.due(1)
