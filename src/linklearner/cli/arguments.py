"""What is typed after a command: each value has one notation (`linklearner.domain.notation`). What is not in it gives one sentence, for
people or for programs (`--format json`), and exit status 2.
"""

import sys
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import typer
from typer.core import TyperGroup

from linklearner.domain import notation
from linklearner.domain.errors import OutOfRange
from linklearner.output import Format, reporting

MAX_WEI = 2**90
"""All $LL that there can be, wei (contracts/TrainingPool.sol)."""


class Commands(TyperGroup):
    """The commands, with the error tree at their door: arguments are read before a command can catch what is wrong with them."""

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        typed = list(sys.argv[1:] if args is None else args)
        wants_json = "--format=json" in typed or ("--format", "json") in pairwise(typed)
        try:
            with reporting(Format.JSON if wants_json else Format.TEXT):
                return super().main(args, *rest, **options)
        except typer.Exit as ended:
            sys.exit(ended.exit_code)


def number(name: str, low: int, high: int) -> Callable[[Any], int]:
    """A whole number between bounds."""

    def parse(typed: Any) -> int:
        return notation.whole(str(typed), name, low, high)  # a default is a number already

    parse.__name__ = f"{low} to {high}"  # help shows it
    return parse


def host_port(name: str) -> Callable[[str], str]:
    """A service's host:port."""

    def parse(typed: str) -> str:
        return str(notation.Endpoint.parse(typed, name))

    parse.__name__ = "host:port"
    return parse


def url(name: str) -> Callable[[str], str]:
    """The URL of a JSON-RPC node, or several separated by commas."""

    def parse(typed: str) -> str:
        return ",".join(notation.node_urls(typed, name))

    parse.__name__ = "url"
    return parse


def account_address(typed: str | bytes) -> bytes:
    """20 bytes."""
    return typed if isinstance(typed, bytes) else notation.address(typed)


def stake_amount(typed: str | int) -> int:
    """$LL in units of stake."""
    return typed if isinstance(typed, int) else notation.stake_units(typed)


def pot_amount(typed: str | int) -> int:
    """$LL in wei, more than nothing. Raises OutOfRange."""
    wei = typed if isinstance(typed, int) else notation.amount(typed)
    if not 0 < wei <= MAX_WEI:
        raise OutOfRange(f"the amount must be more than 0 and at most {notation.amount_text(MAX_WEI)} $LL")
    return wei
