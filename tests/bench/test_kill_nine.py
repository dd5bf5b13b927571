"""kill -9 at ten random moments: real processes, what they sent held to what trainings without any kill would have sent."""

from pathlib import Path

from bench import kill_nine


async def test_a_trainer_killed_at_any_moment_loses_the_step_under_way_and_nothing_else(tmp_path: Path) -> None:
    """share: a checkpoint after every step, however much of the time that takes; `python -m bench.kill_nine` leaves it as it is."""
    found = await kill_nine.measure(10, 12, tmp_path, share=1e9)
    assert (found.kills, found.twice, found.different) == (10, 0, 0)
    assert found.in_training and set(found.lost) == {0}, found
    assert found.rounds >= 1
