"""A folder of labelled pictures: one sub-folder a label, PNG and JPEG inside.

Who reaches this: whoever sends a contributor an archive of pictures. Only the two decoders are in reach, no picture is decoded before its
size in the header is known to fit, and nothing but regular files is opened.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from linklearner.domain.errors import InvalidConfig, InvalidInput
from services.trainer.data.named import together
from services.trainer.data.samples import MAX_LABEL, MAX_VALUES, ONE_ARRAY, Samples
from services.trainer.data.source import Found, Options, Source

ENDINGS: Final = (".png", ".jpg", ".jpeg")
FORMATS: Final = ("PNG", "JPEG")
MAX_PICTURE_BYTES: Final = 2**26
MAX_PIXELS: Final = 2**24
"""Of one picture; the largest input of a model has as many numbers."""
MAX_PICTURES: Final = 2**20
PARTS: Final = (("train", "test"), ("train", "val"), ("train", "valid"), ("training", "testing"))
"""Sub-folders that are no labels, but two folders of labels: to learn from, and held out."""
GREY: Final = frozenset({"1", "L"})
GREY_16: Final = "I;16"
ALPHA: Final = frozenset({"LA", "PA", "RGBA", "La", "RGBa"})


def read(folder: Path, options: Options) -> Found:
    """(n, channels, rows, columns), UINT8 or, of grey pictures in 16 bits, INT32. Labels are named by the sub-folders."""
    _pillow()
    if not folder.is_dir():
        raise InvalidConfig(f"{folder} is no folder: name one that has a sub-folder for each label")
    names = {place.name.lower(): place for place in _folders(folder)}
    for learn, held_out in PARTS:
        if learn in names and held_out in names:
            return together(_samples(names[learn]), _samples(names[held_out]), folder)
    return _samples(folder), None


def _folders(folder: Path) -> list[Path]:
    return sorted(place for place in folder.iterdir() if place.is_dir() and not place.name.startswith("."))


def _files(folder: Path) -> Iterator[Path]:
    """The pictures of one label, in any order. Raises InvalidConfig for another file."""
    for file in folder.iterdir():
        if file.name.startswith(".") or file.name == "Thumbs.db":
            continue
        if file.suffix.lower() not in ENDINGS or not file.is_file():
            raise InvalidConfig(
                f"{file} is no PNG or JPEG file: the folder of a label holds pictures only, so move it elsewhere"
            )
        yield file


@dataclass(frozen=True, slots=True)
class _Header:
    size: tuple[int, int]
    """Rows, columns; upright."""
    mode: str
    transparent: bool


def _samples(folder: Path) -> Samples:
    labels = _folders(folder)
    if not labels or len(labels) > MAX_LABEL:
        raise InvalidConfig(
            f"{folder} has {len(labels)} sub-folders: put the pictures of each label into a sub-folder named like it"
        )
    files: list[tuple[int, Path]] = []
    for label, place in enumerate(labels):
        for file in _files(place):
            files.append((label, file))
            if len(files) > MAX_PICTURES:
                raise InvalidConfig(
                    f"{folder} holds more than {MAX_PICTURES} pictures: leave some out, or save them as an array (npz:FILE)"
                )
    files.sort()
    if not files:
        raise InvalidConfig(f"{folder}: there is nothing to learn: its sub-folders hold no pictures")
    headers = [_header(file) for _, file in files]
    modes, (rows, columns) = {header.mode for header in headers}, headers[0].size
    for header, (_, file) in zip(headers, files, strict=True):
        if header.size != (rows, columns):
            raise InvalidConfig(
                f"{file} is {header.size[0]}x{header.size[1]} (rows x columns), {files[0][1]} is {rows}x{columns}: bring all pictures to "
                "the size that the task takes (linklearner task show), with a program for pictures"
            )
    if GREY_16 in modes and len(modes) > 1:
        raise InvalidConfig(f"some pictures in {folder} have 16 bits a pixel and some have 8: save all of them alike")
    if GREY_16 in modes:
        mode, channels = GREY_16, 1
    elif any(header.transparent for header in headers):
        mode, channels = "RGBA", 4
    else:
        mode, channels = ("L", 1) if modes <= GREY else ("RGB", 3)
    if len(files) * channels * rows * columns > MAX_VALUES:
        raise InvalidConfig(
            f"{len(files)} pictures of {rows}x{columns} in {folder} have more than {MAX_VALUES} numbers: make them smaller, or leave some "
            "out"
        )
    x = np.empty((len(files), channels, rows, columns), dtype=np.int32 if mode == GREY_16 else np.uint8)
    for into, (_, file) in zip(x, files, strict=True):
        pixels = _pixels(file, mode)  # (rows, columns) or (rows, columns, channels)
        if pixels.shape[:2] != (rows, columns):
            raise InvalidConfig(f"{file} changed while it was read")
        into[...] = np.moveaxis(pixels.reshape(rows, columns, channels), -1, 0)
    if channels == 4 and (x[:, 3] == 255).all():
        x = np.ascontiguousarray(x[:, :3])
    y = np.array([label for label, _ in files], dtype=np.int64)
    return Samples({ONE_ARRAY: x}, y, tuple(place.name for place in labels), pictures=True)


def _pillow() -> Any:
    """Imported by the first folder that needs it."""
    try:
        import PIL.Image
        import PIL.ImageOps
    except ImportError:
        raise InvalidConfig(
            "pictures are read by Pillow, which is not installed: pip install 'linklearner[trainer]'"
        ) from None
    return PIL


def _opened(file: Path) -> Any:
    """A picture of which only the header has been read. Raises InvalidConfig for one that is too large."""
    if file.stat().st_size > MAX_PICTURE_BYTES:
        raise InvalidConfig(f"{file} has more than {MAX_PICTURE_BYTES} bytes: make it smaller")
    # Pillow's own bound warns at 89 million pixels; ours is lower, and looks at the header alone as Pillow does
    picture = _pillow().Image.open(file, formats=FORMATS)
    if picture.width * picture.height > MAX_PIXELS:
        size = f"{picture.height}x{picture.width}"
        picture.close()
        raise InvalidConfig(f"{file} has {size} pixels, more than {MAX_PIXELS}: make it smaller")
    return picture


def _header(file: Path) -> _Header:
    with _read_whole(file), _opened(file) as picture:
        turned = picture.getexif().get(_ORIENTATION, 1) >= 5
        size = (picture.width, picture.height) if turned else (picture.height, picture.width)
        return _Header(size, picture.mode, picture.mode in ALPHA or "transparency" in picture.info)


_ORIENTATION: Final = 0x0112
"""EXIF's tag: how a camera was held; 5 to 8 exchange rows and columns."""


def _pixels(file: Path, mode: str) -> NDArray[Any]:
    with _read_whole(file), _opened(file) as picture:
        upright = _pillow().ImageOps.exif_transpose(picture)
        return np.asarray(upright if upright.mode == mode else upright.convert(mode))


@contextmanager
def _read_whole(file: Path) -> Iterator[None]:
    """Whatever Pillow raises becomes InvalidConfig with the file's name: of thousands, one is damaged."""
    try:
        yield
    except InvalidInput:
        raise
    except Exception as error:  # Pillow's decoders raise OSError, SyntaxError, ValueError, struct.error …
        why = " ".join(str(error).split())[:120] or type(error).__name__
        raise InvalidConfig(
            f"{file} is no whole PNG or JPEG picture ({why}): replace it, or move it elsewhere"
        ) from error


IMAGES = Source(
    read=read,
    place="FOLDER",
    about="pictures, PNG or JPEG, in one sub-folder for each label, whose name is the label's; or such folders in `train` and `test` (or "
    "`val`). All of one size. Grey, red-green-blue and opaque alpha become what the task takes; values 0 to 255 (16-bit grey: 65,535).",
    example="images:flowers",
)
