"""docs/data.md says what is understood: each of its examples is carried out, and it is what the table gives."""

import re
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from linklearner import arrays
from services.trainer import data
from services.trainer.config import TrainerConfig
from services.trainer.data import SOURCES, Shard
from tests.services.trainer.test_trainer_data_sources import idx, write_emnist, write_mnist, write_qmnist
from tools import data_page, settings_table

N = 40
X, Y = np.random.default_rng(1).normal(size=(N, 3)).astype(np.float32), np.arange(N) % 4
KINDS = [("setosa", "virginica")[i % 2] for i in range(N)]


def nothing(place: Path) -> None:
    """What comes with a package."""


def npy(place: Path) -> None:
    np.save(place, X)
    np.save(place.with_name("labels.npy"), Y)


def csv(place: Path) -> None:
    place.write_text("length,width,species\n" + "".join(f"{i},{i / 2},{KINDS[i]}\n" for i in range(N)))


def images(place: Path) -> None:
    for kind in ("rose", "iris"):
        (place / kind).mkdir(parents=True)
        for number in range(10):
            PIL.Image.new("RGB", (8, 8), (number, 0, 0)).save(place / kind / f"{number}.png")


def pair(place: Path) -> None:
    place.write_bytes(idx(X, 0x0D))
    place.with_name("kinds-idx1-ubyte").write_bytes(idx(Y))


FILES: dict[str, Callable[[Path], object]] = {
    "digits": nothing,
    "diabetes": nothing,
    "npz": lambda place: np.savez(place, x=X, y=Y),
    "npy": npy,
    "csv": csv,
    "parquet": lambda place: pq.write_table(pa.table({"length": range(N), "species": KINDS}), place),
    "images": images,
    "mnist": lambda place: write_mnist(place / "MNIST" / "raw"),
    "emnist": lambda place: write_emnist(place, "balanced", "letters"),
    "qmnist": write_qmnist,
    "idx": pair,
    "python": lambda place: place.write_text("def data():\n    return [[1.0], [2.0]] * 20, [0, 1] * 20\n"),
}


def test_the_page_is_what_the_table_gives() -> None:
    assert data_page.main(["--check"]) == 0


def examples() -> list[str]:
    """The sources in the commands of the page, as a shell would pass them on."""
    commands = re.findall(r"^LINKLEARNER_TRAINER_DATA=.*$", data_page.PATH.read_text(), re.MULTILINE)
    return [shlex.split(command)[0].partition("=")[2] for command in commands]


@pytest.mark.parametrize("source", examples())
def test_each_example_of_the_page_is_understood(source: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    kind, _, rest = source.partition("?")[0].partition(":")
    FILES[kind](Path(rest))
    learn, held_out = data.load(TrainerConfig(data=source).data, Shard())
    assert len(learn) and len(held_out)
    learn.check_learnable()


def test_the_page_has_an_example_of_every_source() -> None:
    assert FILES.keys() == SOURCES.keys() == {source.partition("?")[0].partition(":")[0] for source in examples()}


def test_the_setting_names_every_source() -> None:
    said = settings_table.documents(TrainerConfig)["data"]
    *first, last = data.forms().split(", ")
    assert f"{', '.join(first)} or {last}." in said


def test_the_page_names_no_bound_that_is_not_ours() -> None:
    text = data_page.PATH.read_text()
    assert f"{arrays.MAX_BYTES >> 20} MiB" in text and f"{data.MAX_VALUES:,} numbers" in text
