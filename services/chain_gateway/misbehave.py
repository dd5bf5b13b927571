"""The cheat of the demo, a program of its own:

    python -m services.chain_gateway.misbehave --home FOLDER --account 0x…

plays the cheat with one account of a running suite, in the open round of its task. It waits for words on standard input: `submit` after the
account has handed in one honest update, `settle` when the round may be settled. One JSON document a line: `attempt`, `refused`, the
chain's `reason` and `message`, and the `transaction` with its `block` and `gas_used` where one landed; `{}` ends the answer to a word.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path

import structlog

from linklearner import log, process
from linklearner.chain.contracts import CONTRACTS
from linklearner.domain.errors import InvalidInput
from linklearner.keyfile import read_password
from linklearner.suite import Suite
from services.chain_gateway.chain import Chain
from services.chain_gateway.cheat import Cheat
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.events import EventIndex
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.ledger import Ledger
from services.chain_gateway.outbox import Outbox


@asynccontextmanager
async def cheat_of(suite: Suite, account: bytes) -> AsyncIterator[Cheat]:
    """One account of a running suite, its key opened, with an outbox of its own: the gateway's must not learn of this."""
    folder = Path(suite.keys)
    deployment = Deployment(
        chain_id=suite.chain_id,
        pool=_bytes(suite.pool),
        vault=_bytes(suite.vault),
        token=_bytes(suite.token),
        aspect=_bytes(suite.aspect),
        block=suite.deployed_block,
        owner=_bytes(suite.owner),
        task=suite.task,
    )
    async with AsyncExitStack() as stack:
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        keystore = Keystore.of_key_file(folder / f"{account.hex()}.json", read_password(Path(suite.password_file)))
        chain = await stack.enter_async_context(Chain.connect(suite.rpc_url, CONTRACTS))
        outbox = await stack.enter_async_context(Outbox.open(scratch / "outbox", chain, keystore))
        events = stack.enter_context(
            EventIndex.open(scratch / "outbox", chain, deployment.pool, first_block=deployment.block)
        )
        yield Cheat(chain, outbox, Ledger(chain, outbox, events, deployment), account, suite.task)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


async def main(options: argparse.Namespace) -> None:
    """Until standard input ends. A word is answered with what the account then sees: each time a look at the chain as it is now."""
    while word := (await asyncio.to_thread(sys.stdin.readline)).strip():
        async with cheat_of(Suite.read(options.home), _bytes(options.account)) as cheat:
            match word:
                case "submit":
                    attempts = cheat.submissions()
                case "settle":
                    attempts = cheat.settlements()
                case _:
                    raise InvalidInput(f"the word must be submit or settle, got {word!r}")
            async for attempt in attempts:
                print(json.dumps(asdict(attempt)), flush=True)
        print("{}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="services.chain_gateway.misbehave", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="home folder of a running suite")
    parser.add_argument("--account", required=True, help="0x address of the cheat, one of the suite's accounts")
    log.configure(service="misbehave", level="warning")
    structlog.contextvars.bind_contextvars(request="misbehave")
    sys.exit(process.run("misbehave", lambda: asyncio.run(main(parser.parse_args()))))
