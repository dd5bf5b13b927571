"""`python -m services.model_server`: settings from LINKLEARNER_MODEL_SERVER_*, until SIGINT or SIGTERM.

On uvloop: a tenth less CPU per inference than asyncio's own loop under the same load (`python -m bench.serving`).
"""

import sys

import uvloop

from linklearner import process
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer


async def serve(config: ModelServerConfig) -> None:
    stop = process.stop_signal()
    async with ModelServer.start(config) as server:
        print(f"model_server {server.address} metrics http://{server.metrics_address}/metrics", flush=True)
        await process.until(stop, server.wait())


if __name__ == "__main__":
    sys.exit(process.run_service("model_server", ModelServerConfig.from_environment, serve, uvloop.run))
