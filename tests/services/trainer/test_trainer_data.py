"""Samples: sources, the held-out split, shards, and what is refused."""

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from linklearner.domain.classifier import classifier
from linklearner.domain.digits import DIGITS, DIGITS_CNN
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError, NotFinite
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.model import ModelSpec
from services.trainer import data
from services.trainer.data import Samples, Shard

ALL = Shard()


def x_of(samples: Samples) -> np.ndarray:
    """The array of a source that has but one."""
    (x,) = samples.inputs.values()
    return x


def test_the_digits_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    digits = data.digits()
    np.testing.assert_array_equal(x_of(digits), x)
    np.testing.assert_array_equal(digits.y, y)


def test_everybody_holds_out_the_same_fifth_of_each_label() -> None:
    (learn, held_out), (_, others) = (data.load("digits", Shard(i, 5)) for i in (0, 3))
    np.testing.assert_array_equal(x_of(held_out), x_of(others))
    everything = data.digits()
    counts, of_all = held_out.label_counts(10), everything.label_counts(10)
    np.testing.assert_array_equal(counts, np.round(of_all / 5))
    assert len(held_out) == 359 and len(learn) < len(everything) - len(held_out)
    rest, _ = data.hold_out(everything)
    assert len(rest) + len(held_out) == len(everything)
    assert not {row.tobytes() for row in x_of(rest)} & {row.tobytes() for row in x_of(held_out)}


@given(
    labels=st.lists(st.integers(0, 4), min_size=1, max_size=60),
    count=st.integers(1, 12),
    alpha=st.sampled_from((None, 0.01, 0.1, 1.0, 100.0)),
    seed=st.integers(0, 2**32),
)
def test_shards_are_disjoint_complete_never_empty_and_repeatable(
    labels: list[int], count: int, alpha: float | None, seed: int
) -> None:
    y = np.array(labels)
    if count > len(y):
        with pytest.raises(InvalidConfig, match="cannot be cut"):
            data.shards(y, count, alpha, seed)
        return
    parts = data.shards(y, count, alpha, seed)
    assert len(parts) == count and all(len(part) for part in parts)
    np.testing.assert_array_equal(np.sort(np.concatenate(parts)), np.arange(len(y)))
    for part, again in zip(parts, data.shards(y, count, alpha, seed), strict=True):
        np.testing.assert_array_equal(part, again)


def test_smaller_alpha_means_more_skew() -> None:
    y = np.arange(1000) % 10

    def spread(alpha: float | None) -> float:
        counts = [np.bincount(y[part], minlength=10) for part in data.shards(y, 5, alpha, 7)]
        return float(np.std(np.array(counts) / 20))

    assert spread(None) < spread(10.0) < spread(1.0) < spread(0.1)


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    return (
        struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape) + values.astype(np.uint8).tobytes()
    )


@pytest.fixture
def mnist(tmp_path: Path) -> Path:
    """Two files plain, two zipped, in both spellings of the names."""
    generator = np.random.default_rng(3)
    (tmp_path / "train-images-idx3-ubyte").write_bytes(idx(generator.integers(0, 256, (50, 4, 3))))
    (tmp_path / "train-labels.idx1-ubyte").write_bytes(idx(np.arange(50) % 10))
    (tmp_path / "t10k-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(generator.integers(0, 256, (20, 4, 3)))))
    (tmp_path / "t10k-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(20) % 10)))
    return tmp_path


def test_mnist_files_are_read_plain_and_zipped(mnist: Path) -> None:
    learn, held_out = data.load(f"mnist:{mnist}", ALL)
    assert x_of(learn).shape == (50, 4, 3) and x_of(held_out).shape == (20, 4, 3)
    assert x_of(learn).dtype == np.uint8 and x_of(learn).max() > 200
    np.testing.assert_array_equal(held_out.y, np.arange(20) % 10)
    shard, same = data.load(f"mnist:{mnist}", Shard(1, 2))
    assert 0 < len(shard) < 50 and len(same) == 20


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an IDX file"),
        (idx(np.zeros((50, 4))), "not an IDX file"),
        (idx(np.zeros((50, 4, 3)), kind=10), "not an IDX file"),
        (idx(np.zeros((50, 4, 3)), kind=13), "announces 2400 bytes of data and holds 600"),
        (idx(np.zeros((50, 4, 3)))[:-1], "announces 600 bytes of data and holds 599"),
        (idx(np.zeros((50, 4, 3))) + b"\0", "announces 600 bytes of data and holds 601"),
        (idx(np.zeros((49, 4, 3))), "49 samples have 50 labels"),
    ],
)
def test_damaged_mnist_files_are_refused(mnist: Path, content: bytes, why: str) -> None:
    (mnist / "train-images-idx3-ubyte").write_bytes(content)
    with pytest.raises(InvalidInput, match=why):
        data.load(f"mnist:{mnist}", ALL)


def test_a_missing_or_truncated_mnist_file_is_named(mnist: Path) -> None:
    path = mnist / "t10k-labels-idx1-ubyte.gz"
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(InvalidConfig, match="t10k-labels-idx1-ubyte"):
        data.load(f"mnist:{mnist}", ALL)
    path.unlink()
    with pytest.raises(InvalidConfig, match="has none of t10k-labels-idx1-ubyte"):
        data.load(f"mnist:{mnist}", ALL)


def test_an_npz_keeps_its_dimensions_and_a_fifth_is_held_out(tmp_path: Path) -> None:
    np.savez(tmp_path / "mine.npz", x=np.ones((100, 2, 3)), y=np.arange(100) % 2)
    learn, held_out = data.load(f"npz:{tmp_path / 'mine.npz'}", ALL)
    assert x_of(learn).shape == (80, 2, 3) and x_of(held_out).shape == (20, 2, 3) and x_of(held_out).dtype == np.float32


def test_an_npz_may_bring_its_own_test_set(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "mine.npz", x=np.ones((100, 6)), y=np.zeros(100, int), x_test=np.ones((7, 6)), y_test=np.ones(7, int)
    )
    learn, held_out = data.load(f"npz:{tmp_path / 'mine.npz'}", ALL)
    assert (len(learn), len(held_out)) == (100, 7)


X, Y = np.ones((9, 2)), np.zeros(9, dtype=np.int64)


@pytest.mark.parametrize(
    ("arrays", "error", "why"),
    [
        ({"x": X}, InvalidConfig, "must hold x and y"),
        ({"x": X, "y": Y, "x_test": X}, InvalidConfig, "must hold x and y"),
        ({"x": X[:8], "y": Y}, InvalidConfig, "8 samples have 9 labels"),
        ({"x": np.full((9, 2), "a"), "y": Y}, InvalidConfig, r"x is \(n, …\) numbers"),
        ({"x": X, "y": Y * 1j}, InvalidConfig, r"y is \(n,\) labels"),
        ({"x": X, "y": np.zeros((9, 2, 2))}, InvalidConfig, "flatten it"),
        ({"x": X, "y": np.array([object()] * 9)}, InvalidConfig, "plain arrays"),
        ({"x": X * np.nan, "y": Y}, NotFinite, "9 of 9 samples"),
        ({"x": X * np.inf, "y": Y}, NotFinite, "9 of 9 samples"),
    ],
)
def test_unusable_npz_files_are_refused(
    tmp_path: Path, arrays: dict[str, np.ndarray], error: type[LinkLearnerError], why: str
) -> None:
    np.savez(tmp_path / "mine.npz", **arrays)
    with pytest.raises(error, match=why):
        data.load(f"npz:{tmp_path / 'mine.npz'}", ALL)


@pytest.mark.parametrize("source", ["", "digit", "digits:x", "npz:", "mnist:", "npz:/nowhere.npz", "mnist:/nowhere"])
def test_a_source_that_cannot_be_read_says_so(source: str) -> None:
    with pytest.raises(InvalidConfig):
        data.load(source, ALL)


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mine.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(InvalidConfig, match="is not an"):
        data.load(f"npz:{tmp_path / 'mine.npz'}", ALL)


@pytest.mark.parametrize("shard", [(5, 5), (-1, 5), (0, 0)])
def test_a_shard_lies_inside_its_cut(shard: tuple[int, int]) -> None:
    Shard(4, 5)
    with pytest.raises(InvalidConfig):
        Shard(*shard)


@pytest.mark.parametrize("alpha", [0.0, -1.0, 1e-300, 1e7, 1e308, np.inf, np.nan])
def test_alpha_is_such_as_a_draw_can_use(alpha: float) -> None:
    with pytest.raises(InvalidConfig, match="alpha"):
        Shard(0, 5, alpha)


def test_samples_fit_a_model_or_are_refused() -> None:
    samples = Samples({"x": np.ones((3, 4), dtype=np.float32)}, np.array([0, 1, 2]))

    def model(*layers: int) -> ModelSpec:
        return classifier("m", Mlp(layers), tuple(map(str, range(layers[-1]))))

    assert samples.inputs_of(model(4, 3))["x"].shape == (3, 4)
    with pytest.raises(InvalidInput, match="task's model takes rows of 5 numbers, not of 4 numbers"):
        samples.inputs_of(model(5, 3))
    with pytest.raises(InvalidInput, match=r"labels 0..1, the samples go up to 2"):
        samples.targets_of(model(4, 2))


def test_images_and_rows_are_arranged_as_the_model_takes_them() -> None:
    learn, _ = data.load("digits", Shard(0, 5))
    assert learn.inputs_of(DIGITS)["pixels"].shape[1:] == (64,)
    images = learn.inputs_of(DIGITS_CNN)["pixels"]
    assert images.shape[1:] == (1, 8, 8)
    np.testing.assert_array_equal(images.reshape(-1, 64), x_of(learn))
    again = Samples({"x": images}, learn.y)
    np.testing.assert_array_equal(again.inputs_of(DIGITS)["pixels"], x_of(learn))
    assert repr(again) == f"Samples(n={len(learn)}, x=1x8x8)"


def test_samples_do_not_show_themselves() -> None:
    assert repr(Samples({"x": np.full((3, 4), 7, dtype=np.float32)}, np.array([0, 1, 2]))) == "Samples(n=3, x=4)"


@pytest.mark.parametrize(("split", "first"), [("digits", 0), ("letters", 1)])
def test_emnist_stands_upright_and_counts_labels_from_0(tmp_path: Path, split: str, first: int) -> None:
    images = np.random.default_rng(3).integers(0, 256, (50, 4, 3))
    for part in ("train", "test"):
        (tmp_path / f"emnist-{split}-{part}-images-idx3-ubyte.gz").write_bytes(
            gzip.compress(idx(images.transpose(0, 2, 1)))
        )
        (tmp_path / f"emnist-{split}-{part}-labels-idx1-ubyte").write_bytes(idx(np.arange(50) % 10 + first))
    learn, held_out = data.load(f"emnist:{tmp_path}", ALL)
    for samples in (learn, held_out):
        np.testing.assert_array_equal(x_of(samples), images)
        np.testing.assert_array_equal(samples.y, np.arange(50) % 10)


def test_a_folder_holds_one_split_of_emnist(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="one split of EMNIST"):
        data.load(f"emnist:{tmp_path}", ALL)
    for split in ("digits", "letters"):
        (tmp_path / f"emnist-{split}-train-images-idx3-ubyte").write_bytes(b"")
    with pytest.raises(InvalidConfig, match="not 2"):
        data.load(f"emnist:{tmp_path}", ALL)


@pytest.mark.parametrize("case", ["20-corrupt-zlib-error.npz", "20-encrypted.npz", "20-npy-called-npz.npz"])
def test_damaged_cases_are_refused_with_their_cause(case: str) -> None:
    with pytest.raises(InvalidConfig, match="cannot read") as raised:
        data.load(f"npz:{Path(__file__).parents[2] / 'data' / 'cases' / case}", ALL)
    assert raised.value.__cause__ is not None and raised.value.__cause__.__cause__ is not None


@pytest.mark.parametrize("y", [np.full(9, 2**40), np.full(9, 2**64 - 1, dtype=np.uint64), np.full(9, 2**20)])
def test_whole_numbers_beyond_every_model_are_no_labels_and_never_counted(tmp_path: Path, y: np.ndarray) -> None:
    np.savez(tmp_path / "mine.npz", x=X, y=y)
    learn, _ = data.load(f"npz:{tmp_path / 'mine.npz'}", ALL)
    assert not learn.labelled and learn.label_counts().size == 0
    with pytest.raises(InvalidInput, match=r"the task has labels 0..1"):
        learn.targets_of(classifier("m", Mlp((2, 2)), ("no", "yes")))


def test_labels_of_samples_are_bounded() -> None:
    with pytest.raises(InvalidInput, match="at most; the largest here"):
        Samples({"x": np.ones((1, 2), np.float32)}, np.array([data.MAX_LABEL + 1]))
    with pytest.raises(InvalidInput, match="labels count from 0; the smallest here is -1"):
        Samples({"x": np.ones((1, 2), np.float32)}, np.array([-1]))


def test_more_numbers_than_memory_should_hold_are_refused_before_they_are_widened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mnist: Path
) -> None:
    monkeypatch.setattr("services.trainer.data.samples.MAX_VALUES", 17)
    monkeypatch.setattr("services.trainer.data.idx.MAX_VALUES", 17)
    np.savez(tmp_path / "mine.npz", x=X, y=Y)
    for source in (f"npz:{tmp_path / 'mine.npz'}", f"mnist:{mnist}"):
        with pytest.raises(InvalidConfig, match="more than 17"):
            data.load(source, ALL)


@pytest.mark.parametrize(
    "images", [np.zeros((0, 4, 3)), np.zeros((50, 0, 3)), np.zeros((0, 0, 0))], ids=["none", "flat", "nothing"]
)
def test_an_idx_file_of_no_pixels_teaches_nothing(mnist: Path, images: np.ndarray) -> None:
    (mnist / "train-images-idx3-ubyte").write_bytes(idx(images))
    (mnist / "train-labels.idx1-ubyte").write_bytes(idx(np.arange(len(images)) % 10))
    with pytest.raises(InvalidConfig, match="nothing to learn") as refused:
        data.load(f"mnist:{mnist}", ALL)
    assert refused.value.reason == data.NOTHING_TO_LEARN
