"""Takes out of an environment what no service reads, then compiles what is left: at run time the root file system is read-only, so
nothing could be cached any more.

    slim.py FOLDER
"""

import compileall
import py_compile
import shutil
import struct
import sys
from pathlib import Path

FOLDERS = ("tests", "test", "SelfTest", "include", "distutils", "f2py", "__pycache__")
"""Wherever they are."""
SUFFIXES = (".a", ".c", ".cc", ".cpp", ".h", ".hpp", ".pxd", ".pyi", ".pyx", ".rst")
PIECES = (
    "onnxruntime/capi/libonnxruntime.so.*",  # for C programs; Python's module has it linked in
    "onnxruntime/quantization",
    "onnxruntime/tools",
    "onnxruntime/transformers",
    "onnx/backend/test",
    "pygments/lexers/[a-z]*.py",  # rich colours source code with them; the services print none
    "torch/bin/*Test",
    "torch/bin/protoc*",
    "torch/bin/test_*",
    "torch/lib/lib*_test.so",
)
"""Parts of packages, below site-packages."""


def unload(library: Path) -> None:
    """Cuts an ELF file behind its last segment: sections beyond it are symbols and debug data, which the loader does not read."""
    with library.open("r+b") as file:
        header = file.read(64)
        if header[:6] != b"\x7fELF\x02\x01":  # only 64-bit, little endian
            return
        (at,) = struct.unpack_from("<Q", header, 32)
        size, count = struct.unpack_from("<HH", header, 54)
        file.seek(at)
        table = file.read(size * count)
        end = max(
            offset + length
            for offset, length in (
                (struct.unpack_from("<Q", table, i * size + 8)[0], struct.unpack_from("<Q", table, i * size + 32)[0])
                for i in range(count)
            )
        )
        end = max(end, at + size * count)
        # no section table any more: e_shoff, e_shnum and e_shstrndx are 0
        file.seek(40)
        file.write(bytes(8))
        file.seek(60)
        file.write(bytes(4))
        file.truncate(end)


def slim(root: Path) -> None:
    for packages in [root, *root.glob("lib/python3*/site-packages")]:
        for piece in PIECES:
            for path in packages.glob(piece):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
    for folder in [path for path in root.rglob("*") if path.name in FOLDERS and path.is_dir()]:
        shutil.rmtree(folder, ignore_errors=True)  # one within another is gone already
    for path in root.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        if path.suffix in SUFFIXES:
            path.unlink()
        elif path.suffix == ".so" or ".so." in path.name:
            unload(path)


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    slim(folder)
    # By content, not by time: times differ from build to build. A file that does not compile is a template of its package.
    mode = py_compile.PycInvalidationMode.UNCHECKED_HASH
    compileall.compile_dir(folder, quiet=2, workers=0, invalidation_mode=mode)
