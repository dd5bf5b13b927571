"""The attackers of the demo by rule `evidence`, a program of its own:

    python -m services.trainer.rogues --home FOLDER --play label-flip=0x… --play stale-copy=0x… --play mimic=0x…

plays each of these strategies of the attack lab (`services.trainer.simulation.lab.attacks`) with one account of a running suite: with what
its contributor has at home, and with what everybody sees on the chain. A line on standard input is a round to take part in; it is answered
by one JSON document an attacker (`attack`, `account`, and the `transaction`, `gas` and `bytes` of its update, or the `reason` for which it
was refused), and `{}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, Final

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from numpy.typing import NDArray

from linklearner import log, process
from linklearner.chain.history import History
from linklearner.client.gateway import GatewayClient
from linklearner.domain import events
from linklearner.domain.encodings import INT8
from linklearner.domain.errors import InvalidInput, Refused
from linklearner.domain.notation import address
from linklearner.domain.quantise import quantise_delta
from linklearner.domain.rules.evidence.batches import decode_batch
from linklearner.domain.rules.evidence.perceptron import Perceptron, quantised
from linklearner.domain.rules.evidence.verdicts import Examples, steps_of
from linklearner.domain.tasks import Task
from linklearner.domain.update import Update
from linklearner.rpc.access import Credential
from linklearner.suite import Suite
from services.trainer import data
from services.trainer.simulation.lab.attacks import ATTACKS, Attack, Scene
from services.trainer.simulation.lab.learning import Recipe, log_shares, trained
from services.trainer.simulation.lab.tasks import EXPONENT, INPUT_EXPONENT, LabTask

LOCAL_STEPS: Final = 30
SEED: Final = 14


class Rogues:
    """All attackers of one suite. plays: strategies and who plays them, 20 bytes each."""

    def __init__(
        self, suite: Suite, gateway: GatewayClient, plays: Sequence[tuple[Attack, bytes]], shard_seed: int
    ) -> None:
        self._suite = suite
        self._shard_seed = shard_seed
        self._gateway = gateway
        self._plays = plays
        self._sent: dict[bytes, NDArray[np.float64]] = {}
        self._base: list[NDArray[np.int16]] = []
        """Of every round so far: what its merge moved is the next one's less it."""

    async def take_part(self) -> AsyncIterator[dict[str, Any]]:
        """One update of each attacker in the open round."""
        task = await self._gateway.task(self._suite.task)
        _, weights = await self._gateway.weights(task)
        opened = self._opened(task, await self._gateway.examples(task))
        self._base.append(weights)
        revealed, gained = await self._revealed(task)
        for attack, account in self._plays:
            generator = np.random.default_rng([SEED, task.round.round, int.from_bytes(account[:4], "big")])
            scene = self._scene(task, weights, opened, revealed, gained, attack, account, generator)
            steps = attack.craft(scene)
            self._sent[account] = steps
            update = quantise_delta(np.ldexp(steps[0], -EXPONENT), task.shape, task.task, task.version, INT8).update
            told: dict[str, Any] = {"attack": attack.name, "text": attack.text, "account": "0x" + account.hex()}
            data_, digest = update.encode(task.shape), update.digest(task.shape)
            try:
                submitted = await self._gateway.submit("rogue-" + secrets.token_hex(8), account, data_, digest)
            except Refused as refused:
                yield told | {"reason": refused.reason, "message": refused.message}
            else:
                yield told | {
                    "transaction": "0x" + submitted.mined.transaction.hex(),
                    "gas": submitted.mined.gas_used,
                    "bytes": len(data_),
                }

    def _opened(self, task: Task, batches: Sequence[Any]) -> Examples:
        network = task.network
        found = Examples(np.zeros((0, network.widths[0]), dtype=np.int16), np.zeros(0, dtype=np.int64))
        for batch in batches:
            found = found.joined(decode_batch(batch.examples, network))
        return found

    async def _revealed(self, task: Task) -> tuple[dict[int, dict[bytes, NDArray[np.int64]]], dict[bytes, int]]:
        """By round and account the updates of past rounds, and what each account has gained: from the chain's history, as anybody can."""
        rounds: dict[int, dict[bytes, NDArray[np.int64]]] = {}
        gained: dict[bytes, int] = {}
        pool = address(self._suite.pool)
        async with History(self._suite.rpc_url, pool, self._suite.deployed_block) as history:
            async for event in history.events():
                if event.task != task.task:
                    continue
                match event:
                    case events.UpdateSubmitted() if event.round < task.round.round:
                        update = Update.decode(event.header + b"".join(event.groups), task.shape)
                        rounds.setdefault(event.round, {})[event.contributor] = steps_of(update, task.shape)
                    case events.UpdateJudged():
                        gained[event.contributor] = gained.get(event.contributor, 0) + max(0, event.gain)
        return rounds, gained

    def _scene(
        self,
        task: Task,
        weights: NDArray[np.int16],
        opened: Examples,
        revealed: dict[int, dict[bytes, NDArray[np.int64]]],
        gained: dict[bytes, int],
        attack: Attack,
        account: bytes,
        generator: np.random.Generator,
    ) -> Scene:
        shard = self._shard(task, account)
        lab = LabTask("demo", task.network, shard, shard, 0, LOCAL_STEPS, side=8)
        last = lab.label_count - 1
        own = Examples(shard.inputs, last - shard.labels) if attack.mislabels else shard
        honest_training = trained(lab, weights, [own], Recipe(LOCAL_STEPS), generator, log_shares(lab, [own]))
        others = sorted({who for one in revealed.values() for who in one} - {one for _, one in self._plays})
        rows = {who: row for row, who in enumerate(others)}
        missing = np.zeros(weights.size, dtype=np.int64)
        past = (
            [np.stack([one.get(who, missing) for who in others]) for _, one in sorted(revealed.items())]
            if others
            else []
        )
        best = max(others, key=lambda who: gained.get(who, 0), default=b"")
        return Scene(
            task=lab,
            round=task.round.round - 1,
            rounds=task.examples.batches if task.examples else 1,
            weights=weights,
            opened=opened,
            shards=(shard,),
            trained=honest_training,
            usual_length=float(np.linalg.norm(honest_training)),
            revealed=past,
            honest=np.arange(len(others)),
            best=rows.get(best, 0),
            merges=[after.astype(np.int64) - before for before, after in zip(self._base, self._base[1:], strict=False)],
            sent=self._sent.get(account, np.zeros_like(honest_training)),
            generator=generator,
        )

    def _shard(self, task: Task, account: bytes) -> Examples:
        """What this account's contributor has at home."""
        accounts = [address(one) for one in self._suite.accounts]
        shard = data.Shard(accounts.index(account), len(accounts), 1.0, self._shard_seed)
        samples, _ = data.load("digits", shard)
        ((_, inputs),) = samples.inputs_of(task.spec).items()
        return Examples(quantised(Perceptron.of(task.spec).scaled(inputs), INPUT_EXPONENT), samples.y.astype(np.int64))


def _play(text: str) -> tuple[Attack, bytes]:
    name, _, account = text.partition("=")
    if name not in ATTACKS:
        raise InvalidInput(f"the attack must be one of {', '.join(ATTACKS)}, got {name!r:.40}")
    return ATTACKS[name], address(account)


async def main(options: argparse.Namespace) -> None:
    """Until standard input ends."""
    suite = Suite.read(options.home)
    operator = Credential.read(Path(suite.credential))
    async with GatewayClient.connect(suite.gateway, operator) as gateway:
        rogues = Rogues(suite, gateway, [_play(one) for one in options.play], options.seed)
        while (await asyncio.to_thread(sys.stdin.readline)).strip():
            async for told in rogues.take_part():
                print(json.dumps(told), flush=True)
            print("{}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="services.trainer.rogues", description=__doc__)
    parser.add_argument("--home", type=Path, required=True, help="home folder of a running suite")
    parser.add_argument("--play", action="append", required=True, help="STRATEGY=0x…, as often as there are attackers")
    parser.add_argument("--seed", type=int, default=0, help="of the cut of the samples")
    log.configure(service="rogues", level="warning")
    sys.exit(process.run("rogues", lambda: asyncio.run(main(parser.parse_args()))))
