"""Services that are killed while somebody has the page open, and a chain that is another one afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from linklearner.suite import Suite
from services.page.config import PageConfig
from tests.page.conftest import ROOT, Open, running
from tests.page.wallet import PythonWallet

pytestmark = pytest.mark.skipif(
    os.environ.get("PAGE_TESTS") != "all", reason="minutes: run by PAGE_TESTS=all (make page-test)"
)


@contextmanager
def service(name: str, folder: Path, says: str, **settings: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`python -m services.NAME` by its settings, and the line of its standard output that begins with `says`."""
    prefix = {"chain_gateway": "LINKLEARNER_GATEWAY_", "page": "LINKLEARNER_PAGE_"}[name]
    environment = {**os.environ, **{prefix + key.upper(): str(value) for key, value in settings.items()}}
    with (folder / f"{name}.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", f"services.{name}"],
            cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if line.startswith(says):
                    break
            else:
                raise AssertionError((folder / f"{name}.log").read_text()[-3000:])
            yield process, line.split()[-1]
        finally:
            process.kill()
            process.wait(20)


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def usual_port_taken() -> Iterator[None]:
    """A suite that starts now takes a port that no other suite of this machine asks for while ours is away."""
    host, _, port = PageConfig.listen.partition(":")
    with socket.socket() as usual:
        with suppress(OSError):  # it is another's already
            usual.bind((host, int(port)))
            usual.listen()
        yield


def test_a_gateway_that_is_killed_and_comes_back(
    desk: Open, suite: Suite, wallet: PythonWallet, tmp_path: Path
) -> None:
    """What needs no gateway goes on: drawing, training, and submitting, which goes to the chain."""
    home = Path(suite.credential).parents[1]
    keys, password = tmp_path / "keys", tmp_path / "password"
    make = [sys.executable, "-m", "services.chain_gateway", "create-account"]
    subprocess.run([*make, "--keystore", str(keys), "--password-file", str(password)], cwd=ROOT, check=True)
    where = f"127.0.0.1:{a_free_port()}"
    outbox, access = tmp_path / "outbox.sqlite", tmp_path / "access"
    gateway = {
        "rpc_url": suite.rpc_url, "deployment": home / "deployment.json", "keystore": keys, "password_file": password,
        "outbox": outbox, "access": access, "listen": where,
    }  # fmt: skip
    page = {
        "listen": "127.0.0.1:0", "gateway": where, "credential": access / "reader.json", "model_server": "",
        "rpc_url": suite.rpc_url,
    }  # fmt: skip
    wallet.chain = suite.chain_id
    given = httpx.post(f"{suite.page}/faucet", json={"account": wallet.account.address}, timeout=60)
    assert given.status_code == 200, given.text
    with (
        service("chain_gateway", tmp_path, "chain_gateway", **gateway) as (process, _),
        service("page", tmp_path, "page", **page) as (_, url),
    ):
        at = desk(wallet=wallet, url=url)
        at.collect("01234")
        at.button("Python wallet").click()
        at.button("Lock 100 $LL").click()
        at.button("Train in this browser").click()
        at.button("Submit your update").wait_for()  # the stake counts
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        at.says("The gateway does not answer; this page tries again by itself.")
        at.collect("7")
        at.says("6 drawings")
        at.button("Train again").click()
        at.page.wait_for_selector(".measure")
        at.button("Submit your update").click()
        at.page.locator(".step.done", has=at.page.get_by_role("heading", name="Submit")).wait_for()
        with service("chain_gateway", tmp_path, "chain_gateway", **gateway):
            at.page.wait_for_selector(".notice.bad", state="detached")
            at.says("you earned")


def test_everything_is_killed_and_comes_back(desk: Open, tmp_path: Path) -> None:
    """The page, too; then a chain that began anew behind the same address."""
    with usual_port_taken(), running(tmp_path) as (first, process):
        at = desk(url=first.page)
        at.collect("01234")
        at.button("Start with a practice wallet").click()
        at.page.wait_for_selector("text=Stake here")
        at.says("Your stake counts from")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        at.says("does not answer; this page tries again by itself")
        at.button("Train in this browser").click()
        at.page.wait_for_selector(".measure")
    with running(tmp_path) as (again, process):
        assert again.page == first.page
        at.page.wait_for_selector(".notice.bad", state="detached")
        at.button("Submit your update").click()
        at.says("you earned")
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        at.says("does not answer; this page tries again by itself")
    anew = tmp_path / "anew"
    anew.mkdir()
    shutil.copy(tmp_path / "suite.json", anew / "suite.json")  # the page's address is taken from there
    with running(anew) as (other, _):
        assert other.page == first.page
        at.says("This chain began anew since your last visit.")
        at.button("Get test money").click()  # the practice wallet is the same, and has nothing here
        at.button("Lock 100 $LL").wait_for()
