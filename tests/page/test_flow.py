"""A person's whole way, in a real browser against the real suite: with a wallet of one's own at a desk, without one on a phone."""

from __future__ import annotations

import json
import os
from typing import Any

import httpx
import pytest
from eth_account import Account

from linklearner.suite import Suite
from tests.page.browser import DESKTOP, PHONE, axe_script
from tests.page.conftest import Open
from tests.page.wallet import PythonWallet
from tools.stack.newcomer import Newcomer


def ask_gateway(suite: Suite, method: str, message: dict[str, Any]) -> dict[str, Any]:
    answer = httpx.post(f"{suite.page}/linklearner.v1.ChainGatewayService/{method}", json=message, timeout=20)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())


def events_of(suite: Suite, account: str) -> list[dict[str, Any]]:
    """Logs of the pool that name an account."""
    word = "0x" + account[2:].lower().rjust(64, "0")
    query = {"address": suite.pool, "fromBlock": "0x1", "toBlock": "latest", "topics": [None, None, None, word]}
    body = {"jsonrpc": "2.0", "id": 1, "method": "eth_getLogs", "params": [query]}
    return list(httpx.post(suite.rpc_url, json=body, timeout=20).json()["result"])


def test_with_a_wallet_from_a_drawing_to_an_answer(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    at = desk(DESKTOP, wallet=wallet)
    at.collect("01234")

    at.button("Python wallet").click()
    at.says("Your wallet is on network 1")
    at.button("Switch network").click()
    at.button("Get test money").wait_for()
    [added] = wallet.added
    assert (added["chainId"], added["rpcUrls"]) == (hex(suite.chain_id), [f"{suite.page}/rpc"])
    assert wallet.chain == suite.chain_id != 11820

    at.button("Get test money").click()
    at.button("Lock 100 $LL").click()
    at.button("Train in this browser").click()
    at.page.wait_for_selector(".measure")
    at.button("Submit your update").click()  # there as soon as the stake counts, which the suite's trainers see to
    at.says("Accepted in round")
    at.says("Your update is in version")
    at.says("you earned")

    submitted = wallet.sent[-1]
    assert submitted["to"].lower() == suite.pool.lower()
    assert set(submitted) == {"from", "to", "data", "gas", "value"}  # no price, no nonce: those are the wallet's
    names = [log["topics"][0] for log in events_of(suite, wallet.account.address)]
    assert len(names) == 2  # accepted, and paid

    at.button("Pay out").click()
    at.says("Your earnings are in your wallet.")
    at.draw("7")
    at.button("Sign in and ask").click()
    at.page.wait_for_selector(".verdict")
    at.says("the same weights that the chain has")
    [text] = wallet.texts
    assert text.startswith(f"{suite.page.removeprefix('http://')} wants you to sign in with your Ethereum account:\n")

    # on coming back everything is there, and the wallet is not asked to agree again
    asked = wallet.asked.count("eth_requestAccounts")
    at.page.reload()
    at.says("5 drawings")
    at.page.wait_for_selector("text=Stake here")
    assert wallet.asked.count("eth_requestAccounts") == asked

    at.open("#/task/1")
    at.page.reload()
    at.says("Accuracy by version")
    at.says("contributed to round")
    at.page.wait_for_selector(".chart .point")
    at.page.locator(".feed .block-link").first.click()
    at.page.get_by_role("heading", name="Block").wait_for()
    assert at.trouble == []
    assert {url.split("/")[2] for url in at.requests if not url.startswith("data:")} == {suite.page.split("/")[2]}


@pytest.mark.skipif(
    os.environ.get("PAGE_TESTS") != "all", reason="half a minute: run by PAGE_TESTS=all (make page-test)"
)
def test_without_a_wallet_on_a_phone(desk: Open, suite: Suite) -> None:
    at = desk(PHONE)
    assert at.overflow() <= 0
    at.collect("57012")
    at.button("Start with a practice wallet").click()
    at.button("Train in this browser").click()
    at.button("Submit your update").click()
    at.says("Your update is in version")
    at.draw("4")
    at.button("Sign in and ask").click()
    at.page.wait_for_selector(".verdict")
    assert at.overflow() <= 0
    at.open("#/task/1")
    at.page.wait_for_selector(".chart .point")
    assert at.overflow() <= 0
    assert at.trouble == []


def test_by_keys_alone(desk: Open) -> None:
    at = desk()
    keys = at.page.keyboard
    for _ in range(20):
        keys.press("Tab")
        if at.page.evaluate("document.activeElement?.id") == "paper":
            break
    for label in "17171":
        keys.press("Space")
        for key in ["ArrowRight"] * (3 if label == "7" else 0) + ["ArrowDown"] * 6:
            keys.press(key)
        keys.press("Space")
        keys.press(label)
    at.says("5 drawings")
    for _ in range(60):
        keys.press("Tab")
        if at.page.evaluate("document.activeElement?.textContent?.trim()") == "Train in this browser":
            break
    keys.press("Enter")
    at.page.wait_for_selector(".measure")
    assert at.trouble == []


def test_nothing_is_out_of_reach_for_anybody(desk: Open, wallet: PythonWallet) -> None:
    """axe on every screen, by day and by night, at a desk and on a phone: no violation at all."""
    script = axe_script()
    found: list[str] = []
    for device, scheme in ((DESKTOP, "light"), (PHONE, "dark")):
        at = desk(device, color_scheme=scheme, reduced_motion="reduce", script=script)
        screens = ["#/", "#/task/1", "#/block/1", "#/task/99"]
        for screen in screens:
            at.open(screen)
            if screen == "#/":
                at.collect("12")
                at.draw("3")
            at.page.wait_for_timeout(300)
            assert at.overflow() <= 0, screen
            violations = at.page.evaluate(
                "axe.run(document, { resultTypes: ['violations'] }).then(all => all.violations)"
            )
            found += [
                f"{scheme} {screen}: {one['id']} {node['html'][:120]}" for one in violations for node in one["nodes"]
            ]
            moving = at.page.evaluate("document.getAnimations().filter(one => one.playState === 'running').length")
            assert moving == 0, screen
    assert found == [], json.dumps(found, indent=1)


def test_a_changed_account_is_followed(desk: Open, suite: Suite, wallet: PythonWallet) -> None:
    wallet.chain = suite.chain_id
    at = desk(wallet=wallet)
    at.button("Python wallet").click()
    at.page.wait_for_selector("text=Stake here")
    assert at.page.locator(".step .person code").first.get_attribute("title") == wallet.account.address
    wallet.use(at.page, Account.create())
    at.page.wait_for_function(
        "address => [...document.querySelectorAll('.step .person code')].some(one => one.title === address)",
        arg=wallet.account.address,
    )
    wallet.chain = 5
    at.page.evaluate("walletSays('chainChanged', '0x5')")
    at.says("Your wallet is on network 5")


def test_the_newcomer_of_the_stack_trial_gets_what_a_browser_gets(suite: Suite) -> None:
    """In containers nobody here can try it; what `make stack-test` sends to the page's port is tried here on the suite's."""
    with Newcomer(suite.page) as newcomer:
        newcomer.arrives()
        newcomer.is_given_money()
        newcomer.locks_stake(suite.task)
        assert newcomer.signs_in()
        newcomer.is_refused()
