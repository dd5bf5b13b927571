"""`python -m services.model_server`: settings from LINKLEARNER_MODEL_SERVER_*, until SIGINT or SIGTERM.

On uvloop: a tenth less CPU per inference than asyncio's own loop under the same load (`python -m bench.serving`).
"""

import sys

import uvloop

from linklearner import process
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer


async def serve(config: ModelServerConfig) -> None:
    def line(server: ModelServer) -> str:
        return f"model_server {server.address} metrics http://{server.metrics_address}/metrics"

    await process.serve(ModelServer.start(config), line, ModelServer.wait)


def main() -> None:
    process.run_service("model_server", ModelServerConfig.from_environment, serve, uvloop.run)


if __name__ == "__main__":
    sys.exit(process.run("model_server", main))
