"""`python -m devchain`: an Artela-like chain on a local port."""

from __future__ import annotations

import argparse
import asyncio
import errno
import re
import signal
import sys
from fractions import Fraction
from pathlib import Path
from typing import Final

from devchain.accounts import key_file
from devchain.chain.chain import MinedBlock
from devchain.chain.store import StoreUnavailable, StoreUnusable
from devchain.config import ARTELA_CHAIN_ID, DEVELOPMENT_CHAIN_ID, ChainConfig, ForkRules, InvalidChainConfig, NodeKind
from devchain.console import lines
from devchain.rpc.access import HttpAccess
from devchain.server import Devchain

_WHOLE: Final = re.compile(r"-?[0-9]{1,20}", re.ASCII)
_SHARE: Final = re.compile(r"[0-9]{0,20}\.?[0-9]{1,20}(?:/[0-9]{1,20})?", re.ASCII)

_DISK_TROUBLE: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)
"""The machine's fault, and it may pass: exit status 1. Every other error of the system is of what was named on the command line: 2."""


def _port(text: str) -> int:
    port = _whole(text)
    if not 0 <= port <= 65535:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 65535")
    return port


def _whole(text: str) -> int:
    """Python takes digits of every script, and underscores, for a number."""
    if not _WHOLE.fullmatch(text):
        raise argparse.ArgumentTypeError(f"{text!r:.60} is not a whole number")
    return int(text)


def _host(text: str) -> str:
    """Empty, as from a variable that is not set, would mean every interface of this machine."""
    try:
        text.encode("idna")
    except UnicodeError:
        raise argparse.ArgumentTypeError(f"{text!r:.60} is no name or address") from None
    if not text.strip():
        raise argparse.ArgumentTypeError("it is empty; 0.0.0.0 listens on every interface")
    return text


def _state(text: str) -> Path:
    if not text or "\0" in text:
        raise argparse.ArgumentTypeError("it names no file")
    return Path(text)


def _share(text: str) -> Fraction:
    try:
        if not _SHARE.fullmatch(text):  # 1e99999999 is a fraction, too, of a hundred million digits
            raise ValueError
        return Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise InvalidChainConfig(f"min_gas_multiplier must be between 0 and 1, got {text!r:.60}") from None


def arguments(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="devchain", description=__doc__)
    parser.add_argument("--host", type=_host, default="127.0.0.1", help="address to listen on (default %(default)s)")
    parser.add_argument("--port", type=_port, default=8545, help="port; 0 takes a free one (default %(default)s)")
    parser.add_argument("--state", type=_state, default=None, help="SQLite file of the chain; without it, memory only")
    parser.add_argument("--mining", default="instant", help="instant, manual or interval:SECONDS (default %(default)s)")
    parser.add_argument(
        "--chain-id",
        type=_whole,
        help=f"EIP-155 chain id (default: the state file's, else {DEVELOPMENT_CHAIN_ID}; Artela's own is {ARTELA_CHAIN_ID})",
    )
    parser.add_argument("--strict-rpc", action="store_true", help="answer exactly as narrowly as an Artela node")
    parser.add_argument(
        "--fork-rules",
        type=ForkRules,
        choices=list(ForkRules),
        default=ForkRules.ARTELA,
        help="artela: the node's EVM; cancun: Ethereum's own (default %(default)s)",
    )
    parser.add_argument(
        "--node",
        type=NodeKind,
        choices=list(NodeKind),
        default=NodeKind.COMETBFT,
        help="which Artela node to be like where they differ: the one of 2024-09 or the newest (default %(default)s)",
    )
    parser.add_argument(
        "--transaction-seconds",
        type=float,
        default=ChainConfig.transaction_seconds,
        help="how long one transaction may run before it fails (default %(default)s)",
    )
    parser.add_argument(
        "--min-gas-multiplier",
        default="0.5",
        help="share of the gas limit that is charged at least (default %(default)s)",
    )
    parser.add_argument(
        "--allow-host",
        action="append",
        default=[],
        metavar="NAME",
        help="serve requests for this host name, too (default: localhost and IP addresses); may be repeated",
    )
    parser.add_argument(
        "--allow-origin",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="serve web pages of this origin, as http://localhost:5173 (default: none); may be repeated",
    )
    parser.add_argument("--quiet", action="store_true", help="no block-by-block log")
    return parser.parse_args(argv)


def show(mined: MinedBlock) -> None:
    """One block on the console; empty ones are silent."""
    if mined.block.receipts or mined.panics:
        print("\n".join(lines(mined)), flush=True)


async def serve(options: argparse.Namespace) -> None:
    config = ChainConfig(
        strict=options.strict_rpc,
        fork_rules=options.fork_rules,
        node=options.node,
        transaction_seconds=options.transaction_seconds,
        min_gas_multiplier=_share(options.min_gas_multiplier),
    )
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signal_number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signal_number, stop.set)
    async with Devchain.start(
        state=options.state,
        host=options.host,
        port=options.port,
        mining=options.mining,
        chain_id=options.chain_id,
        config=config,
        on_block=None if options.quiet else show,
        access=HttpAccess.of(tuple(options.allow_host), tuple(options.allow_origin)),
    ) as devchain:
        print(f"devchain {devchain.chain.config.chain_id} at {devchain.url}", flush=True)
        for account in devchain.accounts:
            print(f"  0x{account.address.hex()}", flush=True)
        if options.state is not None:
            print(f"  keys in {key_file(options.state)}", flush=True)
        await stop.wait()


def main(argv: list[str] | None = None) -> int:
    try:
        asyncio.run(serve(arguments(argv)))
    except (StoreUnusable, InvalidChainConfig) as error:
        print(f"devchain: {error}", file=sys.stderr)
        return 2
    except StoreUnavailable as error:
        print(f"devchain: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        hint = "; try --port 0" if error.errno == errno.EADDRINUSE else ""
        print(f"devchain: {(error.strerror or str(error)).lower()}{hint}", file=sys.stderr)
        return 1 if error.errno in _DISK_TROUBLE else 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
