"""Generates src/linklearner/{v1,oip} from protos/, or with --check compares a fresh generation with what is committed."""

import argparse
import filecmp
import sys
import tempfile
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
OUT = ROOT / "src"
PACKAGES = ("v1", "oip")


def generate(target: Path) -> list[Path]:
    """Writes *_pb2.py, *_pb2.pyi and *_pb2_grpc.py under target and returns their paths relative to it."""
    import grpc_tools

    includes = Path(grpc_tools.__file__).parent / "_proto"
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    code = protoc.main(
        [
            "protoc",
            f"-I{PROTOS}",
            f"-I{includes}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *sources,
        ]
    )
    if code != 0:
        raise SystemExit(code)
    return sorted(
        path.relative_to(target) for package in PACKAGES for path in (target / "linklearner" / package).glob("*_pb2*")
    )


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("--check", action="store_true")
    if not arguments.parse_args().check:
        generate(OUT)
        return
    with tempfile.TemporaryDirectory() as fresh:
        files = generate(Path(fresh))
        committed = sorted(
            path.relative_to(OUT) for package in PACKAGES for path in (OUT / "linklearner" / package).glob("*_pb2*")
        )
        stale = [
            str(path)
            for path in files
            if not (OUT / path).exists() or not filecmp.cmp(Path(fresh) / path, OUT / path, shallow=False)
        ]
        stale += [str(path) for path in committed if path not in files]
    if stale:
        sys.exit(
            f"generated protobuf code is not what protos/ gives: {', '.join(stale)}; run `make protos` and commit the result"
        )


if __name__ == "__main__":
    main()
