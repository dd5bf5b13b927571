"""What gas a weight costs, measured beside the demo."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from linklearner.demo.screen import Screen
from linklearner.domain.errors import Unavailable


@asynccontextmanager
async def gas_measured(root: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bench.gas` beside the demo: to know what an update costs above the fixed part takes rounds of small ones."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.gas", "--quick",
        cwd=root, stdin=asyncio.subprocess.DEVNULL, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def show_gas(process: asyncio.subprocess.Process, screen: Screen) -> None:
    out, errors = await process.communicate()
    if process.returncode != 0:
        raise Unavailable(f"bench.gas failed:\n{errors.decode(errors='replace')[-2000:]}")
    figures = json.loads(out)
    screen.event("gas", **figures)
    screen.say(
        f"\n[bold]Gas[/bold]  under Artela's rules, five updates a round, submission and settlement: {figures['fixed']:,.0f} for an "
        f"update of any size,\n     above that {figures['two-bits']:.1f} a weight in two bits, {figures['int8']:.1f} in int8"
    )
