"""A document that a program writes: written, or compared with what it would be."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def write(path: Path, text: str, module: str, arguments: list[str]) -> int:
    """Exit status. arguments: what was typed behind `python -m module`; with --check nothing is written, and 1 means that it differs."""
    if arguments == ["--check"]:
        if not path.exists() or path.read_text() != text:
            print(f"{path.relative_to(ROOT)} is not what its source gives: run python -m {module}", file=sys.stderr)
            return 1
        return 0
    path.write_text(text)
    return 0
