"""What `python -m bench.merge` says, without Flower: no speed is asserted."""

import json
from pathlib import Path

import pytest

from bench import merge


def test_tensors_have_together_the_weights_of_the_size() -> None:
    for size in (1_000, 6_370, 10_000_000):
        lengths = merge.tensor_lengths(size)
        assert sum(lengths) == size and min(lengths) > 0


def test_without_flower_it_says_so_and_judges_by_the_goal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    absent = str(tmp_path / "python")
    assert merge.main(["--sizes", "1000", "--turns", "1", "--flower", absent]) == 0  # a size that is not judged
    said = capsys.readouterr().out
    assert "Flower is not shown" in said and "decoding included" in said
    for rate, status in ((1.6e8, 0), (1.4e8, 1)):
        monkeypatch.setattr(merge, "measure", lambda *_, rate=rate: {"two-bits": rate, "int8": 2e8})
        assert merge.main(["--sizes", "100000", "--json", "--flower", absent]) == status
        assert json.loads(capsys.readouterr().out)["holds"] is (status == 0)
