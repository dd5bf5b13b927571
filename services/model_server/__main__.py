"""`python -m services.model_server`: settings from LINKLEARNER_MODEL_SERVER_*, until SIGINT or SIGTERM.

On uvloop: a tenth less CPU per inference than asyncio's own loop under the same load (`python -m bench.serving`).
"""

import asyncio
import os
import signal
import sys

import uvloop

from linklearner import log
from linklearner.domain.errors import LinkLearnerError
from services.model_server.config import Config
from services.model_server.server import ModelServer


async def main(config: Config) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with ModelServer.start(config) as server:
        print(f"model_server {server.address} metrics http://{server.metrics_address}/metrics", flush=True)
        work, stopped = asyncio.create_task(server.wait()), asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        stopped.cancel()


if __name__ == "__main__":
    try:
        config = Config.from_environment(os.environ)
        log.configure(service="model_server", level=config.log_level)
        uvloop.run(main(config))
    except LinkLearnerError as error:
        sys.exit(f"model_server: {error}")
