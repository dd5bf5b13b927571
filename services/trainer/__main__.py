"""`python -m services.trainer`: settings from LINKLEARNER_TRAINER_*, until SIGINT or SIGTERM."""

import asyncio
import os
import signal
import sys

from linklearner import log
from linklearner.domain.errors import LinkLearnerError
from services.trainer.config import Config
from services.trainer.trainer import Trainer


async def main(config: Config) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with Trainer.start(config) as trainer:
        print(f"trainer {trainer.address}", flush=True)
        work, stopped = asyncio.create_task(trainer.wait()), asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if work.done():
            work.result()
        work.cancel()
        stopped.cancel()


if __name__ == "__main__":
    try:
        config = Config.from_environment(os.environ)
        log.configure(service="trainer", level=config.log_level)
        asyncio.run(main(config))
    except LinkLearnerError as error:
        sys.exit(f"trainer: {error}")
