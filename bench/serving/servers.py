"""The servers that are compared, each a process of its own.

    python -m bench.serving.servers echo                    the floor: grpc.aio, bytes in, bytes out, no message parsed
    python -m bench.serving.servers model GATEWAY on|off    our model server, with its metrics and limits, admission stake or open
    python bench/serving/mlserver_runtime.py …              MLServer, in an environment of its own (see `__main__`)

Each prints its address when it listens, and serves until it is killed. The model server runs on uvloop as `python -m
services.model_server` does; `--asyncio` takes asyncio's own loop, on which the floor always runs.
"""

import asyncio
import sys

import grpc
import uvloop

from bench.serving import wire
from linklearner import log
from services.model_server.admission.open import Open
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer


async def echo() -> None:
    async def answer(request: bytes, context: object) -> bytes:
        return wire.RESPONSE

    server = grpc.aio.server(options=(("grpc.so_reuseport", 0),))
    handlers = {"ModelInfer": grpc.unary_unary_rpc_method_handler(answer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(wire.SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(f"127.0.0.1:{port}", flush=True)
    await server.wait_for_termination()


async def model(gateway: str, gate: str) -> None:
    admission = StakeSettings(max_calls_per_session=4096) if gate == "on" else Open()
    config = ModelServerConfig(
        admission=admission,
        gateway=gateway,
        credential="",
        listen="127.0.0.1:0",
        metrics_listen="127.0.0.1:0",
        keep_previous_s=1.0,
    )
    async with ModelServer.start(config) as server:
        await server.ready()
        print(server.address, flush=True)
        await server.wait()


def main(arguments: list[str]) -> None:
    log.configure(service="bench", level="warning")
    kind, *rest = [argument for argument in arguments if argument != "--asyncio"]
    work = {"echo": echo, "model": model}[kind](*rest)
    if kind == "echo" or "--asyncio" in arguments:
        asyncio.run(work)
    else:
        uvloop.run(work)


if __name__ == "__main__":
    main(sys.argv[1:])
