"""One suite and one Chromium for the tests of a module; each test has a browser context, an account and drawings of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser

from linklearner.suite import Suite
from tests.page.browser import DESKTOP, Desk, chromium, context_of, executable
from tests.page.wallet import PythonWallet

ROOT = Path(__file__).resolve().parents[2]
MINING = os.environ.get("PAGE_MINING", "instant")
"""interval:0.5 is a node's pace."""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Of one module: playwright's loop runs in the main thread as long as it is there, and would stop other modules' async tests."""
    if executable() is None:
        missing = "there is no Chromium: install your system's (Debian: apt install chromium), or name one in CHROMIUM"
        if os.environ.get("CI") and os.environ.get("CHROMIUM") != "none":
            pytest.fail(f"{missing}; CHROMIUM=none where there cannot be one")  # a gate that skips is none
        pytest.skip(missing)
    with chromium() as running:
        yield running


@contextmanager
def running(
    home: Path, *, contributors: int = 3, mining: str = MINING
) -> Iterator[tuple[Suite, subprocess.Popen[str]]]:
    """A suite in a home folder, and its process. Ended at the end, unless it has been."""
    with (home / "suite.log").open("ab") as log:
        command = [sys.executable, "-m", "services", "--home", str(home), "--contributors", "5"]
        process = subprocess.Popen(
            [*command, "--mining", MINING], cwd=ROOT, stdout=subprocess.PIPE, stderr=log, text=True
        )
        try:
            assert process.stdout is not None
            for line in process.stdout:
                if json.loads(line).get("ready"):
                    break
            else:
                raise AssertionError((home / "suite.log").read_text()[-3000:])
            yield Suite.read(home), process
        finally:
            process.send_signal(signal.SIGTERM)
            process.wait(20)


@pytest.fixture(scope="module")
def suite(browser: Browser, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    with running(tmp_path_factory.mktemp("suite")) as (there, _):
        yield there


Open = Callable[..., Desk]


@pytest.fixture
def desk(browser: Browser, suite: Suite) -> Iterator[Open]:
    """desk(device, wallet=…, fragment=…): the page, open in a fresh context. What went wrong in it is its `trouble`."""
    opened: list[Desk] = []

    def begin(
        device: dict[str, Any] = DESKTOP,
        *,
        wallet: PythonWallet | None = None,
        fragment: str = "",
        script: str = "",
        url: str = "",
        **more: Any,
    ) -> Desk:
        context = context_of(browser, device, **more)
        if wallet is not None:
            wallet.install(context)
        if script:
            context.add_init_script(script)
        desk = Desk(context, url or suite.page)
        opened.append(desk)
        return desk.open(fragment)

    yield begin
    for one in opened:
        one.context.close()


@pytest.fixture
def wallet(suite: Suite) -> PythonWallet:
    """On Ethereum's own network, and it does not know ours."""
    return PythonWallet(suite.rpc_url)
