"""A whole trainer as one value; several of them in one process share one import of torch.

async with Trainer.start(Config(gateway="127.0.0.1:50051", shard="0/5", listen="127.0.0.1:0", state_dir=folder)) as trainer:
    await trainer.ready()
    print(trainer.address)
"""

import asyncio
import importlib
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self

import structlog

from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import InvalidConfig, InvalidInput, LinkLearnerError
from linklearner.rpc.access import Access, CallerEntrance, Credential, Role, entrances
from linklearner.rpc.server import RpcServer
from linklearner.v1 import trainer_pb2_grpc
from services.trainer import data
from services.trainer.config import ENDLESS, TrainerConfig
from services.trainer.journal import Journal
from services.trainer.last_update import LastUpdate
from services.trainer.ledger import PrivacyLedger
from services.trainer.machine import Machine
from services.trainer.privacy import NoPrivacy, Privacy, check_delta
from services.trainer.turns import Turns

if TYPE_CHECKING:
    from services.trainer.contributor import Contributor

ASK_AGAIN_S, LONGEST_ASK_AGAIN_S = 1.0, 15.0
"""First and longest pause between two questions to a gateway that is there and does not say where it is; each is twice the last."""
CONNECT_S = 3.0
"""Longer than the longest pause before a channel connects anew, so that a gateway that is back is found."""
REMEDY = "start one there (python -m services.chain_gateway) or set LINKLEARNER_TRAINER_GATEWAY to where it listens, then call again"
QUIET = ("/linklearner.v1.TrainerService/GetTrainer",)

log = structlog.get_logger()


class Trainer:
    """Listens from the first moment; health says NOT_SERVING while the gateway does not answer."""

    def __init__(self, address: str) -> None:
        self.address = address
        """host:port of the gRPC server."""
        self._first = asyncio.Event()
        self._work: list[asyncio.Task[None]] = []

    async def ready(self) -> None:
        """Until the gateway has answered and holds the account. Raises what made that impossible (InvalidConfig)."""
        first = asyncio.create_task(self._first.wait())
        await asyncio.wait((first, *self._work), return_when=asyncio.FIRST_COMPLETED)
        if not first.done():
            first.cancel()
            self._raise()
            await self._first.wait()

    async def wait(self) -> None:
        """For as long as the trainer works. Raises what broke it, if anything does."""
        await asyncio.wait(self._work, return_when=asyncio.FIRST_EXCEPTION)
        self._raise()

    def _raise(self) -> None:
        for task in self._work:
            if task.done():
                task.result()

    @classmethod
    @asynccontextmanager
    async def start(cls, config: TrainerConfig) -> AsyncIterator[Self]:
        """A listening trainer; an absent gateway is waited for.

        Raises InvalidConfig for data that cannot be read, is too little or tells nothing, a state folder in use, or a port in use.
        """
        samples, held_out = await asyncio.to_thread(data.load, config.data, config.shard_of_data())
        _check_enough(samples, config)
        access = Access.open(config.access)
        credential = Credential.read(Path(config.credential)) if config.credential else None
        machine = Machine(config.conditions())
        await asyncio.to_thread(_import_torch, config.threads)
        from services.trainer.contributor import Contributor
        from services.trainer.examiner import Examiner
        from services.trainer.servicer import ROLES, SERVICE, TrainerServicer

        async with AsyncExitStack() as stack:
            journal = stack.enter_context(Journal.open(config.state_dir))
            # behind the journal, which keeps other trainers out of the folder
            privacy = None
            if not isinstance(config.dp, NoPrivacy):
                ledger = await asyncio.to_thread(PrivacyLedger.open, config.state_dir)
                privacy = Privacy(config.dp, ledger, len(samples))
                if len(config.tasks()) > 1:
                    log.warning(
                        "privacy_budgets_add_up",
                        tasks=len(config.tasks()),
                        detail="each task has a budget of its own: who follows all of them learns as much of a sample as the sum allows",
                    )
            gateway = await stack.enter_async_context(
                GatewayClient.connect(config.gateway, credential, connect_s=CONNECT_S, remedy=REMEDY)
            )
            turns = Turns()
            contributors = [
                Contributor(
                    gateway,
                    journal,
                    samples,
                    task=task,
                    account=config.account_bytes(),
                    recipe=config.recipe(),
                    encoding=config.update_encoding(),
                    seed=config.seed,
                    allow_range=config.allow_range,
                    only_paid=config.only_paid,
                    frozen_folder=config.frozen,
                    state_dir=config.state_dir,
                    machine=machine,
                    turns=turns,
                    by_pay=config.turns == "by-pay",
                    privacy=privacy,
                    last_update=LastUpdate(config.state_dir, task),
                    held_out=held_out,
                )
                for task in config.tasks()
            ]
            for one in contributors:
                stack.callback(one.close)
            contributor, first = contributors[0], config.tasks()[0]
            examiner = Examiner(gateway, first, held_out, config.frozen)
            servicer = TrainerServicer(
                contributors, examiner, first, samples, held_out, LastUpdate(config.state_dir, first)
            )
            server = await stack.enter_async_context(
                RpcServer(
                    config.listen,
                    lambda grpc_server: trainer_pb2_grpc.add_TrainerServiceServicer_to_server(servicer, grpc_server),
                    (SERVICE,),
                    quiet=QUIET,
                    entrances=entrances(access, ROLES),
                    entrance=CallerEntrance(access, Role.SPEND),
                )
            )
            await server.set_ready(False)
            trainer = cls(server.address)
            trainer._work.append(asyncio.create_task(trainer._keep_health(gateway, contributor, server)))
            if config.rounds:
                rounds = None if config.rounds == ENDLESS else config.rounds
                trainer._work += [asyncio.create_task(one.follow(rounds)) for one in contributors]
            try:
                yield trainer
            finally:
                for task in trainer._work:
                    task.cancel()
                await asyncio.gather(*trainer._work, return_exceptions=True)

    async def _keep_health(self, gateway: GatewayClient, contributor: "Contributor", server: RpcServer) -> None:
        """Keeps health up to date: SERVING while the gateway is connected, from its first answer on.

        Ends, and so the process, only if that gateway does not hold the account: nothing but another setting helps.
        """
        pause = ASK_AGAIN_S
        async for connected in gateway.connection():
            while connected and not self._first.is_set():
                try:
                    identity = await contributor.identity()
                except InvalidConfig:
                    raise
                except LinkLearnerError as error:
                    log.info("gateway_waited_for", reason=error.reason, detail=error.message, retry_s=pause)
                    await asyncio.sleep(pause)
                    pause = min(2 * pause, LONGEST_ASK_AGAIN_S)
                else:
                    log.info("trainer_ready", account="0x" + identity.account.hex(), address=self.address)
                    self._first.set()
            await server.set_ready(connected)


def check(config: TrainerConfig) -> None:
    """Raises InvalidConfig for what `Trainer.start` would refuse before it listens: data that cannot be read, is too little or tells
    nothing, a condition that cannot be observed here, a privacy that promises nothing."""
    Machine(config.conditions())
    samples, _ = data.load(config.data, config.shard_of_data())
    _check_enough(samples, config)
    if not isinstance(config.dp, NoPrivacy):
        check_delta(config.dp, len(samples))


def _check_enough(samples: data.Samples, config: TrainerConfig) -> None:
    """Raises InvalidConfig for samples that one update would give away, or from which there is nothing to learn."""
    if len(samples) < config.min_samples:
        part = "" if config.shard_of_data().count == 1 else f" in part {config.shard} of the data"
        remedies = ["give more data (LINKLEARNER_TRAINER_DATA)"]
        if part:
            remedies.append("cut it into fewer parts (LINKLEARNER_TRAINER_SHARD=INDEX/COUNT, the same COUNT for all)")
            if config.alpha != "iid":
                remedies.append("or more evenly (LINKLEARNER_TRAINER_ALPHA=iid)")
        raise InvalidConfig(
            f"{len(samples)} samples{part} are too few to hide in one update: the trainer takes {config.min_samples} or more; "
            f"{', '.join(remedies)}. LINKLEARNER_TRAINER_MIN_SAMPLES lowers the bound, and with it what protects them",
            reason="TooFewSamples",
            facts={"samples": len(samples), "min_samples": config.min_samples, "shard": config.shard},
        )
    try:
        samples.check_learnable()
    except InvalidInput as error:
        raise InvalidConfig(error.message, reason=error.reason) from error


def _import_torch(threads: int) -> None:
    """Seconds of work at the first call of a process, hence not at the top of this file, and hence in a thread."""
    importlib.import_module("services.trainer.servicer")
    from services.trainer.training import bound_threads

    bound_threads(threads)
