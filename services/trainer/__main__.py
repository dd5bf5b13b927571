"""`python -m services.trainer`: settings from LINKLEARNER_TRAINER_*, until SIGINT or SIGTERM."""

import sys

from linklearner import process
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer


async def serve(config: TrainerConfig) -> None:
    stop = process.stop_signal()
    async with Trainer.start(config) as trainer:
        print(f"trainer {trainer.address}", flush=True)
        await process.until(stop, trainer.wait())


if __name__ == "__main__":
    sys.exit(process.run_service("trainer", TrainerConfig.from_environment, serve))
