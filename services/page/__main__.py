"""`python -m services.page`: settings from LINKLEARNER_PAGE_*, until SIGINT or SIGTERM."""

import asyncio
import os
import sys

from linklearner import log, process
from services.page.config import PageConfig
from services.page.server import PageServer


async def serve(config: PageConfig) -> None:
    stop = process.stop_signal()
    async with PageServer.start(config) as server:
        print(f"page {server.url}", flush=True)
        await process.until(stop)


def main() -> None:
    config = PageConfig.from_environment(os.environ)
    log.configure(service="page", level=config.log_level)
    asyncio.run(serve(config))


if __name__ == "__main__":
    sys.exit(process.run("page", main))
