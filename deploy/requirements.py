"""Prints what an image installs before it sees any code: requirements of pyproject.toml, one a line.

requirements.py core                       the core dependencies
requirements.py core:coincurve,eth-hash    some of them, by name
requirements.py trainer                    those of the extra `trainer` alone
requirements.py build-system               what building the wheel takes
"""

import re
import sys
import tomllib
from pathlib import Path
from typing import Any


def requirements(pyproject: dict[str, Any], wanted: str) -> list[str]:
    """Requirement strings as written. Raises KeyError for an extra or a name that does not exist."""
    project = pyproject["project"]
    kind, _, names = wanted.partition(":")
    if kind == "build-system":
        return list(pyproject["build-system"]["requires"])
    if kind != "core":
        return list(project["optional-dependencies"][kind])
    core = {re.match(r"[\w-]+", line)[0]: line for line in project["dependencies"]}  # type: ignore[index]
    return [core[name] for name in names.split(",")] if names else list(core.values())


if __name__ == "__main__":
    described = tomllib.loads((Path(__file__).resolve().parent.parent / "pyproject.toml").read_text())
    print("\n".join(requirements(described, sys.argv[1])))
