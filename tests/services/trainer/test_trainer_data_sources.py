"""Sources of samples: what each understands, and what it refuses, with the remedy."""

import gzip
import io
import json
import struct
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import PIL.Image
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from linklearner import arrays
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError, NotFinite
from services.trainer import data
from services.trainer.data import SOURCES, Samples, Shard, named, sources
from services.trainer.data.footer import ColumnChunk, chunks
from services.trainer.data.pages import PageHeader
from services.trainer.data.source import Found, Options, Source
from services.trainer.own_file import MODULE
from tests.services.trainer.test_trainer_data import x_of

ROOT = Path(__file__).resolve().parents[3]
ALL = Shard()
N = 40
GENERATOR = np.random.default_rng(5)
X = GENERATOR.integers(0, 256, (N, 6, 5)).astype(np.uint8)
Y = (np.arange(N) % 4).astype(np.uint8)


def everything(source: str) -> Samples:
    """What a source holds, learnt from or held out, in an order of the split's own."""
    learn, held_out = data.load(source, ALL)
    x = {name: np.concatenate((learn.inputs[name], held_out.inputs[name])) for name in learn.inputs}
    return Samples(x, np.concatenate((learn.y, held_out.y)), learn.names, learn.columns, learn.pictures)


def rows(x: np.ndarray, y: np.ndarray) -> list[tuple[bytes, Any]]:
    """Samples as a set would have them, whatever their order."""
    return sorted(
        (np.ascontiguousarray(a, dtype=np.float64).tobytes(), str(b)) for a, b in zip(x, y.tolist(), strict=True)
    )


# --- IDX ---

IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}


def idx(values: np.ndarray, kind: int = 8) -> bytes:
    head = struct.pack(f">BBBB{values.ndim}I", 0, 0, kind, values.ndim, *values.shape)
    return head + values.astype(IDX_TYPES[kind]).tobytes()


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("shape", [(N,), (N, 3), (N, 6, 5), (N, 2, 3, 2, 2)], ids=len)
@pytest.mark.parametrize("kind", IDX_TYPES)
def test_idx_of_every_element_type_and_rank_is_read(
    tmp_path: Path, kind: int, shape: tuple[int, ...], zipped: bool
) -> None:
    values = np.random.default_rng(kind).integers(0, 100, shape)
    ending, pack = (".gz", gzip.compress) if zipped else ("", bytes)
    (tmp_path / f"x{ending}").write_bytes(pack(idx(values, kind)))
    (tmp_path / f"y{ending}").write_bytes(pack(idx(Y, 0x0C)))
    found = everything(f"idx:{tmp_path}/x{ending}?y=y{ending}")
    assert x_of(found).dtype in data.DTYPES and x_of(found).dtype.kind == np.dtype(IDX_TYPES[kind]).kind
    assert rows(x_of(found), found.y) == rows(values, Y)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not an IDX file"),
        (b"\0\0\x08", "not an IDX file"),
        (b"\0\0\x0a\x01" + bytes(8), "not an IDX file"),
        (b"\0\0\x08\x00", "not an IDX file"),
        (b"\0\0\x08\xff" + b"\xff" * 1020, "not an IDX file"),
        (b"\0\0\x08\x03\0\0\0\x01", "ends before its sizes do"),
        (b"\0\0\x0e\x04" + b"\xff" * 16, r"announces 27\d+ bytes of data and holds 0"),
        (gzip.compress(idx(X)), "not an IDX file"),
    ],
)
def test_idx_that_lies_is_refused_before_anything_is_allocated(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "x").write_bytes(content)
    (tmp_path / "y").write_bytes(idx(Y))
    with pytest.raises(InvalidConfig, match=why):
        data.load(f"idx:{tmp_path}/x?y=y", ALL)


def write_mnist(folder: Path, x: np.ndarray = X, y: np.ndarray = Y) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for part in ("train", "t10k"):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx(x))
        (folder / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(y)))


def write_qmnist(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    labels = np.stack([Y, *(np.full(N, 1000 + i) for i in range(7))], axis=1)
    for part in ("train", "test"):
        (folder / f"qmnist-{part}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(X)))
        (folder / f"qmnist-{part}-labels-idx2-int.gz").write_bytes(gzip.compress(idx(labels, 0x0C)))


def write_emnist(folder: Path, *splits: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for split in splits:
        for part in ("train", "test"):
            (folder / f"emnist-{split}-{part}-images-idx3-ubyte").write_bytes(idx(X.transpose(0, 2, 1)))
            (folder / f"emnist-{split}-{part}-labels-idx1-ubyte").write_bytes(idx(Y + (split == "letters")))


@pytest.mark.parametrize("below", ["", "MNIST/raw", "raw", "FashionMNIST/raw"])
def test_mnist_is_found_where_torchvision_puts_it(tmp_path: Path, below: str) -> None:
    write_mnist(tmp_path / below)
    learn, held_out = data.load(f"mnist:{tmp_path}", ALL)
    assert x_of(learn).dtype == np.uint8  # a quarter of the memory
    for samples in (learn, held_out):
        np.testing.assert_array_equal(x_of(samples), X)
        np.testing.assert_array_equal(samples.y, Y)


def test_a_folder_of_several_data_sets_is_refused(tmp_path: Path) -> None:
    for name in ("MNIST", "FashionMNIST"):
        write_mnist(tmp_path / name / "raw")
    with pytest.raises(InvalidConfig, match=r"several data sets.*name the folder of one"):
        data.load(f"mnist:{tmp_path}", ALL)
    learn, _ = data.load(f"mnist:{tmp_path}/MNIST", ALL)
    assert len(learn) == N


@pytest.mark.parametrize("below", ["", "QMNIST/raw"])
def test_qmnist_s_first_number_is_the_label(tmp_path: Path, below: str) -> None:
    write_qmnist(tmp_path / below)
    learn, held_out = data.load(f"qmnist:{tmp_path}", ALL)
    for samples in (learn, held_out):
        np.testing.assert_array_equal(samples.y, Y)
        np.testing.assert_array_equal(x_of(samples), X)


def test_one_split_of_several_of_emnist_is_named(tmp_path: Path) -> None:
    write_emnist(tmp_path / "EMNIST" / "raw", "balanced", "letters")
    with pytest.raises(InvalidConfig, match=r"not 2 \(here: balanced, letters\); name one with \?split="):
        data.load(f"emnist:{tmp_path}", ALL)
    learn, _ = data.load(f"emnist:{tmp_path}?split=letters", ALL)
    np.testing.assert_array_equal(learn.y, Y)
    np.testing.assert_array_equal(x_of(learn), X)
    with pytest.raises(InvalidConfig, match="split must be one of"):
        data.load(f"emnist:{tmp_path}?split=greek", ALL)
    with pytest.raises(InvalidConfig, match="has none of emnist-digits"):
        data.load(f"emnist:{tmp_path}?split=digits", ALL)


# --- arrays by name ---


@pytest.mark.parametrize("row", named.NAMES, ids=lambda row: f"{row.x}, {row.y}")
@pytest.mark.parametrize("spelt", [str, str.upper], ids=["as listed", "in capitals"])
def test_arrays_are_found_by_the_names_that_people_give_them(
    tmp_path: Path, row: named.Names, spelt: Callable[[str], str]
) -> None:
    np.savez(tmp_path / "mine.npz", **{spelt(row.x): X, spelt(row.y): Y})
    found = everything(f"npz:{tmp_path}/mine.npz")
    assert rows(x_of(found), found.y) == rows(X, Y)
    if row.x_test:
        test = {spelt(row.x_test): X[:7], spelt(row.y_test): Y[:7]}
        np.savez(tmp_path / "mine.npz", **{spelt(row.x): X, spelt(row.y): Y}, **test)
        learn, held_out = data.load(f"npz:{tmp_path}/mine.npz", ALL)
        assert (len(learn), len(held_out)) == (N, 7)
        for half in test:
            np.savez(tmp_path / "mine.npz", **{spelt(row.x): X, spelt(row.y): Y, half: test[half]})
            with pytest.raises(InvalidConfig, match=r"must hold x and y.*is missing"):
                data.load(f"npz:{tmp_path}/mine.npz", ALL)


def test_a_medmnist_archive_has_labels_in_a_column_and_a_part_that_nobody_needs(tmp_path: Path) -> None:
    parts = {
        f"{part}_{what}": values
        for part in ("train", "val", "test")
        for what, values in (("images", X), ("labels", Y[:, None]))
    }
    np.savez(tmp_path / "pathmnist.npz", **parts)
    with capture_logs() as said:
        learn, held_out = data.load(f"npz:{tmp_path}/pathmnist.npz", ALL)
    np.testing.assert_array_equal(learn.y, Y)
    np.testing.assert_array_equal(held_out.y, Y)
    assert [line["arrays"] for line in said if line["event"] == "arrays_left_aside"] == [["val_images", "val_labels"]]


def test_several_labels_a_sample_are_targets(tmp_path: Path) -> None:
    labels = GENERATOR.integers(0, 2, (N, 14)).astype(np.uint8)
    np.savez(tmp_path / "chestmnist.npz", train_images=X, train_labels=labels, test_images=X, test_labels=labels)
    learn, _ = data.load(f"npz:{tmp_path}/chestmnist.npz", ALL)
    assert learn.y.dtype == np.float32
    np.testing.assert_array_equal(learn.y, labels)


def test_scikit_learn_s_own_dict_is_understood(tmp_path: Path) -> None:
    from sklearn.datasets import load_digits

    bunch = load_digits()
    np.savez(tmp_path / "digits.npz", data=bunch.data, target=bunch.target, images=bunch.images)
    digits = data.digits()
    found = everything(f"npz:{tmp_path}/digits.npz")
    assert rows(x_of(found), found.y) == rows(x_of(digits), digits.y)


def test_several_inputs_are_found_by_the_task_s_own_names(tmp_path: Path) -> None:
    tokens, mask = np.arange(N * 3).reshape(N, 3), np.ones((N, 3), dtype=bool)
    for arrays_ in (
        {"tokens": tokens, "mask": mask, "y": Y, "tokens_test": tokens[:9], "mask_test": mask[:9], "y_test": Y[:9]},
        {
            "tokens_train": tokens,
            "mask_train": mask,
            "y_train": Y,
            "tokens_test": tokens[:9],
            "mask_test": mask[:9],
            "y_test": Y[:9],
        },
    ):
        np.savez(tmp_path / "text.npz", **arrays_)
        learn, held_out = data.load(f"npz:{tmp_path}/text.npz", ALL)
        assert list(learn.inputs) == list(held_out.inputs) == ["mask", "tokens"]
        assert learn.inputs["tokens"].dtype == np.int64 and learn.inputs["mask"].dtype == bool
        assert (len(learn), len(held_out)) == (N, 9)
    del arrays_["mask_test"]
    np.savez(tmp_path / "text.npz", **arrays_)
    with pytest.raises(InvalidConfig, match="mask_test is missing"):
        data.load(f"npz:{tmp_path}/text.npz", ALL)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        (
            {"pixels": X, "kinds": Y},
            "must hold x and y .*rename the arrays. Understood are x and y; x_train and y_train",
        ),
        ({"arr_0": X, "arr_1": Y, "arr_2": X, "arr_3": Y}, "rename the arrays"),
        ({"x": X, "X": X, "Y": Y}, "rename the arrays"),
        ({"x": np.array([{"a": 1}] * N), "y": Y}, "pickled Python objects, which are never loaded"),
        (
            {"x": np.full((N, 2), "red"), "y": Y},
            "x is .* numbers, not .* an array of text: write categories as 0/1 columns",
        ),
        ({"x": X + 0j, "y": Y}, "complex numbers"),
        ({"x": np.full((N, 2), 2**64 - 1, dtype=np.uint64), "y": Y}, "beyond 64 bits"),
        ({"x": np.zeros(N, dtype=[("a", "<f4")]), "y": Y}, "cannot read|records"),
        ({"x": X[0, 0, 0], "y": Y}, "not one number alone"),
        ({"x": X[:-1], "y": Y}, "39 samples have 40 labels"),
        ({"x": X, "y": np.zeros((N, 5000))}, "5000 numbers a sample, more than"),
        ({"x": X, "y": np.array(["a" * 300, "b"] * (N // 2))}, "labels are few .* and short"),
        ({"x": X, "y": np.array([b"\xff", b"b"] * (N // 2))}, "no UTF-8"),
    ],
)
def test_arrays_that_are_no_samples_are_refused_with_the_remedy(
    tmp_path: Path, given: dict[str, np.ndarray], why: str
) -> None:
    np.savez(tmp_path / "mine.npz", **given)
    with pytest.raises(InvalidConfig, match=why) as refused:
        data.load(f"npz:{tmp_path}/mine.npz", ALL)
    assert len(refused.value.message) < 900


@pytest.mark.parametrize("where", ["x", "y"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e39])
def test_what_is_not_finite_is_refused_with_its_place(tmp_path: Path, where: str, bad: float) -> None:
    x, y = X.astype(np.float64), Y[:, None] + 0.5
    (x if where == "x" else y)[17, 0] = bad
    np.savez(tmp_path / "mine.npz", x=x, y=y, x_test=X, y_test=Y + 0.5)
    with pytest.raises(
        NotFinite, match=rf"1 of 40 samples .* in {where} \(the first is sample 17, .*leave these samples out"
    ):
        data.load(f"npz:{tmp_path}/mine.npz", ALL)


def test_text_labels_of_an_array_keep_their_names(tmp_path: Path) -> None:
    texts = np.array(["rose", "aster", "iris", "rose"] * (N // 4))
    for y in (texts, texts[:, None], np.char.encode(texts)):
        np.savez(tmp_path / "mine.npz", x=X, y=y, x_test=X[:2], y_test=np.array(["zinnia", "iris"]))
        learn, held_out = data.load(f"npz:{tmp_path}/mine.npz", ALL)
        assert learn.names == held_out.names == ("aster", "iris", "rose", "zinnia")
        assert [learn.names[label] for label in learn.y] == texts.tolist()
        assert [held_out.names[label] for label in held_out.y] == ["zinnia", "iris"]


def test_a_pair_and_a_folder_of_npy_files_are_read(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", np.asfortranarray(X))
    np.save(tmp_path / "kinds.npy", Y)
    (tmp_path / "elsewhere").mkdir()
    np.save(tmp_path / "elsewhere" / "kinds.npy", Y)
    for y in ("kinds.npy", f"{tmp_path}/elsewhere/kinds.npy"):
        found = everything(f"npy:{tmp_path}/images.npy?y={y}")
        assert rows(x_of(found), found.y) == rows(X, Y)
    with pytest.raises(InvalidConfig, match=r"inputs alone: add \?y=FILE"):
        data.load(f"npy:{tmp_path}/images.npy", ALL)
    with pytest.raises(InvalidConfig, match="must hold x and y"):
        data.load(f"npy:{tmp_path}", ALL)
    folder = tmp_path / "keras"
    folder.mkdir()
    for name, values in (("x_train", X), ("y_train", Y), ("x_test", X[:9]), ("y_test", Y[:9])):
        np.save(folder / f"{name}.npy", values)
    learn, held_out = data.load(f"npy:{folder}", ALL)
    assert (len(learn), len(held_out)) == (N, 9)
    with pytest.raises(InvalidConfig, match="is a folder"):
        data.load(f"npy:{folder}?y=y.npy", ALL)


# --- tables ---

IRIS = "length,width,species\n" + "".join(f"{i},{i * 0.5},{('setosa', 'virginica')[i % 2]}\n" for i in range(N))


def table(folder: Path, text: str | bytes, name: str = "t.csv") -> str:
    (folder / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return f"csv:{folder}/{name}"


@pytest.mark.parametrize(
    "text",
    [
        IRIS,
        "\ufeff" + IRIS,
        IRIS.replace("\n", "\r\n"),
        IRIS.replace("\n", "\n\n"),
        IRIS.replace(",", ";"),
        IRIS.replace(",", "\t"),
        IRIS.replace("setosa", '"setosa"').replace("length", '"length"'),
        IRIS.replace(",setosa", ", setosa "),
    ],
    ids=["plain", "with a mark", "of Windows", "with blank lines", "semicolons", "tabs", "quotes", "blanks"],
)
def test_a_table_s_text_target_becomes_labels_by_name(tmp_path: Path, text: str) -> None:
    found = everything(table(tmp_path, text) + "?target=species")
    assert found.names == ("setosa", "virginica") and found.columns == ("length", "width")
    assert x_of(found).dtype == np.float32
    expected = np.array([(i, i * 0.5) for i in range(N)])
    assert rows(x_of(found), found.y) == rows(expected, np.arange(N) % 2)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text.encode()))
    assert len(everything(f"csv:{tmp_path}/t.csv.gz?target=species")) == N


def test_a_table_s_numbers_become_labels_or_targets(tmp_path: Path) -> None:
    text = "a,kind,price,delta\n" + "".join(f"{i},{i % 3},{i * 1.5},{-i}\n" for i in range(N))
    source = table(tmp_path, text)
    kinds = everything(f"{source}?target=kind")
    assert kinds.y.dtype == np.int64 and not kinds.names and kinds.columns == ("a", "price", "delta")
    price = everything(f"{source}?target=price&columns=delta,a")
    assert price.y.dtype == np.float32 and price.y.shape == (N, 1) and price.columns == ("delta", "a")
    assert rows(x_of(price), price.y) == rows(np.array([(-i, i) for i in range(N)]), np.arange(N)[:, None] * 1.5)
    assert everything(f"{source}?target=delta").y.shape == (N, 1)
    both = everything(f"{source}?target=price,delta&without=kind")
    assert both.y.shape == (N, 2) and both.columns == ("a",)


def test_names_of_columns_may_hold_what_the_source_s_own_spelling_uses(tmp_path: Path) -> None:
    source = table(tmp_path, '"a,b",c+d,100%,e&f\n' + "1,2,3,0\n2,3,4,1\n" * 20)
    assert everything(f"{source}?target=e%26f&columns=c+d,a%2Cb").columns == ("c+d", "a,b")
    assert everything(f"{source}?target=e%26f&without=100%25").columns == ("a,b", "c+d")


def test_row_numbers_that_pandas_wrote_teach_nothing(tmp_path: Path) -> None:
    for first in ("", "Unnamed: 0"):
        text = f"{first},a,kind\n" + "".join(f"{i},{i % 7},{i % 2}\n" for i in range(N))
        with capture_logs() as said:
            assert everything(table(tmp_path, text) + "?target=kind").columns == ("a",)
        assert said[0]["event"] == "columns_without_name_left_out"


def test_a_table_without_names_has_numbers_for_them(tmp_path: Path) -> None:
    source = table(tmp_path, "5,0.5,1\n" * 9 + "4,0.5,0\n" * 9)
    with pytest.raises(InvalidConfig, match=r"numbers where names belong: .* say header=no"):
        data.load(f"{source}?target=3", ALL)
    found = everything(f"{source}?target=3&header=no")
    assert len(found) == 18 and found.columns == ("1", "2")
    with pytest.raises(InvalidConfig, match="header must be yes or no"):
        data.load(f"{source}?target=3&header=maybe", ALL)


HEAD = "a,b,kind\n1,2,x\n"


@pytest.mark.parametrize(
    ("text", "options", "error", "why"),
    [
        ("", "target=kind", InvalidConfig, "no line of names"),
        ("\n\n", "target=kind", InvalidConfig, "no line of names"),
        (HEAD, "target=nothing", InvalidConfig, r"no column 'nothing' \(target=\), but a, b, kind"),
        (HEAD, "target=kind&columns=a,zzz", InvalidConfig, "no column 'zzz'"),
        (HEAD, "target=kind&columns=a,kind", InvalidConfig, "cannot be both"),
        (HEAD, "target=kind&columns=a,a", InvalidConfig, "names a column twice"),
        (HEAD, "target=kind&without=a,b", InvalidConfig, "no column besides the target"),
        ("a,a,kind\n1,2,x\n", "target=kind", InvalidConfig, "two columns called 'a'"),
        (HEAD + "1,Paris,x\n", "target=kind", InvalidConfig, r"line 3 .*'b' holds text \('Paris'\).*without="),
        (HEAD + "1,,x\n", "target=kind", InvalidConfig, "line 3 .*'b' is empty: fill it in"),
        (HEAD + "1,2,\n", "target=kind", InvalidConfig, "'kind' is empty in row 2: fill it in"),
        (HEAD + "1,2\n", "target=kind", InvalidConfig, "line 3 .* has 2 cells where the first line has 3"),
        (HEAD + "1,2,3,x\n", "target=kind", InvalidConfig, "line 3 .* has 4 cells"),
        ("a;b;kind\n1;2,5;x\n", "target=kind", InvalidConfig, "'2,5': write decimals with a point"),
        # which Python reads as 15, 7 and 15
        (HEAD + "1,1_5,x\n", "target=kind", InvalidConfig, r"line 3 .*'b' holds text \('1_5'\)"),
        (HEAD + "1,\u0667,x\n", "target=kind", InvalidConfig, r"line 3 .*'b' holds text"),
        (HEAD + "1,\uff11\uff15,x\n", "target=kind", InvalidConfig, r"line 3 .*'b' holds text"),
        (HEAD + "1,nan,x\n", "target=kind", NotFinite, "column 'b' of row 2 .* nan: fill it in"),
        (HEAD + "1e39,2,x\n", "target=kind", NotFinite, "column 'a' of row 2"),
        ("a,k\n1,0\n1,inf\n", "target=k", NotFinite, "column 'k' of row 2"),
        (
            "a,k\n1,0\n1,oak\n",
            "target=k",
            InvalidConfig,
            "'oak' where rows before have numbers: write all labels as text",
        ),
        ("a,k\n1,0\n1,\n", "target=k", InvalidConfig, "line 3 .*'k' is empty"),
        ("a,k\n", "target=k", InvalidConfig, "nothing to learn"),
        ('a,k\n1,"x\n', "target=k", InvalidConfig, "not a table of text"),
        ('a,k\n1,"' + "x" * 200_000 + '"\n', "target=k", InvalidConfig, "not a table of text"),
        ("a,k\n1," + "x" * 300 + "\n", "target=k", InvalidConfig, "labels are short and few"),
        (IRIS.encode("utf-16"), "target=species", InvalidConfig, "CSV, UTF-8"),
        (IRIS.replace("setosa", "süß").encode("latin-1"), "target=species", InvalidConfig, "CSV, UTF-8"),
        (gzip.compress(IRIS.encode()), "target=species", InvalidConfig, "a gzip file: give it the name"),
    ],
)
def test_a_table_that_is_no_samples_is_refused_with_line_column_and_remedy(
    tmp_path: Path, text: str | bytes, options: str, error: type[LinkLearnerError], why: str
) -> None:
    with pytest.raises(error, match=why) as refused:
        data.load(f"{table(tmp_path, text)}?{options}", ALL)
    assert len(refused.value.message) < 900


def test_labels_that_python_would_read_as_numbers_are_labels(tmp_path: Path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("a_b,kind\n" + "1.5,2020_1\n2,2020_2\n" * 20)
    learn, _ = data.load(f"csv:{table}?target=kind", data.Shard())
    assert learn.names == ("2020_1", "2020_2")


@pytest.mark.parametrize(
    "text",
    [
        "," * 2**22,
        "a,k\n" + "," * 2**22,
        "a,k\n" + (",".join('"\n"' for _ in range(1000)) + "\n") * 200,
        "a" * 2**20,
        "a,k\n" + '1,"' + "\n" * 2**20 + '"',
    ],
    ids=["a head", "a line", "cells over lines", "one long name", "one long cell"],
)
def test_a_table_of_very_many_cells_is_refused_unread(tmp_path: Path, text: str) -> None:
    with pytest.raises(InvalidConfig):
        data.load(f"{table(tmp_path, text)}?target=k", ALL)


def test_a_line_of_many_cells_is_counted_before_it_is_taken_apart(tmp_path: Path) -> None:
    for text in ("," * 2**17, "a,k\n" + "," * 2**17, "a,k\n" + '1,"\n",' * 2**16):
        with pytest.raises(InvalidConfig, match="more than 65536 columns"):
            data.load(f"{table(tmp_path, text)}?target=k", ALL)


def test_a_target_of_endlessly_many_texts_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("services.trainer.data.columns.MAX_NAMES", 9)
    text = "a,k\n" + "".join(f"{i},name{i}\n" for i in range(10))
    with pytest.raises(InvalidConfig, match=r"more than 9 different ones: .* is another column meant"):
        data.load(f"{table(tmp_path, text)}?target=k", ALL)


def parquet(folder: Path, **columns: Any) -> str:
    pq.write_table(pa.table(columns), folder / "t.parquet")
    return f"parquet:{folder}/t.parquet"


def test_parquet_gives_what_the_same_table_in_csv_gives(tmp_path: Path) -> None:
    species = [("setosa", "virginica")[i % 2] for i in range(N)]
    for kinds in (species, pa.array(species).dictionary_encode()):
        source = parquet(tmp_path, length=range(N), width=[i * 0.5 for i in range(N)], species=kinds)
        found, same = everything(f"{source}?target=species"), everything(f"{table(tmp_path, IRIS)}?target=species")
        np.testing.assert_array_equal(x_of(found), x_of(same))
        np.testing.assert_array_equal(found.y, same.y)
        assert (found.names, found.columns) == (same.names, same.columns)
    source = parquet(tmp_path, a=range(N), b=[i % 2 == 0 for i in range(N)], price=[i * 1.5 for i in range(N)])
    assert everything(f"{source}?target=price").y.shape == (N, 1)
    assert everything(f"{source}?target=b").y.dtype == np.int64
    assert everything(f"{source}?target=a,price&columns=b").y.shape == (N, 2)


def test_lists_of_numbers_in_parquet_are_inputs_by_name(tmp_path: Path) -> None:
    tokens = np.arange(N * 4).reshape(N, 4)
    fixed = pa.FixedSizeListArray.from_arrays(pa.array(np.ones(N * 2, np.float32)), 2)
    source = parquet(tmp_path, tokens=tokens.tolist(), speed=fixed, kind=Y)
    found = everything(f"{source}?target=kind")
    assert found.inputs["tokens"].dtype == np.int64 and found.inputs["speed"].shape == (N, 2)
    assert rows(found.inputs["tokens"], found.y) == rows(tokens, Y)


@pytest.mark.parametrize(
    ("columns", "why"),
    [
        ({"a": [1.0, None], "k": [0, 1]}, "column 'a' is empty in 1 rows: fill it in"),
        ({"a": [1.0, 2.0], "k": ["x", None]}, "column 'k' is empty in 1 rows"),
        ({"a": ["x", "y"], "k": [0, 1]}, r"column 'a' holds text where a number belongs: leave it out \(without="),
        ({"a": [b"x", b"y"], "k": [0, 1]}, "column 'a' holds binary where"),
        ({"a": [[1, 2], [3]], "k": [0, 1]}, "of different lengths: pad them"),
        ({"a": [[1, 2], [3, None]], "k": [0, 1]}, "empty"),
        ({"a": [{"b": 1}, {"b": 2}], "k": [0, 1]}, "column 'a' holds struct"),
        ({"a": [1.0, float("nan")], "k": [0, 1]}, "NaN"),
        ({"a": pa.array([], pa.float64()), "k": pa.array([], pa.int64())}, "nothing to learn"),
        ({"k": [0, 1]}, "no column besides"),
    ],
)
def test_parquet_that_is_no_samples_is_refused_with_the_remedy(
    tmp_path: Path, columns: dict[str, Any], why: str
) -> None:
    with pytest.raises(InvalidInput, match=why):
        data.load(f"{parquet(tmp_path, **columns)}?target=k", ALL)


def zigzag(value: int) -> bytes:
    """Of Thrift's compact protocol."""
    rest, parts = (value << 1) ^ (value >> 63), bytearray()
    while rest > 0x7F:
        parts.append(rest & 0x7F | 0x80)
        rest >>= 7
    return bytes((*parts, rest))


@pytest.mark.parametrize("field", ["length", "values"])
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_a_page_that_opens_to_gigabytes_is_not_opened(tmp_path: Path, field: str, version: str) -> None:
    """The footer says nothing of it: pyarrow would take the page's word."""
    number = 1_000_003
    frame = pa.table({"a": pa.array(np.arange(number, dtype=np.int32)), "k": pa.array(np.arange(number) % 2)})
    options = {"use_dictionary": False, "data_page_version": version, "write_page_checksum": False}
    pq.write_table(
        frame, tmp_path / "t.parquet", compression="NONE", data_page_size=2**30, row_group_size=2**24,
        max_rows_per_page=2**24, **options,
    )  # fmt: skip
    source = f"parquet:{tmp_path}/t.parquet?target=k"
    data.load(source, ALL)
    content = (tmp_path / "t.parquet").read_bytes()
    at = pq.ParquetFile(tmp_path / "t.parquet").metadata.row_group(0).column(0).data_page_offset
    page = PageHeader.read(content, at)
    assert page.value_count == number
    said = zigzag(page.opened_length if field == "length" else number)
    lie = zigzag(2**31 - 1)
    where = content.index(said, at)
    (tmp_path / "t.parquet").write_bytes(content[:where] + lie + content[where + len(said) :])
    with pytest.raises(InvalidConfig, match="its pages open to more than"):
        data.load(source, ALL)


def test_every_page_that_pyarrow_writes_is_understood(tmp_path: Path) -> None:
    generator = np.random.default_rng(7)
    frame = pa.table({
        "a": generator.normal(size=5000), "list": generator.normal(size=(5000, 3)).tolist(),
        "some": generator.integers(0, 3, 5000), "k": [f"kind {i % 5}" for i in range(5000)],
    })  # fmt: skip
    for version in ("1.0", "2.0"):
        for compression in ("NONE", "SNAPPY", "GZIP", "ZSTD", "LZ4", "BROTLI"):
            for dictionary in (True, False):
                pq.write_table(
                    frame, tmp_path / "t.parquet", compression=compression, use_dictionary=dictionary,
                    data_page_version=version, data_page_size=4096, row_group_size=1500, write_page_checksum=True,
                )  # fmt: skip
                found = everything(f"parquet:{tmp_path}/t.parquet?target=k")
                assert len(found) == 5000 and found.inputs["list"].shape == (5000, 3)


def footer_of(path: Path) -> tuple[bytes, int, int]:
    """The file, and where its footer lies."""
    content = path.read_bytes()
    length = int.from_bytes(content[-8:-4], "little")
    return content, len(content) - 8 - length, len(content) - 8


def test_a_footer_is_read_as_pyarrow_reads_it(tmp_path: Path) -> None:
    frame = pa.table({
        "a": np.arange(5000.0), "list": [[1, 2, 3]] * 5000, "deep": [[[1], [2]]] * 5000, "k": [f"kind {i % 5}" for i in range(5000)],
    })  # fmt: skip
    for options in ({}, {"use_dictionary": False, "compression": "NONE", "write_statistics": False}):
        pq.write_table(frame, tmp_path / "t.parquet", row_group_size=700, **options)
        metadata = pq.ParquetFile(tmp_path / "t.parquet").metadata
        theirs = [group.column(i) for group in map(metadata.row_group, range(8)) for i in range(4)]
        assert list(chunks(*footer_of(tmp_path / "t.parquet"))) == [
            ColumnChunk(
                one.path_in_schema, one.num_values, one.total_uncompressed_size, one.total_compressed_size, one.data_page_offset,
                one.dictionary_page_offset if one.has_dictionary_page else 0,
            )
            for one in theirs
        ]  # fmt: skip


def test_a_footer_that_lies_is_refused_or_read(tmp_path: Path) -> None:
    """Every byte of one in turn, in another value: an answer or a sentence, and the process lives. pyarrow's accessors end it for some."""
    pq.write_table(pa.table({"list": [[1, 2], [3, 4]] * 5, "k": [0, 1] * 5}), tmp_path / "t.parquet")
    content, start, end = footer_of(tmp_path / "t.parquet")
    source = f"parquet:{tmp_path}/t.parquet?target=k"
    refused = 0
    for place in range(start, end):
        changed = bytearray(content)
        changed[place] ^= 1 + place % 255
        (tmp_path / "t.parquet").write_bytes(changed)
        try:
            data.load(source, ALL)
        except InvalidInput:
            refused += 1
    assert refused > (end - start) / 4


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x49\x1c",
        b"\x49\xfc\xff\xff\xff\xff\x0f",
        b"\x45\x02\x00",
        b"\x49\x1c\x19\x1c\x00\x00\x00",
        b"\x49\x1c\x19\x1c\x3c\x56\x01\x00\x00\x00\x00",
        b"\x19\x19" * 40,
        b"\x1b\x00",
        b"\x16\x02\x06\x02\x02\x00",
    ],
    ids=["empty", "cut off", "endless list", "no list", "says nothing", "negative", "deep", "map", "twice"],
)
def test_a_footer_that_is_none_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="footer"):
        list(chunks(content, 0, len(content)))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\x15",
        b"\x15" + b"\xff" * 12,
        b"\x00",
        b"\x15\x00\x15\x01\x15\x02\x00",
        b"\x25\x02\x15\x02\x05\x04\x02\x00",
        b"\x1c" * 20,
        b"\x19\x00",
        b"\x18\xff\xff\xff\xff\x0f\x00",
    ],
    ids=["empty", "cut off", "endless number", "nothing said", "negative", "twice", "deep", "list", "long text"],
)
def test_a_page_header_that_lies_is_refused(content: bytes) -> None:
    with pytest.raises(ValueError, match="page"):
        PageHeader.read(content, 0)


def test_without_pyarrow_the_remedy_is_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = parquet(tmp_path, a=[1, 2], k=[0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    with pytest.raises(InvalidConfig, match=r"pip install 'linklearner\[parquet\]'"):
        data.load(f"{source}?target=k", ALL)


# --- pictures ---


def pictures(folder: Path, mode: str = "L", size: tuple[int, int] = (5, 6), ending: str = ".png") -> str:
    """Ten pictures each of asters and irises; size: columns, rows."""
    for label, kind in enumerate(("aster", "iris")):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        for number in range(10):
            grey = np.full((size[1], size[0]), 100 * label + number, dtype=np.uint8)
            PIL.Image.fromarray(grey).convert(mode).save(folder / kind / f"{number}{ending}")
    return f"images:{folder}"


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("P", 3), ("RGBA", 3), ("LA", 3), ("CMYK", 3)])
def test_a_folder_of_pictures_is_labelled_by_its_sub_folders(tmp_path: Path, mode: str, channels: int) -> None:
    found = everything(pictures(tmp_path / "p", mode, ending=".jpg" if mode == "CMYK" else ".png"))
    assert found.names == ("aster", "iris") and x_of(found).shape == (20, channels, 6, 5) and found.pictures
    assert x_of(found).dtype == np.uint8
    np.testing.assert_array_equal(x_of(found)[:, 0, 0, 0] >= 90, found.y == 1)


def test_some_transparency_keeps_the_alpha_channel(tmp_path: Path) -> None:
    source = pictures(tmp_path / "p", "RGBA")
    PIL.Image.new("RGBA", (5, 6), (1, 2, 3, 4)).save(tmp_path / "p" / "iris" / "z.png")
    assert x_of(everything(source)).shape == (21, 4, 6, 5)


def test_grey_of_16_bits_is_not_cut_to_8(tmp_path: Path) -> None:
    source = pictures(tmp_path / "p")
    for file in (tmp_path / "p").rglob("*.png"):
        PIL.Image.fromarray(np.full((6, 5), 40_000, dtype=np.uint16)).save(file)
    found = everything(source)
    assert x_of(found).dtype == np.int32 and x_of(found).max() == 40_000
    pictures(tmp_path / "p" / ".." / "p", "L", (5, 6))
    PIL.Image.fromarray(np.full((6, 5), 40_000, dtype=np.uint16)).save(tmp_path / "p" / "iris" / "z.png")
    with pytest.raises(InvalidConfig, match="16 bits a pixel and some have 8"):
        data.load(source, ALL)


def test_a_photograph_stands_upright(tmp_path: Path) -> None:
    source = pictures(tmp_path / "p", ending=".jpg")
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # the camera was turned: rows and columns of the file are exchanged
    for file in (tmp_path / "p").rglob("*.jpg"):
        PIL.Image.open(file).transpose(PIL.Image.Transpose.ROTATE_90).save(tmp_path / "turned.jpg", exif=exif)
        file.write_bytes((tmp_path / "turned.jpg").read_bytes())
    assert x_of(everything(source)).shape == (20, 1, 6, 5)


def test_pictures_of_a_train_and_a_test_folder_keep_to_their_parts(tmp_path: Path) -> None:
    for part in ("train", "test"):
        pictures(tmp_path / part)
    (tmp_path / "test" / "zinnia").mkdir()
    PIL.Image.new("L", (5, 6)).save(tmp_path / "test" / "zinnia" / "1.PNG")
    (tmp_path / "train" / ".DS_Store").write_bytes(b"x")
    (tmp_path / "train" / "iris" / ".DS_Store").write_bytes(b"x")
    learn, held_out = data.load(f"images:{tmp_path}", ALL)
    assert (len(learn), len(held_out)) == (20, 21)
    assert learn.names == held_out.names == ("aster", "iris", "zinnia")
    assert held_out.label_counts().tolist() == [10, 10, 1] and learn.label_counts().tolist() == [10, 10, 0]


def png(width: int, height: int, data: bytes = b"") -> bytes:
    """A grey PNG that announces any size."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    head = struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(data)) + chunk(b"IEND", b"")


def test_a_picture_that_announces_a_bomb_is_not_decoded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = pictures(tmp_path / "p")
    for width, height in ((2**31 - 1, 2**31 - 1), (2**24, 2), (5000, 5000)):
        (tmp_path / "p" / "iris" / "z.png").write_bytes(png(width, height))
        with pytest.raises(InvalidConfig, match=r"z\.png"):
            data.load(source, ALL)
    (tmp_path / "p" / "iris" / "z.png").unlink()
    monkeypatch.setattr("services.trainer.data.images.MAX_VALUES", 20 * 30 - 1)
    with pytest.raises(InvalidConfig, match=r"20 pictures of 6x5 .* more than 599 numbers: make them smaller"):
        data.load(source, ALL)
    monkeypatch.setattr("services.trainer.data.images.MAX_PICTURES", 19)
    with pytest.raises(InvalidConfig, match="more than 19 pictures"):
        data.load(source, ALL)
    monkeypatch.setattr("services.trainer.data.images.MAX_PICTURE_BYTES", 10)
    with pytest.raises(InvalidConfig, match="more than"):
        data.load(source, ALL)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "no whole PNG or JPEG"),
        (b"GIF89a" + bytes(40), "no whole PNG or JPEG"),
        (b"<svg/>", "no whole PNG or JPEG"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 6\n", "no whole PNG or JPEG"),
        (png(5, 6), "no whole PNG or JPEG"),
        (png(5, 6, b"\0" * 36)[:-30], "no whole PNG or JPEG"),
        (
            png(6, 5, b"\0" * 35),
            r"5x6 \(rows x columns\), .* is 6x5: bring all pictures to the size that the task takes",
        ),
    ],
)
def test_a_file_that_is_no_picture_of_the_others_size_is_named(tmp_path: Path, content: bytes, why: str) -> None:
    source = pictures(tmp_path / "p")
    (tmp_path / "p" / "iris" / "z.png").write_bytes(content)
    with pytest.raises(InvalidConfig, match=rf"z\.png .*{why}"):
        data.load(source, ALL)


@pytest.mark.parametrize("name", ["notes.txt", "z.gif", "z"])
def test_a_label_s_folder_holds_pictures_only(tmp_path: Path, name: str) -> None:
    source = pictures(tmp_path / "p")
    (tmp_path / "p" / "README").write_text("at the top, files are nobody's label")
    (tmp_path / "p" / "iris" / name).write_bytes(b"x")
    with pytest.raises(InvalidConfig, match=f"{name} is no PNG or JPEG file: .* move it elsewhere"):
        data.load(source, ALL)


def test_nothing_but_regular_files_is_opened(tmp_path: Path) -> None:
    source = pictures(tmp_path / "p")
    (tmp_path / "p" / "iris" / "z.png").symlink_to("/dev/zero")
    with pytest.raises(InvalidConfig, match=r"z\.png is no PNG"):
        data.load(source, ALL)


def test_a_folder_without_labels_says_what_it_needs(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfig, match="is no folder"):
        data.load(f"images:{tmp_path}/none", ALL)
    with pytest.raises(InvalidConfig, match="put the pictures of each label into a sub-folder"):
        data.load(f"images:{tmp_path}", ALL)
    (tmp_path / "iris").mkdir()
    with pytest.raises(InvalidConfig, match="hold no pictures"):
        data.load(f"images:{tmp_path}", ALL)


def test_without_pillow_the_remedy_is_its_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(InvalidConfig, match="Pillow, which is not installed: pip install"):
        data.load(pictures(tmp_path / "p"), ALL)


# --- functions ---


def python(folder: Path, body: str) -> str:
    (folder / "mine.py").write_text(body)
    return f"python:{folder}/mine.py"


@pytest.mark.parametrize(
    "answer",
    [
        "(x, y)",
        "[x, y]",
        "(x, y.tolist())",
        "(x.tolist(), y)",
        "(torch.from_numpy(x), torch.from_numpy(y))",
        "((x, y), (x[:7], y[:7]))",
        "(x, y, x[:7], y[:7])",
        "{'x': x, 'y': y}",
        "{'x_train': x, 'y_train': y, 'x_test': x[:7], 'y_test': y[:7], 'DESCR': 'about'}",
        "{'pixels': x, 'y': y}",
        "({'pixels': x}, y)",
        "(({'pixels': x}, y), ({'pixels': x[:7]}, y[:7]))",
        "(x, ['rose' if label else 'aster' for label in y])",
    ],
)
def test_a_function_of_one_s_own_returns_arrays_in_many_ways(tmp_path: Path, answer: str) -> None:
    body = "import numpy as np\nimport torch\nx = np.arange(120.0).reshape(40, 3)\ny = np.arange(40) % 2\n"
    source = python(tmp_path, f"{body}def data():\n    return {answer}\n")
    learn, held_out = data.load(source, ALL)
    assert len(held_out) == (7 if "[:7]" in answer else 8) and len(learn) == (40 if "[:7]" in answer else 32)
    assert list(learn.inputs) == (["pixels"] if "pixels" in answer else ["x"])
    assert learn.y.dtype == np.int64 and x_of(learn).dtype == np.float32


def test_a_function_finds_what_lies_beside_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "beside_mine.py").write_text("from dataclasses import dataclass\nN = 40\n")
    body = "from dataclasses import dataclass\nfrom beside_mine import N\nimport numpy as np\n@dataclass\nclass A:\n    n: int = N\n"
    source = python(tmp_path, body + "def samples():\n    return np.ones((A().n, 2)), np.arange(A().n) % 2\n")
    path = list(sys.path)
    try:
        learn, _ = data.load(f"{source}?function=samples", ALL)
    finally:
        sys.modules.pop("beside_mine", None)
    assert len(learn) == 32 and sys.path == path and MODULE not in sys.modules


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (
            "def data():\n    return 1 / 0\n",
            r"mine\.py failed at line 2 \(return 1 / 0\): ZeroDivisionError: division by zero$",
        ),
        ("import nowhere_to_be_found\n", r"mine\.py failed at line 1 \(.*\): ModuleNotFoundError: No module named"),
        ("def data(:\n", r"mine\.py failed at line 1: SyntaxError"),
        ("import sys\n\nsys.exit(3)\n", r"mine\.py failed at line 3 \(sys\.exit\(3\)\): SystemExit: 3"),
        ("def data(path):\n    return path\n", "TypeError: data.. missing 1 required"),
        ("raise RuntimeError\n", r"mine\.py failed at line 1 \(raise RuntimeError\): RuntimeError$"),
        ("x = 1\n", r"defines no function data\(\): add one that returns"),
        ("data = 3\n", r"must return .*not int"),
        ("def data():\n    return None\n", r"data\(\) of .* must return \(x, y\).*not NoneType"),
        ("def data():\n    return 1, 2, 3\n", "must return .*not tuple"),
        ("def data():\n    return [[1, 2], [3]], [0, 1]\n", "no array .*pad rows to one length"),
        ("def data():\n    return {'a': [1]}\n", "must hold x and y"),
        ("def data():\n    return [['a'], ['b']], [0, 1]\n", "not .* an array of text: write categories"),
        ("def data():\n    return [[1], [2]], [0, 1, 2]\n", "2 samples have 3 labels"),
        ("def data():\n    return [[1], [{}]], [0, 1]\n", "an array of Python objects"),
        ("def data():\n    return 3, 4\n", "y is .n,. labels or .* not"),
    ],
)
def test_what_is_wrong_in_a_function_is_shown_as_its_author_s(tmp_path: Path, body: str, why: str) -> None:
    with pytest.raises(InvalidConfig, match=why) as refused:
        data.load(python(tmp_path, body), ALL)
    assert "data source" not in refused.value.message


def test_the_line_is_told_wherever_the_file_is_named_from_and_of_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    python(tmp_path, "\ndef data():\n    return 1 / 0\n")
    with pytest.raises(InvalidConfig, match=r"line 3 \(return 1 / 0\): ZeroDivisionError"):
        data.load("python:mine.py", ALL)
    (tmp_path / "half_beside_mine.py").write_text("\n\n\n\nx = (\n")
    python(tmp_path, "\nimport half_beside_mine\n")
    with pytest.raises(InvalidConfig, match=r"mine\.py failed at line 2 \(import half_beside_mine\): SyntaxError"):
        data.load("python:mine.py", ALL)


@pytest.mark.parametrize("task", sorted((ROOT / "examples" / "tasks").glob("*.py")), ids=lambda path: path.stem)
def test_the_file_that_made_a_task_gives_samples_for_it(task: Path) -> None:
    """Whoever opened it with `linklearner task create` contributes with the same file."""
    learn, held_out = data.load(f"python:{task}", ALL)
    assert len(learn) > len(held_out) > 0
    learn.check_learnable()


def test_what_is_no_file_of_python_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("raise SystemExit")
    for place, why in (("nowhere.py", "is no file"), ("mine.txt", r"ends in \.py"), (".", "is no file")):
        with pytest.raises(InvalidConfig, match=why):
            data.load(f"python:{tmp_path}/{place}", ALL)


# --- all of them ---


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("csv:t.csv", r"needs the option target, as in 'csv:iris.csv\?target=species'"),
        ("csv:t.csv?targt=a", "csv: has no option 'targt' .*there are target, columns, without, header, scale"),
        ("csv:t.csv?target=a&target=b", "is given once"),
        ("csv:t.csv?target=", "is given once, with a value"),
        ("digits?target=a", "digits: has no option 'target'"),
        ("digits?scale=0", "scale must be a number or a fraction"),
        ("digits?scale=1/0", "scale must be"),
        ("digits?scale=nan", "scale must be"),
        ("digits?scale=ten", "scale must be"),
        ("keras:mnist", "unknown data source 'keras:mnist': give digits, diabetes, npz:FILE"),
        ("csv", "unknown data source"),
        ("digits:", "cannot|unknown|digits"),
    ],
)
def test_a_source_that_is_spelt_wrongly_is_put_right(source: str, why: str) -> None:
    if source == "digits:":  # nothing after the colon is nothing
        assert len(data.load(source, ALL)[0]) == 1438
        return
    with pytest.raises(InvalidConfig, match=why):
        data.load(source, ALL)


def test_a_source_of_another_kind_is_a_function_and_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """As docs/recipes/data.md has it."""

    def waves(place: Path, options: Options) -> Found:
        time = np.linspace(0, 1, int(options.get("rows", "40")))
        return Samples.of({"time": time}, np.sin(time * float(place.name)), f"waves:{place}"), None

    row = Source(read=waves, place="HERTZ", about="waves.", example="waves:5", options={"rows": "How many."})
    monkeypatch.setattr(sources, "SOURCES", {**SOURCES, "waves": row})
    learn, held_out = data.load("waves:5?rows=100&scale=1/2", Shard(0, 2, alpha=0.1))
    assert list(learn.inputs) == ["time"] and len(held_out) == 20 and 0 < len(learn) < 80
    with pytest.raises(InvalidConfig, match=r"waves: has no option 'columns' .*there are rows, scale"):
        data.load("waves:5?columns=a", ALL)
    with pytest.raises(InvalidConfig, match=r"python:FILE.py, waves:HERTZ"):
        data.load("wave:5", ALL)


def test_inputs_are_scaled_at_the_source(tmp_path: Path) -> None:
    plain, scaled = everything("digits"), everything("digits?scale=1/16")
    np.testing.assert_allclose(x_of(scaled), x_of(plain) / 16)
    write_mnist(tmp_path)
    learn, held_out = data.load(f"mnist:{tmp_path}?scale=1/255", ALL)
    for samples in (learn, held_out):
        assert x_of(samples).dtype == np.float32 and x_of(samples).max() == pytest.approx(X.max() / 255)


def test_the_diabetes_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_diabetes

    x, y = load_diabetes(return_X_y=True)
    found = data.diabetes()
    np.testing.assert_allclose(x_of(found), x, atol=1e-7)
    np.testing.assert_array_equal(found.y[:, 0], y)


def test_reading_data_imports_no_heavy_library_that_it_does_not_need() -> None:
    code = (
        "import sys, json; from services.trainer import data; data.load('digits', data.Shard());"
        "print(json.dumps([n for n in ('torch', 'sklearn', 'scipy', 'pyarrow', 'PIL', 'pandas') if n in sys.modules]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert json.loads(done.stdout) == []


# --- files that somebody sends ---


def test_a_directory_of_millions_of_members_is_not_made_into_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for number in range(9000):
            archive.writestr(f"{number}.npy", b"")
    plain = (tmp_path / "x.npz").read_bytes()
    end = plain.rindex(b"PK\5\6")
    locator = struct.pack("<4sIQI", b"PK\6\7", 0, end, 1)
    commented = bytearray(plain + b"PK\5\6")
    commented[end + 20 : end + 22] = struct.pack("<H", 4)

    def never(*args: object) -> None:
        raise AssertionError("zipfile was given the archive")

    monkeypatch.setattr(zipfile, "ZipFile", never)
    for content in (plain, plain[:end] + locator + plain[end:]):
        (tmp_path / "x.npz").write_bytes(content)
        with pytest.raises(InvalidInput, match=r"list of its members has|ZIP64"):
            arrays.npz(tmp_path / "x.npz", ("x",))


def test_an_archive_with_a_comment_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", x=X)
    with zipfile.ZipFile(tmp_path / "x.npz", "a") as archive:
        archive.comment = b"made by hand"
    assert arrays.npz(tmp_path / "x.npz", ("x",))[0]["x"].shape == X.shape


def files() -> dict[str, tuple[str, bytes]]:
    """Name, source and bytes of a good file of each format."""

    def saved(save: Callable[[io.BytesIO], object]) -> bytes:
        file = io.BytesIO()
        save(file)
        return file.getvalue()

    frame = pa.table({"a": list(range(20)), "b": [0.5] * 20, "k": ["x", "y"] * 10})
    return {
        "t.csv": ("csv:{}/t.csv?target=k", b"a,b,k\n" + b"1,2,x\n3,4,y\n" * 5),
        "t.parquet": ("parquet:{}/t.parquet?target=k", saved(lambda file: pq.write_table(frame, file))),
        "t.npz": ("npz:{}/t.npz", saved(lambda file: np.savez_compressed(file, x=X, y=Y))),
        "t.idx": ("idx:{}/t.idx?y=y.idx", idx(X)),
        "p/iris/1.png": ("images:{}/p", saved(lambda file: PIL.Image.new("RGB", (5, 6)).save(file, "PNG"))),
        "p/iris/1.jpg": ("images:{}/p", saved(lambda file: PIL.Image.new("RGB", (5, 6)).save(file, "JPEG"))),
    }


FILES = files()


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of a known format with some bytes changed, cut out or put in; sometimes of another format."""
    name = draw(st.sampled_from(sorted(FILES)))
    content = bytearray(
        FILES[draw(st.sampled_from(sorted(FILES)))][1] if draw(st.integers(0, 9)) == 0 else FILES[name][1]
    )
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(content)))
        content[at : at + draw(st.sampled_from((0, 1, 1, 2, 4, 40)))] = draw(st.binary(max_size=6))
    return name, bytes(content)


@settings(
    max_examples=600, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(spoilt())
def test_spoilt_files_are_read_or_refused_and_nothing_else(tmp_path: Path, case: tuple[str, bytes]) -> None:
    name, content = case
    for other in tmp_path.rglob("*.*"):
        other.unlink()
    (tmp_path / "p" / "iris").mkdir(parents=True, exist_ok=True)
    (tmp_path / "y.idx").write_bytes(idx(Y))
    (tmp_path / name).write_bytes(content)
    try:
        data.load(FILES[name][0].format(tmp_path), ALL)
    except InvalidInput as error:
        assert len(error.message) < 1000 + 3 * len(str(tmp_path))
