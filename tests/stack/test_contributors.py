"""One file spells out three contributors; the rest is arithmetic."""

from pathlib import Path

import pytest

from tools.stack.contributors import LIMIT, BadMarks, written_out

COMPOSE = (Path(__file__).resolve().parents[2] / "docker-compose.yml").read_text()


def test_for_three_contributors_the_file_is_itself() -> None:
    assert written_out(COMPOSE, 3) == COMPOSE


def test_for_five_contributors_everything_that_belongs_to_one_is_there_five_times() -> None:
    written = written_out(COMPOSE, 5)
    for index in range(1, 6):
        assert f"\n  gateway-{index}:\n" in written
        assert f'"127.0.0.1:${{GATEWAY_PORT_{index}:-{15050 + index}}}:9000"' in written
        assert f"LINKLEARNER_TRAINER_SHARD: {index - 1}/${{CONTRIBUTORS:-3}}" in written
        for secret in ("contributor", "operator", "trainer"):
            assert f"/secrets/{secret}-{index}\n" in written
        assert written.count(f"keys-{index}:/var/lib/linklearner/contributors/{index}\n") == 1
        assert f"\n  home-{index}:\n    internal: true\n" in written
    assert "gateway-6" not in written
    assert written.count('LINKLEARNER_TRAINER_SHARD_SEED: "1"') == 1, "all trainers cut the data alike"


def test_for_one_contributor_no_trace_of_a_second_is_left() -> None:
    written = written_out(COMPOSE, 1)
    assert "gateway-1" in written
    for name in ("gateway", "trainer", "home", "keys", "outbox", "state", "contributor"):
        assert f"{name}-2" not in written


@pytest.mark.parametrize("contributors", [1, LIMIT])
def test_the_bounds_themselves_are_allowed(contributors: int) -> None:
    assert f"trainer-{contributors}:" in written_out(COMPOSE, contributors)


@pytest.mark.parametrize("contributors", [0, LIMIT + 1])
def test_numbers_beyond_the_bounds_are_refused(contributors: int) -> None:
    with pytest.raises(ValueError, match="CONTRIBUTORS must be between 1 and 20, got"):
        written_out(COMPOSE, contributors)


REGION = "#: contributor 1\na-1\n#: contributor 2\n{}\n#: contributor 3\na-3\n#: end\n"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        (REGION.format("b-2"), "more than numbers"),
        (REGION.format("a-3"), "do not rise by one"),
        ("#: contributor 2\n#: end\n", "where contributor 1 is due"),
        ("#: contributor 1\n#: end\n", "without 3 contributors"),
        ("#: contributor 1\n", "ends within"),
        ("#: end\n", "without 3 contributors"),
    ],
)
def test_marks_that_break_the_rule_are_named(text: str, complaint: str) -> None:
    assert written_out(REGION.format("a-2"), 2) == "#: contributor 1\na-1\n#: contributor 2\na-2\n#: end\n"
    with pytest.raises(BadMarks, match=complaint):
        written_out(text, 4)
