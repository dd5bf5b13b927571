"""Kills a trainer with SIGKILL at random moments, and counts what it lost: `python -m bench.kill_nine --kills 100`.

A real process trains, submits and trains again against a gateway in this one, is killed at a moment that follows from a seed, and is
started again with the same state folder. After all kills:

    lost        local steps that were finished when it was killed and are made again, of each kill in the middle of a training
    twice       rounds that have two updates of the account, which must be none
    different   updates that are not, to the byte, what trainings without any kill would have given, which must be none

The processes are forked from one that has imported torch: ten kills take ten seconds and not a minute. Steps are counted by the process
itself in memory that outlives it.
"""

import argparse
import asyncio
import json
import multiprocessing
import random
import sys
import tempfile
from collections.abc import Callable, MutableSequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from linklearner import log
from linklearner.domain.encodings import TWO_BITS
from linklearner.domain.fixedpoint import dequantise_weights
from linklearner.domain.quantise import quantise_delta
from linklearner.testing.gateway import FakeGateway
from services.trainer.config import TrainerConfig

STEPS = 400
LATEST_S = 1.5
"""After a process has started; by then it has contributed to a round or two."""
PRELOADED = ["services.trainer.servicer", "services.trainer.contributor", "services.trainer.trainer"]
BEGUN, RESUMED, STARTED = 0, 2, 4
"""Where in the memory that processes share (base version, step) stand: of the step begun last, and of where a process's first training
took up; and whether a process has started."""


@dataclass
class Found:
    """Of all kills."""

    kills: int = 0
    in_training: int = 0
    lost: list[int] = field(default_factory=list)
    rounds: int = 0
    twice: int = 0
    different: int = 0


def trainer(settings: dict[str, Any], share: float | None, seen: MutableSequence[int]) -> None:
    """What a process runs until it is killed. share: of a training's time that may go into checkpoints; None: as it is."""
    from services.trainer import checkpoint, training
    from services.trainer.trainer import Trainer

    if share is not None:
        checkpoint.SHARE = share  # type: ignore[misc]
    really = training.train
    began = False

    def train(*arguments: Any, between: Callable[[Any], None], **hooks: Any) -> Any:
        version = arguments[4][1]

        def watched(running: Any) -> None:
            nonlocal began
            if not began:
                seen[RESUMED : RESUMED + 2] = [version, running.step]
                began = True
            between(running)
            seen[BEGUN : BEGUN + 2] = [version, running.step + 1]

        return really(*arguments, between=watched, **hooks)

    training.train = train

    async def serve() -> None:
        async with Trainer.start(TrainerConfig(**settings)) as one:
            seen[STARTED] = 1
            await one.wait()

    log.configure(service="trainer", level="error")
    asyncio.run(serve())


async def measure(kills: int, seed: int, folder: Path, share: float | None = None) -> Found:
    """folder: for what the trainer keeps."""
    chance, found = random.Random(seed), Found()
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    seen = context.Array("q", 5, lock=False)
    chain = FakeGateway(seed=1)
    async with chain.served() as gateway:
        settings = {
            "listen": "127.0.0.1:0",
            "gateway": gateway,
            "credential": "",
            "access": folder / "access",
            "shard": "0/5",
            "steps": STEPS,
            "rounds": -1,
            "state_dir": folder / "trainer",
            "log_level": "error",
        }
        for kill in range(kills + 1):
            before = tuple(seen[BEGUN : BEGUN + 2])
            seen[RESUMED : STARTED + 1] = [0, 0, 0]
            process = context.Process(target=trainer, args=(settings, share, seen), daemon=True)
            process.start()
            try:
                if kill < kills:
                    await _until(lambda: seen[STARTED] == 1)
                    await asyncio.sleep(chance.uniform(0, LATEST_S))
                else:  # the last one is left alone until it has contributed once more
                    await _until(lambda submitted=chain.submissions: chain.submissions > submitted)
                assert process.is_alive(), f"the trainer ended by itself: {process.exitcode}"
            finally:
                process.kill()
                await asyncio.to_thread(process.join)
            found.kills += kill < kills
            version, step = seen[RESUMED : RESUMED + 2]
            if kill and version and version == before[0]:
                found.in_training += 1
                # killed between the two, a state is on disk whose next step is not said to have begun
                found.lost.append(max(before[1] - 1 - step, 0))
    _compare(chain, settings, found)
    return found


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.005)


def _compare(chain: FakeGateway, settings: dict[str, Any], found: Found) -> None:
    """Makes every update again, without kills."""
    from services.trainer import data, training

    config = TrainerConfig(**settings)
    training.bound_threads(config.threads)  # sums in another order are other numbers
    samples, _ = data.load(config.data, config.shard_of_data())
    spec = chain.first.described().spec
    carried = np.zeros(spec.weight_count)
    for number, one in enumerate(chain.rounds, start=1):
        updates = chain.updates(number)
        found.rounds += bool(updates)
        found.twice += len(updates) > 1
        for update in updates:
            base = dequantise_weights(chain.weights[one.base_version - 1], chain.shape)
            delta = training.train(
                spec, base, samples, config.recipe(), (config.seed, one.base_version), lambda step, loss: None
            )
            wanted = quantise_delta(delta + carried, chain.shape, 1, one.base_version, TWO_BITS)
            found.different += wanted.update.digest(chain.shape) != update.digest(chain.shape)
            carried = wanted.residual


def main() -> int:
    parser = argparse.ArgumentParser(prog="bench.kill_nine", description=__doc__.partition("\n")[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    options = parser.parse_args()
    log.configure(service="gateway", level="error")
    with tempfile.TemporaryDirectory() as folder:
        found = asyncio.run(measure(options.kills, options.seed, Path(folder)))
    lost = sorted(found.lost)
    print(
        json.dumps(
            {
                "kills": found.kills,
                "in_training": found.in_training,
                "steps_lost_median": lost[len(lost) // 2] if lost else None,
                "steps_lost_most": lost[-1] if lost else None,
                "steps_of_a_training": STEPS,
                "rounds": found.rounds,
                "twice": found.twice,
                "different": found.different,
            },
            indent=2,
        )
    )
    return 1 if found.twice or found.different else 0


if __name__ == "__main__":
    sys.exit(main())
