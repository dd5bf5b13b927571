"""The benches of the embedded chain run, in short: all transactions that they send are taken."""

from pathlib import Path

import pytest

from bench import devchain, growth
from bench.anvil import AnvilUnavailable
from linklearner.domain.encodings import TWO_BITS


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"TRANSFERS": 2, "BATCH": 1, "ROUNDS": 1, "WEIGHTS": 500, "DEPOSITS": 2}.items():
        monkeypatch.setattr(devchain, name, value)


def test_transfers_are_made_on_both_chains() -> None:
    try:
        figures = devchain.transfers()
    except AnvilUnavailable as why:
        pytest.skip(str(why))
    assert [figure.what.rpartition(", ")[2] for figure in figures] == ["devchain", "anvil", "median of batches"]


def test_rounds_are_settled_and_aspects_judge() -> None:
    assert devchain.settlements(TWO_BITS)
    assert devchain.join_point()


def test_a_chain_grows_by_a_block_a_transfer(tmp_path: Path) -> None:
    client = growth.Client(tmp_path / "chain.sqlite")
    client.create_coin()
    client.batch(3)
    assert client.chain.head.number == 4
    client.chain.close()
