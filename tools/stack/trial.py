"""What must hold of a stack, tried on one of its own: the demo, kill -9 in the middle of a round, no secret said aloud, one request id from
trainer to model server, and a second `up` that goes on where the first one ended; then the profile `artela` on a node of this machine.
"""

import asyncio
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linklearner.rpc.access import Credential
from tools.stack.contributors import LIMIT, written_out
from tools.stack.demo import ROUND_S, TASK, contributor_account, gateway_of, play, report
from tools.stack.engine import NoEngine, Say, Stack, engine, host_gateway
from tools.stack.newcomer import Newcomer
from tools.stack.settings import ROOT, StackSettings, Trouble

IMAGE_BYTES = 250_000_000
"""Of an image without torch."""
KILLED = ("gateway-2", "devchain", "model_server")
BACK_S = 90.0


def trial(say: Say) -> int:
    """Exit status: 0 if everything held, or if there is no engine to try it on, which one line says."""
    started = time.monotonic()
    passed: list[str] = []

    def held(promise: str) -> None:
        passed.append(promise)
        say(f"[{time.monotonic() - started:5.0f} s] held: {promise}")

    try:
        with engine(say, keep=not os.environ.get("CI")), tempfile.TemporaryDirectory(prefix="stack-") as folder:
            with _stack(Path(folder) / "devchain", say, CONTRIBUTORS="3", ROUNDS="5") as stack:
                _devchain(stack, say, held)
            with _node() as (url, key_file):
                artela = {"COMPOSE_PROFILES": "artela", "RPC_URL": url, "KEY_FILE": str(key_file)}
                with _stack(Path(folder) / "artela", say, CONTRIBUTORS="1", ROUNDS="1", **artela) as stack:
                    stack.prepare()
                    stack.build()
                    play(stack, say)
                    for service in ("devchain", "gateway-page"):
                        if any(one.service == service for one in stack.containers()):
                            raise Trouble(f"the profile artela has started {service}")
                    with Newcomer(f"http://127.0.0.1:{stack.settings.page_port}") as newcomer:
                        newcomer.arrives()
                        newcomer.is_refused()
                        newcomer.has_no_faucet()
                    held("the profile artela trains, serves and audits on a node that is already there")
    except NoEngine as none:
        say(f"the stack test did not run: {none}".replace("\n", " "))
        return 0
    except Trouble as trouble:
        say(f"the stack test failed: {trouble}")
        say(f"{len(passed)} passed, 1 failed")
        return 1
    say(f"{len(passed)} passed, 0 failed")
    return 0


@contextmanager
def _stack(home: Path, say: Say, **environment: str) -> Iterator[Stack]:
    """A stack of its own, with everything it leaves behind taken away at the end."""
    ports = _free_ports(16)
    given = {
        **os.environ,
        **environment,
        "COMPOSE_PROJECT_NAME": "linklearner-trial-" + secrets.token_hex(3),
        "STACK_HOME": str(home),
        "RPC_PORT": str(ports[0]),
        "MODEL_SERVER_PORT": str(ports[1]),
        "METRICS_PORT": str(ports[2]),
        "GATEWAY_PORT": str(ports[3]),
        "PAGE_PORT": str(ports[15]),
    }
    stack = Stack(StackSettings.read(given), say)
    try:
        yield stack
    except Trouble:
        for one in stack.containers():
            say(
                f"--- the last words of {one.service} ({one.words})\n"
                + "\n".join(stack.logs(one.service).splitlines()[-15:])
            )
        raise
    finally:
        stack.down(wipe=True)


def _free_ports(count: int) -> list[int]:
    """A row of ports that nobody uses now."""
    for first in range(20000 + secrets.randbelow(8000), 32000, count):
        row = range(first, first + count)
        with ExitStack() as sockets:
            try:
                for port in row:
                    sockets.enter_context(socket.socket()).bind(("127.0.0.1", port))
            except OSError:
                continue
        return list(row)
    raise Trouble("no row of free ports")


# --- with a devchain -------------------------------------------------------------------------------------------------------------


@dataclass
class Recording:
    """Everything that the services of a stack have said; containers that are replaced take their logs with them."""

    stack: Stack
    said: dict[str, str]

    def take(self) -> None:
        """Adds what the present containers have said to what earlier ones had."""
        for one in self.stack.containers():
            self.said[one.id] = f"{one.service}\n" + self.stack.logs(one.service)

    @property
    def text(self) -> str:
        return "\n".join(self.said.values())

    def lines(self, service: str) -> list[dict[str, Any]]:
        """The structured lines of a service."""
        found = []
        for said in self.said.values():
            name, _, text = said.partition("\n")
            if name == service or name.startswith(service + "-"):
                found += [json.loads(line) for line in text.splitlines() if line.startswith("{")]
        return found


def _devchain(stack: Stack, say: Say, held: Say) -> None:
    stack.prepare()
    _compose_is_clean(stack, held)
    _port_in_use(stack, held)
    stack.build()
    _image_sizes(stack, held)
    recording = Recording(stack, {})
    spent: list[str] = []

    played = play(stack, say)
    spent += played.spent
    recording.take()
    held(f"five rounds in containers, a gated inference and an audit from the host (version {played.last_version})")
    _containers_are_confined(stack, held)
    spent.append(_a_newcomer_of_the_page(stack, held))
    _one_request_id(recording, held)

    before = _killed_in_a_round(stack, say, held)
    recording.take()
    report(stack, say)

    stack.compose("down")
    _lost_password(stack, held)
    again = Stack(replace(stack.settings, rounds=1), say)
    again.prepare()
    played = play(again, say)
    spent += played.spent
    recording.take()
    after = asyncio.run(_books(stack))
    if after["chain"] != before["chain"] or after["rounds"][: len(before["rounds"])] != before["rounds"]:
        raise Trouble("the chain after `down` and `up` is another one")
    held(
        f"after `down`, `up` goes on: the same chain, pool and task, from version {before['version']} to {after['version']}"
    )
    _no_secret(stack, recording, spent, held)


def _compose_is_clean(stack: Stack, held: Say) -> None:
    """As an ordinary `docker compose` reads it, and as it is written out for one and for the most contributors."""
    environment = {name: value for name, value in os.environ.items() if name not in ("CONTRIBUTORS", "ROUNDS")}
    spelled_out = ROOT / "docker-compose.yml"
    for contributors in (3, 1, LIMIT):
        file = stack.settings.home / f"for-{contributors}.yml"
        file.write_text(written_out(spelled_out.read_text(), contributors))
        for profile in ("devchain", "artela"):
            command = ["docker", "compose", "--project-directory", str(ROOT), "-f", str(file), "--profile", profile]
            done = subprocess.run(
                [*command, "config", "--quiet"], capture_output=True, text=True, env=environment, check=False
            )
            if done.returncode or done.stdout or done.stderr:
                raise Trouble(
                    f"docker compose config ({profile}, {contributors}) is not clean: {done.stdout}{done.stderr}"
                )
    held("docker compose config is clean: both profiles, for 1, 3 and 20 contributors")


def _port_in_use(stack: Stack, held: Say) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", stack.settings.rpc_port))
        other.listen()
        try:
            stack.prepare()
        except Trouble as trouble:
            if "RPC_PORT" not in str(trouble):
                raise
        else:
            raise Trouble("a port in use was not noticed")
    held("a port in use is named before anything starts")


def _lost_password(stack: Stack, held: Say) -> None:
    password = stack.settings.home / "secrets" / "contributor-1"
    aside = password.rename(password.with_name("aside"))
    try:
        stack.prepare()
    except Trouble as trouble:
        if "their passwords are not in" not in str(trouble):
            raise
    else:
        raise Trouble("a password that is lost was replaced by one that opens nothing")
    finally:
        aside.rename(password)
    held("a password that is lost is named, not replaced")


def _image_sizes(stack: Stack, held: Say) -> None:
    tag = stack.settings.variables.get("STACK_TAG", "local")
    sizes = {}
    for name in ("devchain", "chain_gateway", "model_server", "page"):
        image = f"linklearner/{name}:{tag}"
        sizes[name] = int(stack.docker("image", "inspect", "--format", "{{.Size}}", image))
        if sizes[name] > IMAGE_BYTES:
            raise Trouble(f"the image {name} has {sizes[name] / 1e6:.0f} MB, more than {IMAGE_BYTES / 1e6:.0f}")
    held("images without torch are small: " + ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in sizes.items()))


def _containers_are_confined(stack: Stack, held: Say) -> None:
    for one in stack.containers():
        described = stack.inspect(one.service)
        host = described["HostConfig"]
        faults = {
            "runs as root": described["Config"]["User"].split(":")[0] in ("", "0", "root"),
            "may write its root file system": not host["ReadonlyRootfs"],
            "keeps capabilities": host["CapDrop"] != ["ALL"],
            "may gain privileges": "no-new-privileges:true" not in host["SecurityOpt"],
            "has no init": not host["Init"],
            "has no bound on its memory": not host["Memory"],
            "has no health check": "deploy" not in one.service and "Health" not in described["State"],
            "publishes to the world": any(
                binding["HostIp"] != "127.0.0.1"
                for bindings in (host["PortBindings"] or {}).values()
                for binding in bindings
            ),
        }
        for fault, present in faults.items():
            if present:
                raise Trouble(f"{one.service} {fault}")
    out = "import socket; socket.create_connection(('{}', {}), 3)"
    for service, host, port, reachable in (
        ("trainer-1", "gateway.home", 9000, True),
        ("trainer-1", "devchain", 8545, False),
        ("trainer-1", "gateway-2", 9000, False),
        ("model_server", "devchain", 8545, False),
        ("gateway-1", "devchain.chain", 8545, True),
        ("page", "gateway-page.control", 9000, True),
        ("gateway-page", "gateway.home", 9000, False),
    ):
        try:
            stack.run_in(service, "python", "-c", out.format(host, port))
            reached = True
        except Trouble:
            reached = False
        if reached != reachable:
            raise Trouble(f"{service} {'reaches' if reached else 'does not reach'} {host}:{port}")
    held(
        "containers are confined: no root, no capability, bounded memory; a trainer reaches its gateway and nothing else"
    )
    for service, host, secret, answer in (
        ("model_server", "gateway-1.control", "credential", "PermissionDenied"),
        ("trainer-1", "gateway.home", "credential", "PermissionDenied"),
        ("page", "gateway-page.control", "credential", "PermissionDenied"),
        ("page", "gateway-page.control", "faucet", "PermissionDenied"),  # from an account that is not the faucet's
        ("page", "gateway-1.control", "faucet", "Unauthenticated"),
    ):
        said = stack.run_in(service, "python", "-c", _TRANSFER.format(f"{host}:9000", secret)).strip()
        if said != answer:
            raise Trouble(f"{service} asks {host} for a transfer by its {secret} and is answered {said}")
    held("neither the model server nor a trainer may move a gateway's money, the page that of its faucet alone")


def _a_newcomer_of_the_page(stack: Stack, held: Say) -> str:
    """Returns the token of its session."""
    with Newcomer(f"http://127.0.0.1:{stack.settings.page_port}") as newcomer:
        newcomer.arrives()
        newcomer.is_given_money()
        newcomer.locks_stake(TASK)
        token = newcomer.signs_in()
        newcomer.is_refused()
    held(
        "the page is served with its faucet: a newcomer is given money once, locks stake and signs in; strangers are refused"
    )
    return token


_TRANSFER = """
import asyncio, pathlib
from linklearner.client.gateway import GatewayClient
from linklearner.domain.errors import LinkLearnerError
from linklearner.rpc.access import Credential

async def transfer():
    credential = Credential.read(pathlib.Path("/run/secrets/{1}"))
    async with GatewayClient.connect("{0}", credential) as gateway:
        await gateway.transfer_coin("x", bytes(20), bytes(20), 1)

try:
    asyncio.run(transfer())
    print("OK")
except LinkLearnerError as error:
    print(type(error).__name__)
"""


def _one_request_id(recording: Recording, held: Say) -> None:
    """From the trainer's line through the gateway's transaction and its block to the model server's swap."""
    live = [line for line in recording.lines("model_server") if line["event"] == "version_live" and line["round"]]
    if not live:
        raise Trouble("the model server names no version")
    request = live[-1]["request"]

    def of(service: str, event: str) -> list[dict[str, Any]]:
        return [one for one in recording.lines(service) if one["event"] == event and one.get("request") == request]

    accepted = of("trainer", "update_accepted")
    mined = {one["transaction"].removeprefix("0x"): one["block"] for one in of("gateway", "transaction_mined")}
    settled = of("gateway", "round_settled")
    if len(accepted) != 3 or not settled:
        raise Trouble(f"request {request}: {len(accepted)} trainers and {len(settled)} settlers report it")
    for one in accepted:
        if one["transaction"].removeprefix("0x") not in mined:
            raise Trouble(f"request {request}: no gateway names the block of {one['transaction']}")
    if settled[0]["version"] != live[-1]["version"] or live[-1]["block"] not in mined.values():
        raise Trouble(f"request {request}: the model server's version is not the one that was settled")
    blocks = ", ".join(str(block) for block in sorted(mined.values()))
    held(f"one request id, {request}, leads from three trainers through blocks {blocks} to the model server")


def _killed_in_a_round(stack: Stack, say: Say, held: Say) -> dict[str, Any]:
    """kill -9, by process id of this machine, so that it is the restart policy that brings them back. Returns the books at the end."""
    before = asyncio.run(_books(stack))
    trainers = [f"trainer-{index}" for index in (1, 2, 3)]
    Stack(replace(stack.settings, rounds=-1), say).up(*trainers, recreate=True)
    stack.docker("pause", stack.container("trainer-3").id)  # so that the round cannot end before the blow
    number = asyncio.run(_accepted(stack, 2))
    restarts = {service: stack.inspect(service)["RestartCount"] for service in KILLED}
    for service in KILLED:
        os.kill(stack.inspect(service)["State"]["Pid"], signal.SIGKILL)
    say(f"  killed in the middle of round {number}, two updates of three accepted: {', '.join(KILLED)}")
    stack.docker("unpause", stack.container("trainer-3").id)
    began = time.monotonic()
    while True:
        states = {service: stack.inspect(service) for service in KILLED}
        if all(
            state["RestartCount"] > restarts[service] and state["State"].get("Health", {}).get("Status") == "healthy"
            for service, state in states.items()
        ):
            break
        if time.monotonic() - began > BACK_S:
            raise Trouble(f"not all of {', '.join(KILLED)} came back within {BACK_S:.0f} s")
        time.sleep(0.5)
    say(f"  all three are back and ready after {time.monotonic() - began:.1f} s")
    for ended in (number, number + 1):
        asyncio.run(_open_round(stack, ended + 1))
        say(f"  round {ended} ended {time.monotonic() - began:.1f} s after the blow")
    stack.docker("stop", *(stack.container(trainer).id for trainer in trainers))
    asyncio.run(_settled(stack))
    after = asyncio.run(_books(stack))
    if after["rounds"][: len(before["rounds"])] != before["rounds"]:
        raise Trouble("rounds that were settled before the blow have changed")
    struck = after["rounds"][number - 1]
    if len(struck[2]) != len(trainers):
        raise Trouble(f"round {number} was settled with {len(struck[2])} updates, {len(trainers)} were handed in")
    held(
        f"a gateway, the chain and the model server killed in the middle of round {number}: it ended with all three updates, and in "
        f"{len(after['rounds'])} rounds everyone was paid once for each update"
    )
    return after


async def _accepted(stack: Stack, count: int) -> int:
    """Until the open round has so many updates and gets no more. Returns its number."""
    began, last = time.monotonic(), 0
    async with gateway_of(stack) as gateway:
        while time.monotonic() - began < ROUND_S:
            round = (await gateway.task(TASK)).round
            if round.accepted == count and last == round.round:
                return round.round
            last = round.round if round.accepted == count else 0
            await asyncio.sleep(0.5)
    raise Trouble(f"the open round has {round.accepted} updates, not {count}, after {ROUND_S:.0f} s")


async def _open_round(stack: Stack, number: int) -> None:
    """Until that round is open."""
    began = time.monotonic()
    async with gateway_of(stack) as gateway:
        while (now := (await gateway.task(TASK)).round.round) < number:
            if time.monotonic() - began > ROUND_S:
                raise Trouble(f"after the blow the chain stays in round {now}")
            await asyncio.sleep(0.2)


async def _settled(stack: Stack) -> None:
    """Until no round waits for its settlement."""
    began = time.monotonic()
    async with gateway_of(stack) as gateway:
        while True:
            task = await gateway.task(TASK)
            if task.round.accepted < stack.settings.contributors:
                return
            if time.monotonic() - began > ROUND_S:
                raise Trouble(f"nobody settles round {task.round.round}")
            await asyncio.sleep(0.2)


async def _books(stack: Stack) -> dict[str, Any]:
    """What the chain says of all settled rounds. Raises Trouble where one has a contributor twice, missing, or paid wrongly."""
    async with gateway_of(stack) as gateway:
        chain = await gateway.chain()
        task = await gateway.task(TASK)
        rounds = []
        earned: dict[bytes, int] = {}
        fees: dict[bytes, int] = {}
        for number in range(1, task.round.round):
            record = await gateway.round(TASK, number)
            people = [one.contributor for one in record.contributions]
            paid = {one.contributor: one.paid or 0 for one in record.contributions}
            # fewer than all is right, too: two minutes after its first update a round may be settled with what there is
            if (
                record.version is None
                or not people
                or len(people) != len(set(people))
                or len(people) > stack.settings.contributors
            ):
                raise Trouble(f"round {number} has the contributors {[one.hex() for one in people]}")
            if not all(paid.values()) or sum(paid.values()) + record.settler_paid > task.terms.reward:
                raise Trouble(f"round {number} paid {list(paid.values())}")
            fees[record.settler] = fees.get(record.settler, 0) + record.settler_paid
            for who, wei in paid.items():
                earned[who] = earned.get(who, 0) + wei
            rounds.append((number, record.version.digest.hex(), sorted((who.hex(), paid[who]) for who in people)))
        for who in earned.keys() | fees.keys():
            # earnings are credited, and nobody here claims them; a settler's fee is paid at once
            found = (await gateway.earnings(who, TASK)).earned, (await gateway.balance(who, TASK)).token
            if found != (earned.get(who, 0), fees.get(who, 0)):
                raise Trouble(
                    f"0x{who.hex()} has earned {found[0]} and owns {found[1]} wei, its rounds credited {earned.get(who, 0)} and paid "
                    f"{fees.get(who, 0)}"
                )
    return {
        "chain": (chain.chain_id, chain.pool, chain.aspect, chain.deployed_block),
        "version": task.version,
        "rounds": rounds,
    }


def _no_secret(stack: Stack, recording: Recording, spent: list[str], held: Say) -> None:
    """Nothing that only one may know is in any log, in what the tool itself wrote down, or in how an image or container is described."""
    known: dict[str, str] = {f"session {index}": token for index, token in enumerate(spent)}
    for index in range(1, stack.settings.contributors + 1):
        folder = stack.settings.home / "secrets"
        known[f"password {index}"] = (folder / f"contributor-{index}").read_text().strip()
        for name in (f"operator-{index}", f"trainer-{index}", "reader"):
            known[f"token of {name}"] = Credential.read(folder / name).token
        known[f"key {index}"] = bytes(contributor_account(stack, index).key).hex()
    known["token of the faucet"] = Credential.read(folder / "faucet").token
    known["password of the faucet"] = (folder / "faucet-password").read_text().strip()
    of_chain = json.loads(stack.run_in("devchain", "cat", "/var/lib/linklearner/chain/chain.sqlite.keys.json"))
    known |= {f"devchain key {address}": key.removeprefix("0x") for address, key in of_chain.items()}
    places = {"the logs": recording.text}
    for file in stack.settings.home.glob("*.log"):
        places[file.name] = file.read_text(errors="replace")
    places["the compose file"] = stack.compose("config").decode()
    for one in stack.containers():
        places[f"the description of {one.service}"] = json.dumps(stack.inspect(one.service))
        image = stack.inspect_image(one.id)
        places[f"the image {image}"] = stack.docker("history", "--no-trunc", image).decode()
    for what, secret in known.items():
        for place, text in places.items():
            if secret.lower() in text.lower():
                raise Trouble(f"{what} is in {place}")
    held(f"none of {len(known)} secrets is in {len(recording.text.splitlines())} log lines, a description or an image")


# --- with a node that is already there ---------------------------------------------------------------------------------------------


@contextmanager
def _node() -> Iterator[tuple[str, Path]]:
    """A node outside of the stack, as narrow as a real one: its URL as containers reach it, and the file of a funded key."""
    with tempfile.TemporaryDirectory(prefix="node-") as folder:
        state = Path(folder) / "chain.sqlite"
        address = host_gateway()
        command = [sys.executable, "-m", "devchain", "--host", address, "--port", "0", "--state", str(state)]
        command += ["--allow-host", "host.docker.internal"]  # as containers call this machine
        with (Path(folder) / "log").open("wb") as log:
            process = subprocess.Popen(
                [*command, "--mining", "interval:0.5", "--strict-rpc"], cwd=ROOT, stdout=subprocess.PIPE, stderr=log
            )
        try:
            assert process.stdout is not None
            first = process.stdout.readline().decode()
            if " at http://" not in first:
                raise Trouble(f"no node on this machine: {first}{(Path(folder) / 'log').read_text()}")
            port = first.strip().rpartition(":")[2]
            key = next(iter(json.loads(state.with_name(state.name + ".keys.json").read_text()).values()))
            key_file = Path(folder) / "owner.key"
            key_file.touch(mode=0o600)
            key_file.write_text(key)
            yield f"http://host.docker.internal:{port}", key_file
        finally:
            process.terminate()
            process.wait(10)
