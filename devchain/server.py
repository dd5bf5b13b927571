"""A running devchain: one thread owns the chain, one server speaks for it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, TypeVar

import structlog
from aiohttp import web

from devchain.accounts import DEVELOPMENT_BALANCE, DevelopmentAccount, key_file, load_or_create
from devchain.chain.chain import BlockListener, EmbeddedChain
from devchain.chain.store import ChainStore, StoreUnavailable, StoreUnusable, kept_chain_id
from devchain.config import DEVELOPMENT_CHAIN_ID, ChainConfig, Mining
from devchain.rpc.access import HttpAccess
from devchain.rpc.methods import APART, Methods
from devchain.rpc.server import JsonRpcServer

_STACK_BYTES: Final = 512 * 1024 * 1024
"""Of the chain's thread, virtual: 1,024 nested EVM frames and a wasm instance fit."""

_QUESTIONS_AT_ONCE: Final = 2
"""More would not be faster, Python runs one at a time; two, so that a long one does not hold up the short ones."""

T = TypeVar("T")

log = structlog.get_logger("devchain")


class DeepThreads:
    """Threads with a stack for the deepest EVM; who has no such thread sends them work."""

    def __init__(self, count: int, name: str) -> None:
        before = threading.stack_size(_STACK_BYTES)
        try:
            self._executor = ThreadPoolExecutor(max_workers=count, thread_name_prefix=name)
            # starts them all while the stack size is set: each waits for the others
            together = threading.Barrier(count)
            for started in [self._executor.submit(together.wait) for _ in range(count)]:
                started.result()
        finally:
            threading.stack_size(before)

    async def run(self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._executor, work, *arguments)

    def run_blocking(self, work: Callable[..., T], *arguments: Any) -> T:
        return self._executor.submit(work, *arguments).result()

    def stop(self) -> None:
        self._executor.shutdown(wait=True, cancel_futures=True)


class ChainThread(DeepThreads):
    """The one thread that may touch the chain; all others send it work."""

    def __init__(self) -> None:
        super().__init__(1, "chain")


@dataclass(frozen=True, slots=True)
class Devchain:
    """A chain that answers at `url`."""

    url: str
    accounts: tuple[DevelopmentAccount, ...] = field(repr=False)
    chain: EmbeddedChain = field(repr=False)
    thread: ChainThread = field(repr=False)

    @property
    def port(self) -> int:
        return int(self.url.rpartition(":")[2])

    @staticmethod
    @contextlib.asynccontextmanager
    async def start(
        *,
        state: Path | None = None,
        host: str = "127.0.0.1",
        port: int = 0,
        mining: str = "instant",
        chain_id: int | None = None,
        accounts: Mapping[str, int] | None = None,
        config: ChainConfig | None = None,
        on_block: BlockListener | None = None,
        access: HttpAccess | None = None,
    ) -> AsyncIterator[Devchain]:
        """Run a devchain for the length of the block.

        state: SQLite file, None keeps everything in memory. chain_id: EIP-155; None is that of `config`; where it names none but the
        devchain's own, a file that began with another goes on with that. mining: `instant`, `manual`, `interval:SECONDS`.
        accounts: further balances in wei at genesis by hex address, beside the ten development accounts.
        on_block: called with every block, on the chain's thread. access: names and web pages that are served beside loopback.
        Raises StoreUnusable, StoreUnavailable, InvalidChainConfig, OSError if the port is taken.
        """
        mode = Mining.parse(mining)
        config = config or ChainConfig()
        if chain_id is None and config.chain_id == DEVELOPMENT_CHAIN_ID:
            chain_id = kept_chain_id(state)
        if chain_id is not None:
            config = replace(config, chain_id=chain_id)
        _check_files(state, config.chain_id)
        developers = load_or_create(state)
        alloc = {account.address: DEVELOPMENT_BALANCE for account in developers} | dict(config.alloc)
        for address, balance in (accounts or {}).items():
            alloc[bytes.fromhex(address.removeprefix("0x"))] = balance
        config = replace(config, alloc=alloc)
        thread = ChainThread()
        asking = DeepThreads(_QUESTIONS_AT_ONCE, "question")
        try:
            chain = await thread.run(EmbeddedChain, config, state, time.time)
            try:
                methods = Methods(chain, accounts=developers, instant=mode.instant)

                async def dispatch(method: str, params: list[Any]) -> Any:
                    return await (asking if method in APART else thread).run(methods, method, params)

                rpc = JsonRpcServer(dispatch, strict=config.strict, access=access)
                loop = asyncio.get_running_loop()
                chain.on_block(lambda mined: _from_chain(loop, rpc.block, mined.block))
                if on_block is not None:
                    chain.on_block(on_block)
                chain.on_arrival(lambda transaction: _from_chain(loop, rpc.transaction, transaction.hash))
                runner = web.AppRunner(rpc.application(), access_log=None, shutdown_timeout=1.0, auto_decompress=False)
                await runner.setup()
                try:
                    site = web.TCPSite(runner, host, port)
                    await site.start()
                    bound = runner.addresses[0][1]
                    ticking = asyncio.create_task(_tick(thread, chain, mode.interval_s)) if mode.interval_s else None
                    try:
                        yield Devchain(f"http://{host}:{bound}", developers, chain, thread)
                    finally:
                        if ticking is not None:
                            ticking.cancel()
                            with contextlib.suppress(asyncio.CancelledError):
                                await ticking
                finally:
                    await runner.cleanup()
            finally:
                asking.stop()
                await thread.run(chain.close)
        finally:
            asking.stop()
            thread.stop()

    @staticmethod
    @contextlib.contextmanager
    def running(**options: Any) -> Iterator[Devchain]:
        """`start` for callers without an event loop: the server runs in a thread of its own. Same options, same errors."""
        loop = asyncio.new_event_loop()
        worker = threading.Thread(target=loop.run_forever, name="devchain-loop", daemon=True)
        worker.start()
        manager = Devchain.start(**options)
        try:
            devchain = asyncio.run_coroutine_threadsafe(manager.__aenter__(), loop).result()
            try:
                yield devchain
            finally:
                asyncio.run_coroutine_threadsafe(manager.__aexit__(None, None, None), loop).result()
        finally:
            loop.call_soon_threadsafe(loop.stop)
            worker.join()
            loop.close()


def _check_files(state: Path | None, chain_id: int) -> None:
    """Raises StoreUnusable where new keys would be made for a chain that does not know them."""
    if state is None:
        return
    if not state.parent.is_dir():
        raise StoreUnusable(f"{state}: there is no directory {state.parent}")
    keys = key_file(state)
    if state.exists() and state.stat().st_size and not keys.exists():
        ChainStore(state, chain_id).close()
        raise StoreUnusable(f"{state} is there, but not its keys {keys}; put them back or choose another --state file")


def _from_chain(loop: asyncio.AbstractEventLoop, tell: Callable[[Any], None], news: Any) -> None:
    """Hand news from the chain's thread to the server's loop, which may be closing."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(tell, news)


async def _tick(thread: ChainThread, chain: EmbeddedChain, interval_s: float) -> None:
    """Make a block every `interval_s` seconds, counted from the start so that slow blocks do not shift the beat."""
    loop = asyncio.get_running_loop()
    due = loop.time()
    while True:
        due = max(due + interval_s, loop.time())
        await asyncio.sleep(due - loop.time())
        try:
            await thread.run(chain.mine)
        except StoreUnavailable:  # the store has logged it, once; there may be room again at the next beat
            continue
        except Exception:  # noqa: BLE001  # the miner's outermost loop: one block that cannot be made is not the end of the chain
            # the traceback without values, and its end only: callers choose how long a value is
            log.error("block_failed", traceback=traceback.format_exc()[-4000:])
