"""Built and committed: the contracts (ABI, bytecode, storage layout), the Aspect (wasm) and the page, with the digests of
their sources.

A Python user needs neither solc nor node. `MANIFEST.json` (the page has one of its own) says what each file was built from; a test
notices stale ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import Any

from linklearner.domain.errors import NotFound


@dataclass(frozen=True, slots=True)
class ContractArtifact:
    """A compiled contract. `storage_layout` is solc's, without its running numbers."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: bytes
    """The creation code; constructor arguments are appended to it."""
    deployed_bytecode: bytes
    storage_layout: dict[str, Any]


@cache
def contract(name: str) -> ContractArtifact:
    """The contract of a name, `TrainingPool` for one; its ABI has the functions of its rooms, too. Raises NotFound for another name."""
    fields = json.loads(_read(f"{name}.json"))
    return ContractArtifact(
        name=fields["contractName"],
        abi=fields["abi"],
        bytecode=bytes.fromhex(fields["bytecode"][2:]),
        deployed_bytecode=bytes.fromhex(fields["deployedBytecode"][2:]),
        storage_layout=fields["storageLayout"],
    )


@cache
def aspect(name: str) -> bytes:
    """The wasm code of the Aspect `aggregator`, ready to deploy. Raises NotFound for another name."""
    return _read(f"{name}.wasm")


@cache
def page() -> Mapping[str, bytes]:
    """The files of the built page, by name; `index.html` is the document."""
    return {
        file.name: file.read_bytes()
        for file in sorted(resources.files(__name__).joinpath("page").iterdir(), key=lambda file: file.name)
        if file.name != "MANIFEST.json"
    }


def manifest() -> dict[str, Any]:
    """What the artifacts were built from: per section compiler, sources and outputs with their SHA-256."""
    loaded: dict[str, Any] = json.loads(_read("MANIFEST.json"))
    return loaded


def _read(name: str) -> bytes:
    try:
        return resources.files(__name__).joinpath(name).read_bytes()
    except FileNotFoundError:
        raise NotFound(f"there is no artifact {name}") from None
