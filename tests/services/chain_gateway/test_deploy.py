"""From nothing to version 1, however often it is interrupted."""

import asyncio
import json
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from web3 import AsyncWeb3

from devchain import Devchain
from linklearner.chain.contracts import CONTRACTS, POOL, TOKEN, VAULT
from linklearner.domain.classifier import classifier
from linklearner.domain.errors import InvalidConfig, Refused, RequestIdReused
from linklearner.domain.kinds.mlp import Mlp
from linklearner.domain.plan import TaskPlan, digits
from services.chain_gateway.chain import Chain
from services.chain_gateway.deploy import POT, DeploymentPlan, deploy
from services.chain_gateway.deployment import Deployment
from services.chain_gateway.keystore import Keystore
from services.chain_gateway.opening import loads
from tests.services.chain_gateway.conftest import HURRY, STRICT, keystore_of, small_task
from tests.services.chain_gateway.quirky_node import QuirkyNode

ROOT = Path(__file__).resolve().parents[3]


async def status(chain: Chain, deployment: Deployment) -> dict[str, int]:
    answer = await chain.call(deployment.pool, POOL.encode_call("taskOf", deployment.task))
    found: dict[str, int] = POOL.decode_result("taskOf", answer)["status"]
    return found


async def deploy_by_three(
    devchain: Devchain, chain: Chain, folder: Path, plan: DeploymentPlan, **more: Any
) -> Deployment:
    """The owner, one who locks his stake, and the task's creator: accounts 0, 1 and 2."""
    owner, contributor, creator = (keystore_of(devchain, place) for place in range(3))
    return await deploy(chain, owner, folder / "outbox", plan, creator=creator, contributors=contributor, **more)


async def test_a_finished_deployment_sends_nothing_more(tmp_path: Path, node: QuirkyNode, devchain: Devchain) -> None:
    plan = DeploymentPlan(task=small_task(), contributors=[devchain.accounts[1].address])
    async with Chain.connect(node.url, CONTRACTS) as chain:
        steps: list[tuple[str, int, int]] = []
        written = {"deployment_path": tmp_path / "deployment.json", "progress": lambda *step: steps.append(step)}
        first = await deploy_by_three(devchain, chain, tmp_path, plan, **written)
        sent = len(node.raw)
        assert steps[-1] == ("ready", sent, sent)
        assert (await status(chain, first))["eligible"] == 1000
        assert (await status(chain, first))["creator"] == devchain.accounts[2].address
        assert (await status(chain, first))["pot"] == POT
        again = await deploy_by_three(devchain, chain, tmp_path, plan)
        assert again == first == Deployment.load(tmp_path / "deployment.json")
        assert len(node.raw) == sent
        other = DeploymentPlan(task=digits(), contributors=plan.contributors)
        with pytest.raises(RequestIdReused):
            await deploy(chain, keystore_of(devchain, 0), tmp_path / "outbox", other)


async def test_an_interrupted_deployment_goes_on_where_it_was(tmp_path: Path, devchain: Devchain) -> None:
    """Cut off after every third transaction that the node has taken."""
    plan = DeploymentPlan(task=small_task(), contributors=[devchain.accounts[1].address])
    async with QuirkyNode.start(devchain.url) as node, Chain.connect(node.url, CONTRACTS) as chain:
        interruptions, deployment = 0, None
        while deployment is None:
            until = len(set(node.raw)) + 3
            running = asyncio.create_task(deploy_by_three(devchain, chain, tmp_path, plan, patience=HURRY))
            while not running.done() and len(set(node.raw)) < until:
                await asyncio.sleep(0.002)
            if running.done():
                deployment = running.result()
            else:
                interruptions += 1
                running.cancel()
                await asyncio.gather(running, return_exceptions=True)
        assert interruptions >= 2
        assert (await status(chain, deployment))["version"] == 1
        assert (await status(chain, deployment))["eligible"] == 1000
        account = devchain.accounts[1].address
        balance = TOKEN.decode_result(
            "balanceOf", await chain.call(deployment.token, TOKEN.encode_call("balanceOf", account))
        )
        assert balance["0"] == 0  # got its stake once, and locked it


async def test_on_hold_others_lock_before_the_weights_are_loaded(tmp_path: Path, devchain: Devchain) -> None:
    outsider = devchain.accounts[1].address
    plan = DeploymentPlan(task=small_task(), contributors=[outsider], load=False)
    async with Chain.connect(devchain.url, CONTRACTS) as chain:
        held = await deploy(chain, keystore_of(devchain, 0), tmp_path / "outbox", plan)
        assert (await status(chain, held))["version"] == 0
        lock = VAULT.encode_call("lock", held.task, 700)
        raw = keystore_of(devchain, 1).sign_transaction(
            outsider,
            {"chainId": chain.chain_id, "nonce": 0, "gas": 250_000, "gasPrice": 100, "value": 0, "data": lock,
             "to": AsyncWeb3.to_checksum_address(held.vault)},
        )  # fmt: skip
        await chain.send(raw)
        done = await deploy(
            chain,
            keystore_of(devchain, 0),
            tmp_path / "outbox",
            DeploymentPlan(task=small_task(), contributors=[outsider]),
        )
        assert done == held
        assert (await status(chain, done))["eligible"] == 700


async def test_an_owner_without_coin_is_told_so(tmp_path: Path, devchain: Devchain) -> None:
    key = tmp_path / "key"
    key.write_text("0x" + "11" * 32)
    async with Chain.connect(devchain.url, CONTRACTS) as chain:
        with pytest.raises(Refused) as refused:
            await deploy(chain, Keystore.of_key_file(key), tmp_path / "outbox", DeploymentPlan(task=small_task()))
        assert refused.value.reason == "InsufficientFunds"


async def test_the_command_deploys_and_says_where(tmp_path: Path) -> None:
    async with Devchain.start(config=STRICT) as devchain:
        (tmp_path / "key").write_text(devchain.accounts[0].key.hex())
        task = {"page_length": 1024, "terms": {"quorum_bps": 2500}}
        (tmp_path / "task.json").write_text(json.dumps(task))
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "services.chain_gateway", "deploy", "--rpc", devchain.url, "--key-file", tmp_path / "key",
            "--out", tmp_path / "deployment.json", "--task", tmp_path / "task.json",
            "--contributor", "0x" + "22" * 20, cwd=ROOT, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        output, errors = await asyncio.wait_for(process.communicate(), 120)
        assert process.returncode == 0, errors.decode()
        deployment = Deployment.load(tmp_path / "deployment.json")
        assert deployment.pool.hex() in output.decode()
        assert b"ready" in errors
        async with Chain.connect(devchain.url) as chain:
            assert (await status(chain, deployment))["version"] == 1
            assert await chain.balance(bytes.fromhex("22" * 20)) == 10**16


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"page_length": 3}', '{"terms": {"quorum": 3}}', '{"nonsense": 1}', '{"model": 7}']
)
def test_settings_of_a_task_that_cannot_be_read_are_refused(text: str) -> None:
    with pytest.raises(InvalidConfig):
        TaskPlan.from_json(text)


def test_weights_are_loaded_in_whole_pages_of_about_80_kb() -> None:
    model = classifier("big", Mlp((1000, 300, 10)), tuple("0123456789"))
    shape = TaskPlan(model=model, page_length=16384, terms=digits().terms).shape
    found = loads(shape)
    assert [place.start for _, place in found] == [first * 16384 for first, _ in found]
    assert all(a.stop == b.start for (_, a), (_, b) in pairwise(found))
    assert (found[0][1].start, found[-1][1].stop) == (0, shape.weight_count)
    assert max(2 * (place.stop - place.start) for _, place in found) == 2 * 2 * 16384
