"""The container engine and one stack on it, through the `docker` command alone."""

import json
import os
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.stack.contributors import written_out
from tools.stack.settings import ROOT, StackSettings, Trouble, check_ports

BOOTSTRAP = Path(os.environ.get("DOCKER_UP", ROOT.parent / "shared" / "tools" / "docker-up.sh"))
"""A script that brings an engine up on a machine without one: `engine`, `hostbase`, `env`, `down`."""
BUILD = {
    "devchain": ("devchain", "model_server", "page", "gateway-1", "trainer-1"),
    "artela": ("model_server", "page-artela", "gateway-1", "trainer-1"),
}
"""By profile, one service for each image."""
READY_S = 300.0

Say = Callable[[str], None]


class NoEngine(Trouble):
    """No container engine answers, and none could be brought up."""


@contextmanager
def engine(say: Say, *, keep: bool = True) -> Iterator[None]:
    """Makes `docker` work in this process's environment. An engine that was brought up here is stopped at the end unless `keep`.

    Raises NoEngine.
    """
    if _answers():
        yield
        return
    if not BOOTSTRAP.exists() or os.getuid() != 0:
        raise NoEngine(
            "no container engine answers: install Docker with Compose v2 and start it, and see that `docker version` works"
        )
    _enter()
    if _answers():
        yield
        return
    say("no engine answers; bringing one up")
    for what in ("engine", "hostbase"):
        done = subprocess.run([str(BOOTSTRAP), what], capture_output=True, text=True, check=False)
        if done.returncode:
            raise NoEngine(f"no engine could be brought up:\n{done.stdout}{done.stderr}")
    if not _answers():
        raise NoEngine("an engine was brought up and does not answer")
    try:
        yield
    finally:
        if not keep:
            subprocess.run([str(BOOTSTRAP), "down"], capture_output=True, check=False)


def _enter() -> None:
    """Takes over the environment that BOOTSTRAP describes."""
    done = subprocess.run(
        ["bash", "-c", f'eval "$("{BOOTSTRAP}" env)" && env -0'], capture_output=True, text=True, check=True
    ).stdout
    for pair in done.split("\0"):
        name, _, value = pair.partition("=")
        if name.startswith("DOCKER_") or name == "PATH":
            os.environ[name] = value


def _answers() -> bool:
    try:
        for command in (["docker", "version"], ["docker", "compose", "version"]):
            subprocess.run(command, capture_output=True, check=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return False
    return True


def host_gateway() -> str:
    """This machine's address as containers see it, host.docker.internal to them."""
    done = subprocess.run(
        ["docker", "network", "inspect", "bridge", "--format", "{{(index .IPAM.Config 0).Gateway}}"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


@dataclass(frozen=True, kw_only=True)
class Container:
    """One container of the stack. health: empty without a health check; exit_code is of the last end."""

    id: str
    service: str
    state: str
    health: str
    exit_code: int
    ports: frozenset[int]

    @property
    def ready(self) -> bool:
        """It does what it is there for, or has done it."""
        once = self.service.startswith("deploy")
        return (self.state == "exited" and self.exit_code == 0) if once else self.health == "healthy"

    @property
    def settled(self) -> bool:
        """Ready, or over without ever becoming it."""
        return self.ready or (self.state == "exited" and self.exit_code != 0)

    @property
    def words(self) -> str:
        if self.service.startswith("deploy") and self.state == "exited":
            return "done" if self.exit_code == 0 else f"failed ({self.exit_code})"
        return self.health or self.state


class Stack:
    """One Compose project."""

    def __init__(self, settings: StackSettings, say: Say) -> None:
        self.settings = settings
        self._say = say
        self._environment = {**os.environ, **settings.compose_environment()}
        self._file = settings.home / "docker-compose.yml"

    # --- the docker command ---

    def docker(self, *arguments: str, timeout: float = 120, stdin: bytes | None = None) -> bytes:
        """Standard output. Raises Trouble with what the engine said."""
        done = subprocess.run(
            ["docker", *arguments],
            capture_output=True,
            env=self._environment,
            timeout=timeout,
            input=stdin,
            check=False,
        )
        if done.returncode:
            shown = " ".join(arguments[:4])
            raise Trouble(f"docker {shown} …: {done.stderr.decode(errors='replace').strip()[-2000:]}")
        return done.stdout

    def compose(self, *arguments: str, timeout: float = 300) -> bytes:
        """`docker compose …` on this project. Raises Trouble."""
        return self.docker("compose", *self._options(), *arguments, timeout=timeout)

    def _options(self) -> tuple[str, ...]:
        file = self._file if self._file.exists() else ROOT / "docker-compose.yml"
        return ("--project-directory", str(ROOT), "-f", str(file))

    def hand_over(self, *arguments: str) -> None:
        """Becomes `docker compose …`, for commands that talk to a person. Does not return."""
        os.execvpe("docker", ["docker", "compose", *self._options(), *arguments], self._environment)

    # --- up and down ---

    def prepare(self) -> None:
        """Writes the compose file for this number of contributors, makes the passwords, looks at the ports. Raises Trouble."""
        try:
            text = written_out((ROOT / "docker-compose.yml").read_text(), self.settings.contributors)
        except ValueError as error:
            raise Trouble(str(error)) from None
        self.settings.home.mkdir(parents=True, exist_ok=True)
        self._file.write_text(text)
        self._check_passwords()
        self.settings.make_secrets()
        ours = frozenset(port for container in self.containers() for port in container.ports)
        check_ports(self.settings.ports(), ours)

    def _check_passwords(self) -> None:
        """Raises Trouble where keys lie on volumes whose passwords are not here: new ones would not open them."""
        volumes = set(self.docker("volume", "ls", "--quiet").decode().split())
        for index in range(1, self.settings.contributors + 1):
            password = self.settings.home / "secrets" / f"contributor-{index}"
            if f"{self.settings.project}_keys-{index}" in volumes and not password.exists():
                raise Trouble(
                    f"the engine holds keys of an earlier stack {self.settings.project}, but their passwords are not in "
                    f"{password.parent}: bring them back from the checkout that made them, choose another COMPOSE_PROJECT_NAME, "
                    "or forget chain and keys with `make down WIPE=1`"
                )

    def build(self) -> None:
        """Builds each image once. Raises Trouble with the end of the log."""
        log = self.settings.home / "build.log"
        wanted = BUILD[self.settings.profile]
        self._say(f"building images (log: {_shown(log)})")
        if not any(self._environment.get(name) for name in ("TORCH_INDEX", "WHEELS", "PIP_CONF")):
            self._say("  without TORCH_INDEX or WHEELS (see .env) the trainer's torch comes with gigabytes of CUDA")
        started = time.monotonic()
        with log.open("wb") as file:
            done = subprocess.run(
                ["docker", "compose", "--progress", "plain", *self._options(), "build", *wanted],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment,
                check=False,
            )
        if done.returncode:
            raise Trouble(
                "the images could not be built:\n" + "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            )
        self._say(f"images built in {time.monotonic() - started:.0f} s")

    def up(self, *services: str, recreate: bool = False) -> None:
        """Starts services (none named: all) and those that they need, and waits until they are ready, saying each step. Raises Trouble."""
        arguments = ["up", "--detach", "--no-build", "--remove-orphans"]
        if recreate:
            arguments += ["--force-recreate", "--no-deps"]
        started = time.monotonic()
        announced = {one.id for one in self.containers() if one.ready}
        log = self.settings.home / "up.log"
        with log.open("wb") as file:
            starting = subprocess.Popen(
                ["docker", "compose", "--progress", "plain", *self._options(), *arguments, *services],
                stdout=file,
                stderr=subprocess.STDOUT,
                env=self._environment,
            )
            try:
                while True:
                    over = starting.poll()
                    containers = self.containers()
                    for container in sorted(containers, key=lambda one: one.service):
                        if container.id not in announced and container.settled:
                            announced.add(container.id)
                            self._say(
                                f"  {container.service:<13} {container.words:<8} {time.monotonic() - started:5.1f} s"
                            )
                    if over:
                        raise Trouble(self._why(log, containers))
                    if over == 0 and containers and all(container.ready for container in containers):
                        return
                    if time.monotonic() - started > READY_S:
                        waiting = ", ".join(one.service for one in containers if not one.ready)
                        raise Trouble(f"not ready after {READY_S:.0f} s: {waiting}; see `make logs`")
                    time.sleep(0.5)
            finally:
                if starting.poll() is None:
                    starting.terminate()
                    starting.wait()

    def _why(self, log: Path, containers: Sequence[Container]) -> str:
        text = [line for line in log.read_text(errors="replace").splitlines() if line.strip()][-4:]
        if any("address already in use" in line for line in text):
            text.append("a port was taken since it was looked at: stop what uses it, or choose another one (.env)")
        for container in containers:
            if not container.ready and (container.state in ("exited", "restarting") or container.health == "unhealthy"):
                said = self.logs(container.service).splitlines()[-12:]
                text += [f"--- {container.service}", *said]
        return "the stack did not start:\n" + "\n".join(text)

    def down(self, *, wipe: bool = False) -> None:
        """Stops and removes the containers and networks; with `wipe` also chain, keys, outboxes and passwords."""
        self.compose("down", "--remove-orphans", *(["--volumes"] if wipe else []))
        for name in ("owner-key", "owner-password"):
            (self.settings.home / "secrets" / name).unlink(missing_ok=True)
        if wipe:
            shutil.rmtree(self.settings.home, ignore_errors=True)

    # --- looking ---

    def containers(self) -> list[Container]:
        """All containers of the project, running or not."""
        label = f"label=com.docker.compose.project={self.settings.project}"
        ids = self.docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).decode().split()
        if not ids:
            return []
        try:
            described = json.loads(self.docker("inspect", *ids))
        except Trouble:  # one of them went away between the two questions
            return self.containers()
        return [_container(one) for one in described]

    def container(self, service: str) -> Container:
        """Raises Trouble if there is none."""
        for one in self.containers():
            if one.service == service:
                return one
        raise Trouble(f"the stack has no container {service}")

    def inspect(self, service: str) -> dict[str, Any]:
        """Everything that the engine knows of a service's container."""
        described: list[dict[str, Any]] = json.loads(self.docker("inspect", self.container(service).id))
        return described[0]

    def run_in(self, service: str, *command: str) -> str:
        """Standard output of a command in a running container."""
        return self.compose("exec", "-T", service, *command).decode()

    def logs(self, service: str) -> str:
        """What a service's present container has said, both streams."""
        done = subprocess.run(
            ["docker", "logs", self.container(service).id],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=self._environment,
            check=True,
        )
        return done.stdout.decode(errors="replace")

    def memory(self) -> dict[str, str]:
        """Memory of each running container, as the engine says it."""
        running = [one for one in self.containers() if one.state == "running"]
        if not running:
            return {}
        lines = self.docker(
            "stats", "--no-stream", "--no-trunc", "--format", "{{.ID}} {{.MemUsage}}", *(one.id for one in running)
        )
        used = {line.split()[0]: line.split()[1] for line in lines.decode().splitlines() if line.strip()}
        return {one.service: used.get(one.id, "?") for one in running}

    def image_bytes(self) -> dict[str, int]:
        """Size of each image of the stack."""
        images = {self.inspect_image(one.id) for one in self.containers()}
        return {name: int(self.docker("image", "inspect", "--format", "{{.Size}}", name)) for name in sorted(images)}

    def inspect_image(self, container: str) -> str:
        return self.docker("inspect", "--format", "{{.Config.Image}}", container).decode().strip()


def _container(described: dict[str, Any]) -> Container:
    state = described["State"]
    bindings = described["HostConfig"]["PortBindings"] or {}
    return Container(
        id=described["Id"],
        service=described["Config"]["Labels"]["com.docker.compose.service"],
        state=state["Status"],
        health=state.get("Health", {}).get("Status", ""),
        exit_code=state["ExitCode"],
        ports=frozenset(int(one["HostPort"]) for some in bindings.values() for one in some if one["HostPort"])
        if state["Running"]
        else frozenset(),
    )


def _shown(path: Path) -> Path:
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
