"""The page's containers: who holds which right. `tests/page/test_flow.py` sends the stack trial's newcomer to a suite."""

from pathlib import Path
from typing import Any

import yaml
from eth_account import Account

from linklearner.domain.notation import address
from linklearner.keyfile import decrypted
from linklearner.rpc.access import Credential, Role
from tools.stack.engine import BUILD
from tools.stack.settings import ROOT, StackSettings

SERVICES: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]


def secrets_of(service: str) -> set[str]:
    return {one if isinstance(one, str) else one["source"] for one in SERVICES[service].get("secrets", [])}


def test_only_the_page_s_own_gateway_holds_the_faucet_s_key_and_only_on_a_devchain() -> None:
    holders = {name for name in SERVICES if "faucet-password" in secrets_of(name)}
    assert holders == {"gateway-page"}
    spenders = {name for name in SERVICES if "faucet" in secrets_of(name)}
    assert spenders == {"gateway-page", "page"}
    assert all(SERVICES[name]["profiles"] == ["devchain"] for name in (*spenders, "deploy"))
    assert "faucet-key" not in secrets_of("deploy-artela")
    assert not any(one.startswith(("contributor", "operator", "trainer")) for one in secrets_of("gateway-page"))
    assert secrets_of("page-artela") == {"reader"}
    assert "LINKLEARNER_PAGE_FAUCET" not in SERVICES["page-artela"]["environment"]


def test_each_profile_has_one_page_on_the_same_port_and_both_differ_in_their_rights_alone() -> None:
    page, artela = SERVICES["page"], SERVICES["page-artela"]
    for key in page.keys() | artela.keys():
        if key not in ("profiles", "environment", "depends_on", "secrets"):
            assert page[key] == artela[key], key
    assert {
        profile: tuple(
            name for name in names if not SERVICES[name].get("profiles") or profile in SERVICES[name]["profiles"]
        )
        for profile, names in BUILD.items()
    } == BUILD
    images = {SERVICES[name]["image"] for name in BUILD["devchain"]}
    assert images == {one["image"] for one in SERVICES.values()}


def test_the_faucet_is_an_account_of_its_own_made_once(tmp_path: Path) -> None:
    settings = StackSettings.read({"PATH": "/usr/bin", "STACK_HOME": str(tmp_path)})
    settings.make_secrets()
    folder = tmp_path / "secrets"

    def made() -> tuple[bytes, Credential]:
        key = decrypted((folder / "faucet-key").read_text(), (folder / "faucet-password").read_text().strip(), "key")
        return address(key.address), Credential.read(folder / "faucet")

    account, credential = made()
    assert (credential.caller.role, credential.caller.account) == (Role.SPEND, account)
    settings.make_secrets()
    assert made() == (account, credential)
    (folder / "faucet-password").unlink()
    settings.make_secrets()
    other, bound = made()
    assert other != account
    assert bound.caller.account == other


def test_on_a_real_chain_there_is_nothing_to_give(tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text(Account.create().key.hex())
    artela = {"COMPOSE_PROFILES": "artela", "RPC_URL": "http://node:8545", "KEY_FILE": str(key)}
    StackSettings.read({"PATH": "/usr/bin", "STACK_HOME": str(tmp_path / "home"), **artela}).make_secrets()
    assert not list((tmp_path / "home" / "secrets").glob("faucet*"))
