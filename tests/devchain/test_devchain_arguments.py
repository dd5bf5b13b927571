"""What is typed after `python -m devchain`: one sentence and exit status 2 for what has no meaning, before anything starts."""

import pytest

from devchain.__main__ import main


@pytest.mark.parametrize(
    "typed",
    [
        ("--min-gas-multiplier", "1e99999999"),  # took all memory
        ("--min-gas-multiplier", "1/0"),
        ("--min-gas-multiplier", "-0.5"),
        ("--min-gas-multiplier", "nan"),
        ("--port", "１２"),
        ("--port", "8_545"),
        ("--port", "65536"),
        ("--chain-id", "1_1"),
        ("--chain-id", "٣"),
        ("--chain-id", "9" * 5000),
        ("--host", ""),  # listened on every interface
        ("--host", " "),
        ("--host", "a" * 300),
        ("--state", ""),
        ("--state", "a\0b"),
    ],
)
def test_what_has_no_meaning_is_refused(typed: tuple[str, str], capsys: pytest.CaptureFixture[str]) -> None:
    try:
        code: object = main(["--port", "0", *typed])
    except SystemExit as ended:
        code = ended.code
    said = capsys.readouterr().err
    assert code == 2
    assert typed[0].removeprefix("--").replace("-", "_") in said.replace("-", "_") and len(said.splitlines()[-1]) < 300


@pytest.mark.parametrize("share", ["0", "1", "0.5", ".5", "1/2"])
def test_a_share_is_written_in_several_ways(share: str) -> None:
    from devchain.__main__ import _share

    assert 0 <= _share(share) <= 1
