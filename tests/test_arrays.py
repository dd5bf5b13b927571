"""Files that others made: what is read, and that nothing but InvalidInput comes of the rest."""

import gzip
import io
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from linklearner import arrays
from linklearner.domain.errors import InvalidInput, NotFinite

CASES = Path(__file__).parent / "data" / "cases"


def npy(array: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.save(file, array)
    return file.getvalue()


def npz(**members: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez_compressed(file, **members)
    return file.getvalue()


def header(description: str, version: int = 1) -> bytes:
    text = description.encode("latin1")
    return b"\x93NUMPY" + bytes((version, 0)) + struct.pack("<H" if version == 1 else "<I", len(text)) + text


ROWS = np.arange(12, dtype=np.float32).reshape(3, 4)
TABLE = b"1,2,3\n4,5,6\n"


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f8", "u1", "<i8", ">u2", "?", "<f2"])
def test_npy_is_read_as_numpy_reads_it(tmp_path: Path, dtype: str, order: str) -> None:
    array = np.array(np.arange(24).reshape(2, 3, 4) % 3, dtype=dtype, order=order)  # type: ignore[call-overload]
    np.testing.assert_array_equal(arrays.npy(npy(array), "x"), array)
    (tmp_path / "rows.npy").write_bytes(npy(array[0]))
    np.testing.assert_array_equal(arrays.inputs(tmp_path / "rows.npy"), array[0].astype(np.float32))


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.npy", npy(ROWS)),
        ("x.npy.gz", gzip.compress(npy(ROWS))),
        ("x.csv", b"0,1,2,3\n4,5,6,7\n8,9,10,11\n"),
        ("x.csv", b"\xef\xbb\xbf0, 1,2,3\r\n\r\n# a comment\r\n4,5,6,7\r\n8,9,10,1.1e1\r\n"),
        ("x.csv.gz", gzip.compress(b"0,1,2,3\n4,5,6,7\n8,9,10,11")),
        ("x", b"0,1,2,3\n4,5,6,7\n8,9,10,11"),
    ],
)
def test_inputs_are_read_from_every_format(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    np.testing.assert_array_equal(arrays.inputs(tmp_path / name), ROWS)


def test_rows_may_be_images(tmp_path: Path) -> None:
    images = np.arange(24, dtype=np.float32).reshape(2, 1, 3, 4)
    (tmp_path / "x.npy").write_bytes(npy(images))
    np.testing.assert_array_equal(arrays.inputs(tmp_path / "x.npy"), images)
    images[1, 0, 2, 2] = np.nan
    (tmp_path / "x.npy").write_bytes(npy(images))
    with pytest.raises(NotFinite, match="row 1, counted from 0"):
        arrays.inputs(tmp_path / "x.npy")


def test_one_row_may_stand_alone(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy(ROWS[1]))
    (tmp_path / "x.csv").write_bytes(b"4,5,6,7")
    for name in ("x.npy", "x.csv"):
        np.testing.assert_array_equal(arrays.inputs(tmp_path / name), ROWS[1:2])


@pytest.mark.parametrize(
    ("case", "why"),
    [
        ("20-empty.npy", "it is empty"),
        ("20-npz-called-npy.npy", r"an \.npz \(zip\) archive: give it the name"),
        ("20-encrypted.npz", "password|encrypted"),
        ("20-corrupt-zlib-error.npz", "decompressing|CRC"),
        ("20-npy-called-npz.npz", r"an \.npy array: give it the name"),
    ],
)
def test_the_files_that_once_ended_in_tracebacks(case: str, why: str) -> None:
    with pytest.raises(InvalidInput, match=f"cannot read .*{case}.*{why}") as raised:
        arrays.inputs(CASES / case) if case.endswith(".npy") else arrays.npz(CASES / case, ("x", "y"))
    assert raised.value.__cause__ is not None


@pytest.mark.parametrize("text", ["1,2\n3,nan\n", "1,2\n-inf,1\n", "1,2\n1e39,1\n"])
def test_a_row_that_is_no_number_is_named(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.csv").write_text(text)
    with pytest.raises(NotFinite, match="row 1, counted from 0"):
        arrays.inputs(tmp_path / "x.csv")
    with pytest.raises(NotFinite, match="row 1, counted from 0"):
        arrays.inputs(CASES / "21-nan-row.csv")


HUGE = "{'descr': '<f8', 'fortran_order': False, 'shape': (1152921504606846976,), }\n"


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (header(HUGE), "announces 9223372036854775808 bytes of numbers and holds 0"),
        (header(HUGE, version=2), "announces"),
        (header(HUGE, version=3), "version 3.0"),
        (header(HUGE.replace("(1152921504606846976,)", "(-1,)")), "no array has the shape"),
        (header(HUGE.replace("(1152921504606846976,)", "(" + "1," * 40 + ")")), "no array has the shape"),
        (header(HUGE.replace("<f8", "|V0")), "cannot read x"),
        (header(HUGE.replace("<f8", "nonsense")), "cannot read x"),
        (header("[" * 3000), "cannot read x"),
        (header("-" * 4000 + "1"), "cannot read x"),
        (header(" " * 60_000), "cannot read x"),
        (npy(ROWS)[:-1], "announces 48 bytes of numbers and holds 47"),
        (npy(ROWS) + b"\0", "announces 48 bytes of numbers and holds 49"),
        (npy(np.array([{"a": 1}], dtype=object)), "pickled Python objects"),
        (b"\x93NUMPY", "cannot read x"),
        (gzip.compress(npy(ROWS)), "a gzip file: give it the name"),
        (b"\x80\x04N.", "cannot read x"),
    ],
)
def test_an_npy_that_lies_is_refused_before_anything_is_allocated(content: bytes, why: str) -> None:
    with pytest.raises(InvalidInput, match=why):
        arrays.npy(content, "x")


def test_what_opens_to_more_than_the_bound_is_not_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrays, "MAX_BYTES", 10_000)
    bomb = np.zeros(20_000, dtype=np.uint8)
    (tmp_path / "bomb.npz").write_bytes(npz(x=bomb, y=ROWS))
    with pytest.raises(InvalidInput, match=r"opens to 20\d+ bytes, more than 10000"):
        arrays.npz(tmp_path / "bomb.npz", ("x", "y"))
    found, names = arrays.npz(tmp_path / "bomb.npz", ("y",))  # what is not asked for is not opened
    assert names == ["x", "y"] and list(found) == ["y"]
    (tmp_path / "bomb.gz").write_bytes(gzip.compress(bytes(20_000)))
    with pytest.raises(InvalidInput, match="more than 10000 bytes"):
        arrays.read(tmp_path / "bomb.gz", 10_000)
    (tmp_path / "endless").symlink_to("/dev/zero")
    with pytest.raises(InvalidInput, match="more than 10000 bytes"):
        arrays.read(tmp_path / "endless", 10_000)


def test_an_archive_that_declares_less_than_it_holds_opens_to_no_more(tmp_path: Path) -> None:
    data = bytearray(npz(x=np.zeros(1_000_000, dtype=np.uint8)))
    record = data.index(b"PK\x01\x02")
    data[record + 24 : record + 28] = struct.pack("<I", 500)  # the uncompressed size in the central directory
    (tmp_path / "x.npz").write_bytes(data)
    with pytest.raises(InvalidInput, match="cannot read"):
        arrays.npz(tmp_path / "x.npz", ("x",))


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressions_that_numpy_never_writes_are_refused(tmp_path: Path, method: int) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w", method) as archive:
        archive.writestr("x.npy", npy(ROWS))
    with pytest.raises(InvalidInput, match="numpy never uses"):
        arrays.npz(tmp_path / "x.npz", ("x",))


def test_an_archive_of_very_many_members_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.npz", "w") as archive:
        for number in range(arrays.MAX_MEMBERS + 1):
            archive.writestr(f"{number}.npy", b"")
    with pytest.raises(InvalidInput, match="members"):
        arrays.npz(tmp_path / "x.npz", ("x",))


@pytest.mark.parametrize(
    "content", [b"", b"\x1f\x8b", gzip.compress(TABLE)[:-4], TABLE, gzip.compress(TABLE)[:12] + b"\xff" * 20]
)
def test_a_damaged_or_misnamed_gz_is_named_with_why(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "x.csv.gz").write_bytes(content)
    with pytest.raises(InvalidInput, match=r"cannot read .*x\.csv\.gz.* \(.+\)"):
        arrays.inputs(tmp_path / "x.csv.gz")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("x.csv", b""),
        ("x.csv", b" \n\n"),
        ("x.csv", b"# nothing\n"),
        ("x.csv", b"1,2\n3\n"),
        ("x.csv", b"\xff\xfe1\x00,\x002\x00"),
        ("x.csv", npy(ROWS)),
        ("x.csv", gzip.compress(TABLE)),
        ("x.npz", npz(x=ROWS)),
        ("x.npy", npy(np.float32(3))),
        ("x.npy", npy(np.zeros((0, 5)))),
        ("x.npy", npy(np.zeros((5, 0)))),
        ("x.npy", npy(np.full((2, 2), "a"))),
        ("x.npy", npy(np.ones((2, 2), dtype=complex))),
        ("x.npy", npy(np.zeros((2, 2), dtype="M8[s]"))),
        ("x.npy", npy(np.zeros(2, dtype=[("a", "<f4")]))),
    ],
)
def test_what_is_no_rows_of_numbers_is_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(InvalidInput, match="cannot read"):
            arrays.inputs(tmp_path / name)


@pytest.mark.parametrize("path", ["/nowhere.npy", "/", "/x\0y.csv", "a/" * 3000])
def test_a_path_that_cannot_be_opened_says_why(path: str) -> None:
    with pytest.raises(InvalidInput, match="cannot read"):
        arrays.inputs(Path(path))


@pytest.mark.parametrize(
    "error",
    [
        zlib.error("x"),
        struct.error("x"),
        RuntimeError("x"),
        MemoryError(),
        KeyError("x"),
        RecursionError("x"),
        EOFError(),
        IndexError(),
    ],
)
def test_the_boundary_has_no_holes_and_keeps_the_cause(error: Exception) -> None:
    with (
        pytest.raises(InvalidInput, match=r"cannot read it: it is not a thing \(.+\)") as raised,
        arrays.parsing("it", "a thing"),
    ):
        raise error
    assert raised.value.__cause__ is error


READERS: dict[str, Callable[[Path], object]] = {
    "x.npy": arrays.inputs,
    "x.npy.gz": arrays.inputs,
    "x.csv": arrays.inputs,
    "x.csv.gz": arrays.inputs,
    "x.npz": lambda path: arrays.npz(path, ("x", "y")),
    "x-idx3-ubyte": lambda path: arrays.idx(path, 3),
    "x-idx3-ubyte.gz": lambda path: arrays.idx(path, 3),
}
IDX = bytes((0, 0, 8, 3)) + struct.pack(">III", 2, 2, 2) + bytes(8)
SEEDS = {
    "x.npy": npy(ROWS),
    "x.npy.gz": gzip.compress(npy(ROWS)),
    "x.csv": TABLE,
    "x.csv.gz": gzip.compress(TABLE),
    "x.npz": npz(x=ROWS, y=np.arange(3)),
    "x-idx3-ubyte": IDX,
    "x-idx3-ubyte.gz": gzip.compress(IDX),
}


@st.composite
def spoilt(draw: st.DrawFn) -> tuple[str, bytes]:
    """A file of a known format with some bytes changed, cut out or put in; sometimes of another format, or noise."""
    name = draw(st.sampled_from(sorted(SEEDS)))
    data = bytearray(
        draw(st.one_of(st.just(SEEDS[name]), st.sampled_from(list(SEEDS.values())), st.binary(max_size=80)))
    )
    for _ in range(draw(st.integers(0, 6))):
        at = draw(st.integers(0, len(data)))
        length = draw(st.sampled_from((0, 1, 1, 2, 4, 40)))
        data[at : at + length] = draw(st.binary(max_size=6))
    return name, bytes(data)


@settings(
    max_examples=1500, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
@given(spoilt())
@example(("x.csv", b"1,2,\x00"))
def test_spoilt_files_raise_nothing_but_invalid_input(tmp_path: Path, case: tuple[str, bytes]) -> None:
    name, content = case
    (tmp_path / name).write_bytes(content)
    try:
        READERS[name](tmp_path / name)
    except InvalidInput as error:
        assert len(error.message) < 1000 + len(str(tmp_path))
