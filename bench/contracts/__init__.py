"""Contracts that are not the product's: what the benches and the comparison with other chains (tests/differential) run on both sides."""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path
from typing import Any

from web3 import Web3
from web3.contract import Contract

FOLDER = Path(__file__).parent


@cache
def built() -> dict[str, Any]:
    """What build.mjs wrote: ABI and bytecode of each contract, and the digests of their sources."""
    loaded: dict[str, Any] = json.loads((FOLDER / "contracts.json").read_text())
    return loaded


def contract(name: str, address: str | None = None) -> Contract:
    """A contract of this folder, for encoding calls and decoding answers; no connection."""
    fields = built()["contracts"][name]
    return Web3().eth.contract(address=address, abi=fields["abi"], bytecode=fields["bytecode"])  # type: ignore[call-overload]
