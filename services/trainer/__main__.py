"""`python -m services.trainer`: settings from LINKLEARNER_TRAINER_*, until SIGINT or SIGTERM."""

import sys

from linklearner import process
from services.trainer.config import TrainerConfig
from services.trainer.trainer import Trainer


async def serve(config: TrainerConfig) -> None:
    await process.serve(Trainer.start(config), lambda it: f"trainer {it.address}", Trainer.wait)


def main() -> None:
    process.run_service("trainer", TrainerConfig.from_environment, serve)


if __name__ == "__main__":
    sys.exit(process.run("trainer", main))
