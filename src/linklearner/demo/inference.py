"""The third act: held-out digits through the gate. A holder of $LL is served, a stranger and a caller without a session are not."""

from pathlib import Path

import numpy as np
from eth_account import Account
from rich.markup import escape

from linklearner.client.gateway import GatewayClient
from linklearner.client.inference import InferenceClient
from linklearner.demo.screen import Screen, first_clause
from linklearner.domain.errors import DataLoss, PermissionDenied, Unauthenticated
from linklearner.keyfile import read_account, read_password
from linklearner.rpc.access import Credential
from linklearner.suite import Suite

MODEL_TIMEOUT_S = 60.0


async def ask_the_server(suite: Suite, folder: Path, screen: Screen) -> None:
    """Held-out digits through the gate: a holder is served, a stranger and a nobody are not."""
    samples = np.load(folder / "held-out.npz")
    pixels, labels = samples["x"][:10].astype(np.float32), samples["y"][:10]
    key_file = Path(suite.keys) / f"{suite.accounts[0].removeprefix('0x').lower()}.json"
    holder = read_account(key_file, read_password(Path(suite.password_file)))
    await _followed(suite)
    async with InferenceClient(suite.model_server, holder, chain_id=suite.chain_id, task=suite.task) as client:
        answer = await client.infer("digits", pixels)
    if answer.labels is None:
        raise DataLoss("the server answered without labels", reason="NoLabels")
    right = int((answer.labels == labels).sum())
    turned_away = []
    for who, account in (("a stranger with nothing locked", Account.create()), ("a caller without a session", None)):
        try:
            async with InferenceClient(suite.model_server, account, chain_id=suite.chain_id) as client:
                await client.infer("digits", pixels)
        except (PermissionDenied, Unauthenticated) as error:
            turned_away.append((who, error))
        else:
            raise DataLoss(f"{who} was served", reason="GateOpen")
    screen.event(
        "inference", model_version=answer.version, digest="0x" + answer.digest.hex(), labels=answer.labels.tolist(), truth=labels.tolist(),
        turned_away=[{"who": who, "reason": error.reason, "message": error.message} for who, error in turned_away],
    )  # fmt: skip
    screen.say(
        f"\n[bold]Inference[/bold]  alice holds $LL, opens a session and asks for {len(labels)} digits: {right} right, answered by version "
        f"{answer.version}, digest 0x{answer.digest.hex()[:12]}…"
    )
    for who, refusal in turned_away:
        screen.say(f"           {who}: [red]{refusal.reason}[/red] {escape(first_clause(refusal.message))}")


async def _followed(suite: Suite) -> None:
    """Waits until the model server serves the chain's newest version. Raises TimedOut if it does not get there."""
    operator = Credential.read(Path(suite.credential))
    async with GatewayClient.connect(suite.gateway, operator) as gateway:
        newest = (await gateway.task(suite.task)).version
    async with InferenceClient(suite.model_server, None) as anyone:
        await anyone.served("digits", newest, within_s=MODEL_TIMEOUT_S)
