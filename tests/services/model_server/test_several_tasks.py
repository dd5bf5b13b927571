"""One process serves several tasks: each at ports, with sessions and versions of its own."""

from contextlib import AsyncExitStack

import numpy as np
import pytest
from eth_account import Account

from linklearner.client.inference import InferenceClient
from linklearner.domain.errors import InvalidConfig, PermissionDenied, Unauthenticated
from linklearner.testing.gateway import CHAIN_ID, FakeGateway, FakeTask, terms_for, weights_of
from services.model_server.admission.stake import StakeSettings
from services.model_server.config import ModelServerConfig
from services.model_server.server import ModelServer

BLANK = np.zeros((1, 64), np.float32)
SEVERAL = ModelServerConfig(
    task="3,1",
    listen="127.0.0.1:6000",
    metrics_listen="[::1]:7000",
    admission=StakeSettings(domain="models.example:443"),
)


def test_each_task_has_ports_of_its_own_and_a_name_that_is_signed() -> None:
    third, first = SEVERAL.each()
    assert (third.tasks(), third.listen, third.metrics_listen) == ((3,), "127.0.0.1:6000", "[::1]:7000")
    assert (first.tasks(), first.listen, first.metrics_listen) == ((1,), "127.0.0.1:6001", "[::1]:7001")
    assert isinstance(first.admission, StakeSettings) and first.admission.domain == "models.example:444"
    free = ModelServerConfig(task="1,2", listen="127.0.0.1:0", metrics_listen="127.0.0.1:0").each()
    assert [one.listen for one in free] == ["127.0.0.1:0"] * 2
    assert ModelServerConfig(task="2").each() == (ModelServerConfig(task="2"),)


@pytest.mark.parametrize("tasks", ["", "0", "1,1", "1,", "one"])
def test_tasks_are_a_list_of_numbers(tasks: str) -> None:
    with pytest.raises(InvalidConfig, match="task must"):
        ModelServerConfig(task=tasks)


def test_ports_that_do_not_reach_are_told_so() -> None:
    with pytest.raises(InvalidConfig, match="2 tasks need as many ports"):
        ModelServerConfig(task="1,2", listen="127.0.0.1:65535")


async def test_stake_in_one_task_opens_no_other() -> None:
    fake = FakeGateway(seed=1, chain_id=CHAIN_ID)
    first = fake.first
    second = fake.tasks[2] = FakeTask(fake.chain, 2, first.creator, first.model, first.shape, terms_for(1))
    holder = Account.create()
    address = bytes.fromhex(holder.address[2:])
    second.stakes.lock(address, 5000, fake.chain.now_s())
    second.publish(weights_of(2))
    async with AsyncExitStack() as stack:
        gateway = await stack.enter_async_context(fake.served())
        config = ModelServerConfig(
            gateway=gateway, credential="", task="1,2", listen="127.0.0.1:0", metrics_listen="127.0.0.1:0"
        )
        servers = [await stack.enter_async_context(ModelServer.start(one)) for one in config.each()]
        for server in servers:
            await server.ready()
        one, two = (server.address for server in servers)
        with pytest.raises(PermissionDenied, match="in task 1"):
            async with InferenceClient(one, holder, chain_id=CHAIN_ID):
                pass
        async with InferenceClient(two, holder, chain_id=CHAIN_ID, task=2) as client:
            answer = await client.infer("digits", BLANK)
            assert answer.digest == second.version().digest
            token = client.token
            other = InferenceClient(one, None)
            async with other:
                other.token = token
                with pytest.raises(Unauthenticated):
                    await other.infer("digits", BLANK)
