"""`python -m services.trainer`: settings from LINKLEARNER_TRAINER_*, until SIGINT or SIGTERM. With `--check` only whether they may hold."""

import asyncio
import os
import sys

from linklearner import log, process
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer, check


async def serve(config: TrainerConfig) -> None:
    stop = process.stop_signal()
    async with Trainer.start(config) as trainer:
        print(f"trainer {trainer.address}", flush=True)
        await process.until(stop, trainer.wait())


def main() -> None:
    config = TrainerConfig.from_environment(os.environ)
    if sys.argv[1:] == ["--check"]:
        check(config)
        return
    log.configure(service="trainer", level=config.log_level)
    asyncio.run(serve(config))


if __name__ == "__main__":
    sys.exit(process.run("trainer", main))
