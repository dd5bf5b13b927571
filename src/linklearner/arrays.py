"""Arrays out of files that others made: .npy, .npz, IDX, tables of text, each plain or .gz.

Who reaches this: whoever gives a trainer its data set or `linklearner infer` its inputs, often by way of a download. He would gain a
crash, a filled memory or, by a pickle, the account. So there is one boundary, `parsing`: whatever a parser of such bytes raises (numpy,
zipfile, zlib, gzip and ast between them raise a dozen unrelated types) becomes InvalidInput with its cause. Sizes are compared with the
bytes that are really there before anything of that size is allocated, and nothing is ever unpickled.
"""

import gzip
import io
import re
import sys
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidInput, LinkLearnerError, NotFinite

MAX_BYTES = 1 << 30
"""Of one file, and of all that it opens to: MNIST opens to 55 MB."""
MAX_TEXT_BYTES = 1 << 27
"""Of a table as text, which takes five times as much memory as a table."""
MAX_HEADER_BYTES = 4096
"""Of a .npy header: it is parsed as a Python literal; that of a plain array has about 100 bytes."""
MAX_MEMBERS = 1024
MAX_RANK = 32
MAX_DIRECTORY_BYTES = 256 * MAX_MEMBERS
"""Of a zip archive's list of members: `zipfile` makes an object of each of its 46 bytes or more before anybody can count them."""
STDIN = "-"

_NPY, _ZIP, _GZIP = b"\x93NUMPY", b"PK", b"\x1f\x8b"
_KINDS = {_NPY: "an .npy array", _ZIP: "an .npz (zip) archive", _GZIP: "a gzip file"}
_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_END_OF_ZIP, _END_BYTES, _LONGEST_END = b"PK\5\6", 22, 22 + 65536
_END_OF_ZIP64, _LOCATOR_BYTES = b"PK\6\7", 20
_REMARK = re.compile(r"^# .*", re.MULTILINE)
"""A line of a table that is none of its rows, as `numpy.savetxt` writes a header."""
_PLAIN_KINDS = "?bhilqpBHILQPefdg"  # dtype.char of booleans, integers and floats


@contextmanager
def parsing(what: str | Path, expected: str) -> Iterator[None]:
    """The boundary around parsers of untrusted bytes: InvalidInput "cannot read WHAT: it is not EXPECTED (why)" for whatever they raise."""
    try:
        yield
    except LinkLearnerError:
        raise
    except OSError as error:
        raise InvalidInput(f"cannot read {what} ({error.strerror or error})") from error
    except Exception as error:  # a list of what parsers raise has holes: zlib.error, struct.error, TokenError …
        raise InvalidInput(f"cannot read {what}: it is not {expected} ({_why(error)})") from error


def _why(error: Exception) -> str:
    said = " ".join(str(error).split())
    if isinstance(error, MemoryError):
        return said or "it asks for more memory than there is"
    return f"{said[:200]}" if said else type(error).__name__


def read(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The bytes of a file, opened if its name ends in .gz; `-` is standard input.

    Raises InvalidInput for more than `limit` bytes, before or after opening.
    """
    with parsing(path, "a gzip file" if path.suffix == ".gz" else "a file"):
        if str(path) == STDIN:
            if sys.stdin is None:  # `<&-`: whatever has that number now is another file of ours
                raise InvalidInput("cannot read -: standard input is closed; pipe a table into it, or name a file")
            data = sys.stdin.buffer.read(limit + 1)
        else:
            with path.open("rb") as file:
                data = file.read(limit + 1)
        if path.suffix == ".gz" and len(data) <= limit:
            if not data:
                raise EOFError("the file is empty")
            with gzip.GzipFile(fileobj=io.BytesIO(data)) as opened:
                data = opened.read(limit + 1)
    if len(data) > limit:
        raise InvalidInput(f"cannot read {path}: it holds, or opens to, more than {limit} bytes")
    return data


def npy(data: bytes, what: str | Path) -> NDArray[Any]:
    """One plain array, as `numpy.save` writes it. Raises InvalidInput."""
    with parsing(what, "an .npy array of plain numbers"):
        _is(data, _NPY)
        file = io.BytesIO(data)
        version = np.lib.format.read_magic(file)
        if version == (1, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=MAX_HEADER_BYTES)
        elif version == (2, 0):
            shape, fortran, dtype = np.lib.format.read_array_header_2_0(file, max_header_size=MAX_HEADER_BYTES)
        else:
            raise ValueError(f"version {version[0]}.{version[1]} of the format is for records with names")
        if dtype.hasobject:
            raise ValueError("it holds pickled Python objects, which are never loaded; only plain arrays are")
        if len(shape) > MAX_RANK or any(length < 0 for length in shape):
            raise ValueError(f"no array has the shape {str(shape)[:60]}")
        place = file.tell()
        announced = prod(shape) * dtype.itemsize
        if announced != len(data) - place:
            raise ValueError(f"it announces {announced} bytes of numbers and holds {len(data) - place}")
        flat = np.frombuffer(data, dtype, offset=place)
        return flat.reshape(shape, order="F" if fortran else "C")


def npz_names(path: Path) -> list[str]:
    """The names of all arrays of an archive, none of which is opened. Raises InvalidInput as `npz` does."""
    return npz(path, ())[1]


def npz(path: Path, names: Collection[str]) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Those of `names` that the archive has, and the names of all its arrays, as `numpy.savez` and `savez_compressed` write them.

    Raises InvalidInput for anything else; for more than MAX_BYTES in the wanted arrays before one of them is opened.
    """
    data = read(path)
    expected = "an .npz file of plain arrays"
    with parsing(path, expected):
        _is(data, _ZIP)
        _check_directory(data)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = archive.infolist()
            if len(members) > MAX_MEMBERS:
                raise ValueError(f"it has {len(members)} members, more than {MAX_MEMBERS}")
            found = {member.filename.removesuffix(".npy"): member for member in members}
            if len(found) != len(members):
                raise ValueError("two of its arrays have one name")
            wanted = {name: found[name] for name in names if name in found}
            total = sum(member.file_size for member in wanted.values())
            if total > MAX_BYTES:
                raise ValueError(f"it opens to {total} bytes, more than {MAX_BYTES}")
            arrays = {}
            for name, member in wanted.items():
                if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                    # The others (bzip2, LZMA) may ask for gigabytes of working memory; numpy writes none of them.
                    raise ValueError(f"{name} is compressed by method {member.compress_type}, which numpy never uses")
                with archive.open(member) as file:
                    arrays[name] = npy(file.read(member.file_size + 1), f"{name} in {path}")
    return arrays, sorted(found)


def _check_directory(data: bytes) -> None:
    """Raises ValueError for an archive whose directory is longer than that of MAX_MEMBERS arrays.

    A gigabyte of members without content would become some 20 million objects. `zipfile` takes the end of the directory to be in the last
    22 bytes or, if it is not, where its mark comes last.
    """
    for at in {len(data) - _END_BYTES, data.rfind(_END_OF_ZIP, max(0, len(data) - _LONGEST_END))}:
        if at < 0 or not data.startswith(_END_OF_ZIP, at):
            continue
        if at >= _LOCATOR_BYTES and data.startswith(_END_OF_ZIP64, at - _LOCATOR_BYTES):
            raise ValueError(f"it is a ZIP64 archive, which nobody needs for {MAX_MEMBERS} arrays")
        length = int.from_bytes(data[at + 12 : at + 16], "little")
        if length > MAX_DIRECTORY_BYTES:
            raise ValueError(f"the list of its members has {length} bytes, more than {MAX_DIRECTORY_BYTES}")


def idx(path: Path, dimensions: int | None = None) -> NDArray[Any]:
    """An IDX file: 00 00, element type, ndim, then ndim u32 big-endian sizes, then the elements, big-endian. Raises InvalidInput.

    Element types are u8, i8, i16, i32, f32 and f64. dimensions: how many it must have; None: any number from 1 to MAX_RANK.
    """
    data = read(path)
    wanted = "IDX file" if dimensions is None else f"IDX file in {dimensions} dimensions"
    if len(data) < 4 or data[:2] != bytes(2) or data[2] not in _IDX_TYPES or not 1 <= data[3] <= MAX_RANK:
        raise InvalidInput(f"cannot read {path}: it is not an {wanted}")
    if dimensions not in (None, data[3]):
        raise InvalidInput(f"cannot read {path}: it is not an {wanted}, but in {data[3]}")
    element, head = np.dtype(_IDX_TYPES[data[2]]), 4 + 4 * data[3]
    if len(data) < head:
        raise InvalidInput(f"cannot read {path}: it ends before its sizes do: download it again")
    sizes = tuple(int.from_bytes(data[at : at + 4], "big") for at in range(4, head, 4))
    announced = prod(sizes) * element.itemsize
    if len(data) - head != announced:
        raise InvalidInput(
            f"cannot read {path}: it announces {announced} bytes of data and holds {len(data) - head}: download it again"
        )
    with parsing(path, "an IDX file"):  # numpy refuses some shapes with a zero in them
        return np.frombuffer(data, element, offset=head).reshape(sizes)


def table(path: Path) -> NDArray[np.float64]:
    """(rows, columns) float64 out of text with one row a line and commas between the numbers. Raises InvalidInput."""
    data = read(path, MAX_TEXT_BYTES)
    with parsing(path, "a table of numbers"):
        check_text(data)
        text = data.decode("utf-8-sig")
        rows = _REMARK.sub("", text)
        if not rows.strip():
            raise ValueError("it is empty")
        # comments=None: otherwise a row that begins with Excel's `#N/A` would be left out, and every answer after it be another row's
        values: NDArray[np.float64] = np.loadtxt(
            io.StringIO(rows), delimiter=",", ndmin=2, dtype=np.float64, comments=None
        )
        if not values.size:
            raise ValueError("it has no rows")
        return values


def check_text(data: bytes) -> None:
    """Raises ValueError for the bytes of an array or archive where text is expected."""
    for magic, kind in _KINDS.items():
        if data.startswith(magic):
            raise ValueError(f"it is {kind}: give it the name of one")


def inputs(path: Path) -> NDArray[np.float32]:
    """(B, …) float32 to ask a model about, out of .npy or a table of text, plain or .gz; `-`: a table on standard input.

    One row may stand alone. Raises InvalidInput for what is no such file, NotFinite with the first row that is no number (as float32).
    """
    name = path.name.removesuffix(".gz")
    if name.endswith(".npz"):
        raise InvalidInput(
            f"cannot read {path}: an .npz archive may hold many arrays; save the one of the inputs as .npy"
        )
    values = npy(read(path), path) if name.endswith(".npy") else table(path)
    if values.ndim == 1:
        values = values[None, :]
    if values.ndim < 2 or values.dtype.char not in _PLAIN_KINDS or not values.size:
        shape = str(values.shape)[:60]
        raise InvalidInput(f"cannot read {path}: it holds {values.dtype} of shape {shape}; rows of numbers are needed")
    with np.errstate(over="ignore"):
        rows = values.astype(np.float32)
    bad = np.flatnonzero(~np.isfinite(rows).reshape(len(rows), -1).all(axis=1))
    if len(bad):
        raise NotFinite(
            f"cannot read {path}: row {bad[0]}, counted from 0, holds NaN, infinity or a number beyond float32"
            + (f" (as do {len(bad) - 1} more)" if len(bad) > 1 else "")
        )
    return rows


def _is(data: bytes, magic: bytes) -> None:
    """Raises ValueError, with what the bytes look like instead, unless they begin as they should."""
    if not data:
        raise ValueError("it is empty")
    if not data.startswith(magic):
        for other, kind in _KINDS.items():
            if data.startswith(other):
                raise ValueError(f"it is {kind}: give it the name of one")
