"""What goes wrong for people: wallets that say no, a model that moves on, names that are code, a chain that is away, tabs that get in
each other's way, a browser without room. `PAGE_TESTS=all` runs these; they take minutes.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from playwright.sync_api import Browser, Route

from linklearner.client.gateway import GatewayClient
from linklearner.client.trainer import TrainerClient
from linklearner.domain.digest import weight_bytes
from linklearner.domain.errors import BaseMoved
from linklearner.domain.fixedpoint import quantise_weights
from linklearner.domain.notation import address
from linklearner.domain.plan import TaskPlan
from linklearner.rpc.access import Credential
from linklearner.suite import Suite
from tests.page.browser import DESKTOP, context_of
from tests.page.conftest import Open
from tests.page.test_flow import ask_gateway
from tests.page.wallet import PythonWallet

pytestmark = pytest.mark.skipif(
    os.environ.get("PAGE_TESTS") != "all", reason="minutes: run by PAGE_TESTS=all (make page-test)"
)

T = TypeVar("T")
HOSTILE = '<img src=x onerror="document.title=666">{{7*7}}${alert(1)}</script><script>document.title=666</script>\u202e'


def in_a_thread(work: Coroutine[Any, Any, T]) -> T:
    """playwright's own loop runs in this one."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, work).result()


def ready(desk: Open, suite: Suite, wallet: PythonWallet) -> Any:
    """At the desk with stake that counts, and an update trained."""
    wallet.chain = suite.chain_id
    at = desk(wallet=wallet)
    at.collect("01234")
    at.button("Python wallet").click()
    at.button("Get test money").click()
    at.button("Lock 100 $LL").click()
    at.button("Train in this browser").click()
    at.page.wait_for_selector(".measure")
    at.says("Submit your update")
    return at


def test_what_a_person_declines_is_no_failure(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    wallet.declines = {"eth_requestAccounts"}
    at = desk(wallet=wallet)
    at.button("Python wallet").click()
    at.says("You declined it in your wallet. Nothing was sent.")
    assert at.page.locator(".notice.info").count() == 1 and at.page.locator(".notice.bad").count() == 0
    wallet.declines = {"wallet_switchEthereumChain"}
    at.button("Python wallet").click()
    at.button("Switch network").click()
    at.says("You declined it")
    wallet.declines = {"eth_sendTransaction", "personal_sign"}
    at.button("Switch network").click()
    at.button("Get test money").click()
    at.button("Lock 100 $LL").click()
    at.says("You declined it")
    at.button("Sign in").click()
    at.says("You declined it")
    assert wallet.sent == [] and wallet.texts == []
    wallet.declines = set()
    at.button("Lock 100 $LL").click()
    at.says("Your stake counts from")
    assert at.trouble == []


def others_make_a_version(suite: Suite) -> None:
    """All of the suite's trainers contribute, and the round is settled. The page need not be running."""

    async def work() -> None:
        credential = Credential.read(Path(suite.credential))
        async with GatewayClient.connect(suite.gateway, credential) as gateway:
            before = (await gateway.task(1)).version
            for index, where in enumerate(suite.trainers):
                async with TrainerClient.connect(where, credential) as trainer:
                    with suppress(BaseMoved):  # the suite's own trainers made the version meanwhile
                        async for _ in trainer.train(f"others-{before}-{index}"):
                            pass
            async with asyncio.timeout(60):
                while (await gateway.task(1)).version == before:
                    await asyncio.sleep(0.3)

    in_a_thread(work())


def rpc_asked(route: Route) -> tuple[str, list[Any]]:
    asked = route.request.post_data_json
    return asked["method"], asked["params"]


def test_a_base_that_has_moved_on_is_trained_anew_by_itself(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    at = ready(desk, suite, wallet)
    # the page does not notice: what it polls is held back while the others make a version
    at.page.route("**/*GetTask", lambda route: route.abort())
    others_make_a_version(suite)
    at.page.unroute("**/*GetTask")
    at.button("Submit your update").click()
    at.says("Accepted in round")
    at.says("Your update is in version")


@pytest.mark.parametrize("same_block", [False, True], ids=["a block before it", "in its very block"])
def test_a_round_settled_while_the_wallet_asks(
    desk: Open, suite: Suite, wallet: PythonWallet, same_block: bool
) -> None:
    """The chain refuses the transaction, which is paid for; the page trains again and asks the wallet again."""
    at = ready(desk, suite, wallet)
    answered = not same_block

    if same_block:  # as it stood before the block, nothing was in the way

        def nothing_in_the_way(route: Route) -> None:
            nonlocal answered
            method, params = rpc_asked(route)
            late = method == "eth_call" and params[1] != "latest" and params[0]["to"].lower() == suite.pool.lower()
            if late and not answered:
                answered = True
                route.fulfill(json={"jsonrpc": "2.0", "id": route.request.post_data_json["id"], "result": "0x"})
            else:
                route.fallback()

        at.page.route("**/rpc", nothing_in_the_way)
    before = len(wallet.sent)
    wallet.hesitates = lambda: others_make_a_version(suite)
    at.button("Submit your update").click()
    at.says("Accepted in round")
    assert answered and len(wallet.sent) >= before + 2
    at.says("Your update is in version")
    assert at.page.locator(".notice.bad").count() == 0


def test_a_round_that_is_being_settled_is_waited_for(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    at = ready(desk, suite, wallet)
    settling = "0x3b85cfbd" + f"{1:064x}" * 2  # RoundSettling(round, mergedGroups)

    def refused(route: Route) -> None:
        method, params = rpc_asked(route)
        if method == "eth_call" and params[0].get("from") and params[1] == "latest":
            error = {"code": 3, "message": "execution reverted", "data": settling}
            route.fulfill(json={"jsonrpc": "2.0", "id": route.request.post_data_json["id"], "error": error})
        else:
            route.fallback()

    at.page.route("**/rpc", refused)
    sent = len(wallet.sent)
    at.button("Submit your update").click()
    at.says("waiting for its version")
    assert len(wallet.sent) == sent
    at.page.unroute("**/rpc")
    others_make_a_version(suite)
    at.says("Accepted in round")
    at.says("Your update is in version")


def test_an_update_is_looked_for_in_the_round_that_took_it(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    """Another round than the page knew of: one was dropped meanwhile."""
    at = ready(desk, suite, wallet)
    number = int(ask_gateway(suite, "GetTask", {"task": "1"})["task"]["round"]["round"])

    def an_earlier_one(route: Route) -> None:
        task = route.fetch().json()["task"]
        route.fulfill(json={"task": {**task, "round": {**task["round"], "round": str(number - 1)}}})

    at.page.route("**/*GetTask", an_earlier_one)
    at.page.get_by_role("heading", name=f"Round {number - 1}", exact=True).wait_for()
    at.button("Submit your update").click()
    at.says("Accepted in round")
    at.page.unroute_all(behavior="wait")
    at.says("Your update is in version")


def test_a_page_that_is_closed_while_its_update_is_under_way_finds_it_again(
    desk: Open, suite: Suite, wallet: PythonWallet
) -> None:
    at = ready(desk, suite, wallet)

    def no_block_yet(route: Route) -> None:
        if rpc_asked(route)[0] == "eth_getTransactionReceipt":
            route.fulfill(json={"jsonrpc": "2.0", "id": route.request.post_data_json["id"], "result": None})
        else:
            route.fallback()

    at.page.route("**/rpc", no_block_yet)
    at.button("Submit your update").click()
    at.says("Your update is on its way: waiting for a block")
    at.page.reload()
    at.says("Your update is on its way: waiting for a block")
    at.page.unroute_all(behavior="wait")
    at.says("you earned")  # what is said before passes, as notices do


def test_a_transaction_that_the_chain_forgot_is_not_waited_for_without_end(
    desk: Open, suite: Suite, wallet: PythonWallet
) -> None:
    at = ready(desk, suite, wallet)

    def unknown(route: Route) -> None:
        if rpc_asked(route)[0] in ("eth_getTransactionReceipt", "eth_getTransactionByHash"):
            route.fulfill(json={"jsonrpc": "2.0", "id": route.request.post_data_json["id"], "result": None})
        else:
            route.fallback()

    at.page.route("**/rpc", unknown)
    at.button("Submit your update").click()
    at.says("The chain does not know your transaction any more")
    at.page.unroute_all(behavior="wait")


def test_a_round_that_is_dropped_frees_the_update_that_was_in_it(
    desk: Open, suite: Suite, wallet: PythonWallet
) -> None:
    """The round goes on without a version."""
    at = ready(desk, suite, wallet)
    held: dict[str, Any] = {}
    dropped = False

    def task(route: Route) -> None:
        answer = held.setdefault("task", route.fetch().json())["task"]
        after = {**answer["round"], "round": str(int(answer["round"]["round"]) + 1), "acceptedCount": 0}
        route.fulfill(json={"task": {**answer, "round": after} if dropped else answer})

    def over(route: Route) -> None:
        route.fulfill(json={**route.fetch().json(), "version": None, "dropped": dropped})

    at.page.route("**/*GetTask", task)
    at.page.route("**/*GetRound", over)
    at.button("Submit your update").click()
    at.says("Accepted in round")
    dropped = True
    at.says("ended without a merge. Train again and submit")
    at.page.unroute_all(behavior="wait")


def test_names_that_are_code_are_text_and_another_kind_of_model_is_trained(desk: Open, suite: Suite) -> None:
    """A task of anybody's: a CNN whose name and labels are markup."""
    plan = TaskPlan.from_json(
        json.dumps(
            {
                "model": {
                    "name": HOSTILE, "kind": "cnn", "image": [1, 8, 8], "channels": [4, 6], "kernel": 3, "activation": "relu",
                    "outputs": 3, "input": {"name": "<b>x</b>", "scale": 0.0625, "range": [0.0, 16.0]},
                    "labels": [HOSTILE, "<svg/onload=alert(1)>", "2"],
                },
                "terms": {"reward": "0", "stake_seconds": 1},
            }
        )
    )  # fmt: skip

    async def opened() -> int:
        async with GatewayClient.connect(suite.gateway, Credential.read(Path(suite.credential))) as gateway:
            weights = weight_bytes(quantise_weights(plan.model.initial(3), plan.shape))
            made = await gateway.open_task(
                "hostile", address(suite.creator), plan.model.to_json(), plan.shape, plan.terms, weights
            )
            return made.task

    number = in_a_thread(opened())
    at = desk(fragment=f"#/task/{number}/learn")
    at.page.get_by_role("heading", name="<img src=x").first.wait_for()
    assert at.page.locator(".bars .bar-label").first.text_content() == HOSTILE
    for digit, label in (("0", 0), ("1", 1), ("7", 2), ("0", 0), ("1", 1), ("7", 2)):
        at.draw(digit)
        at.page.locator(".labels button").nth(label).click()
    at.button("Train in this browser").click()
    at.page.wait_for_selector(".measure")
    after = at.page.locator(".measure .after").first.text_content() or ""
    assert after.strip() == "100\u00a0%"  # six drawings of three shapes can be told apart
    at.open(f"#/task/{number}")
    at.says("Terms")
    assert at.page.title() != "666" and at.page.locator("#app img[src='x'], #app script, #app svg[onload]").count() == 0
    assert at.overflow() <= 0
    assert at.trouble == []


def test_a_chain_that_is_away_is_said_and_waited_for(desk: Open) -> None:
    at = desk()
    at.context.set_offline(True)
    at.says("does not answer; this page tries again by itself")
    at.draw("3")  # goes on with what is here
    at.page.wait_for_selector(".bars .best")
    at.context.set_offline(False)
    at.page.wait_for_selector(".notice", state="detached")


@pytest.mark.parametrize("missing", ["**/*GetTask", "**/starter.bin"])
def test_what_was_away_at_the_start_is_read_later(desk: Open, missing: str) -> None:
    at = desk()
    at.collect("01")
    at.page.route(missing, lambda route: route.abort())
    at.page.reload()
    at.says("does not answer; this page tries again by itself")
    at.page.unroute_all(behavior="wait")
    at.says("2 drawings")
    at.says("100 starter digits are mixed in")


def test_two_tabs_do_not_train_at_once_and_keep_each_others_drawings(desk: Open) -> None:
    at = desk()
    at.collect("01234")
    other = at.context.new_page()
    other.goto(at.url)
    other.get_by_text("5 drawings").wait_for()
    name = at.page.evaluate(
        """async () => {
          const holding = new Promise(held => {
            window.letGo = null;
            const original = navigator.locks.request.bind(navigator.locks);
            navigator.locks.request = (name, options, work) => original(name, options, async lock => {
              held(name);
              await new Promise(done => (window.letGo = done));
              return work(lock);
            });
          });
          [...document.querySelectorAll("button")].find(one => one.textContent === "Train in this browser").click();
          return holding;
        }"""
    )
    assert name.startswith("train ")
    other.get_by_role("button", name="Train in this browser").click()
    other.get_by_text("Another tab is training").wait_for()
    at.page.evaluate("letGo()")
    at.page.wait_for_selector(".measure")
    at.collect("7")
    other.reload()
    other.get_by_text("6 drawings").wait_for()


def test_a_reload_in_the_middle_of_training_loses_no_drawing(desk: Open) -> None:
    at = desk()
    at.collect("01234")
    at.button("Train in this browser").click()
    at.page.reload()
    at.says("5 drawings")
    at.button("Train in this browser").click()
    at.page.wait_for_selector(".measure")
    assert at.trouble == []


def test_a_browser_without_room_says_so_and_goes_on(desk: Open) -> None:
    full = "IDBObjectStore.prototype.put = () => { throw new DOMException('full', 'QuotaExceededError'); };"
    at = desk(script=full)
    at.collect("01")
    at.says("no room to keep your drawings")
    at.collect("234")
    at.says("5 drawings")
    at.button("Train in this browser").click()
    at.page.wait_for_selector(".measure")


def test_a_chain_that_began_anew_is_said(desk: Open, suite: Suite) -> None:
    at = desk(
        script=f"localStorage.getItem('seen') || localStorage.setItem('genesis {suite.chain_id}', '0x00'); localStorage.setItem('seen', 1)"
    )
    at.says("This chain began anew since your last visit.")
    at.page.reload()
    at.page.wait_for_selector(".card")
    assert at.page.get_by_text("began anew").count() == 0


def test_a_stranger_s_page_reaches_neither_page_nor_chain(browser: Browser, suite: Suite) -> None:
    context = context_of(browser, DESKTOP)
    page = context.new_page()
    page.route(
        "http://stranger.test/**",
        lambda route: route.fulfill(status=200, content_type="text/html", body="<h1>hello</h1>"),
    )
    page.goto("http://stranger.test/")
    attempt = """async ([url, body, type]) => {
      try {
        const reply = await fetch(url, { method: "POST", body, headers: { "Content-Type": type } });
        return [reply.type, reply.status, await reply.text()];
      } catch { return "refused"; }
    }"""
    body = json.dumps(
        {"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction", "params": [{"to": "0x" + "00" * 20}]}
    )
    head = httpx.post(
        suite.rpc_url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}
    ).json()["result"]
    for url in (
        suite.rpc_url,
        f"{suite.page}/rpc",
        f"{suite.page}/faucet",
        f"{suite.page}/linklearner.v1.ChainGatewayService/GetChain",
    ):
        for kind in ("application/json", "text/plain"):
            assert page.evaluate(attempt, [url, body, kind]) == "refused", url
    frame = page.evaluate(
        """url => new Promise(done => {
          const frame = document.createElement("iframe");
          frame.onload = () => done(frame.contentDocument === null ? "blank or foreign" : "ours");
          frame.src = url;
          document.body.append(frame);
        })""",
        suite.page,
    )
    assert frame == "blank or foreign"
    assert len(page.frames[-1].locator("#app").all()) == 0  # frame-ancestors 'none'
    now = httpx.post(suite.rpc_url, json={"jsonrpc": "2.0", "id": 1, "method": "eth_blockNumber", "params": []}).json()[
        "result"
    ]
    assert int(now, 16) - int(head, 16) <= 1  # the suite's own
    context.close()
