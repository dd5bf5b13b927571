"""A newcomer at the page's port, as far as that takes no browser: what a browser is served, given, and refused."""

import base64
import time
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount

from linklearner.chain.contracts import VAULT
from linklearner.domain import gas
from linklearner.domain.notation import address
from tools.stack.settings import Trouble

PATIENCE_S = 60.0
PAUSE_S = 0.2
LOCKED_UNITS = 100_000
GATEWAY, SESSIONS = "linklearner.v1.ChainGatewayService", "linklearner.v1.SessionService"


class Newcomer:
    """A fresh account at a page, http://host:port. Its methods raise Trouble for what does not come as it should."""

    def __init__(self, page: str) -> None:
        self.page = page
        self.account: LocalAccount = Account.create()
        self._http = httpx.Client(base_url=page, timeout=PATIENCE_S, trust_env=False)

    def __enter__(self) -> "Newcomer":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def arrives(self) -> None:
        """The document, and each file that it names."""
        document = self._http.get("/")
        files = [part.split('"')[0] for part in document.text.split('src="')[1:] + document.text.split('href="')[1:]]
        for file in ("", *files):
            answer = self._http.get(f"/{file}")
            if answer.status_code != 200 or "default-src 'none'" not in answer.headers["Content-Security-Policy"]:
                raise Trouble(f"the page answers {answer.status_code} for {file or 'its document'}")
        if len(files) < 3:
            raise Trouble(f"the page's document names {files}")

    def is_given_money(self) -> None:
        """By the faucet, once: what comes is what the page promised."""
        promised = self._http.get("/page.json").json()["faucet"]
        if promised is None:
            raise Trouble("the page has no faucet")
        for gift in (promised, {"coinWei": "0", "tokenWei": "0"}):
            given = self._http.post("/faucet", json={"account": self.account.address})
            if given.status_code != 200 or given.json() != gift:
                raise Trouble(f"the faucet gives {given.status_code} {given.text[:300]} where {gift} is due")
        if int(self._rpc("eth_getBalance", self.account.address, "latest"), 16) != int(promised["coinWei"]):
            raise Trouble("the faucet's coin has not come")

    def has_no_faucet(self) -> None:
        """Where money is worth something."""
        asked = self._http.post("/faucet", json={"account": self.account.address}).status_code
        if (self._http.get("/page.json").json()["faucet"], asked) != (None, 501):
            raise Trouble(f"the page has a faucet, which answers {asked}")

    def locks_stake(self, task: int) -> None:
        """By a transaction of its own through /rpc, as a wallet sends it."""
        vault = base64.b64decode(self._ask(f"{GATEWAY}/GetChain", {})["vault"])
        transaction = {
            "to": vault, "data": VAULT.encode_call("lock", task, LOCKED_UNITS), "gas": gas.FIRST_LOCK, "value": 0, "nonce": 0,
            "gasPrice": 2 * int(self._rpc("eth_gasPrice"), 16), "chainId": int(self._rpc("eth_chainId"), 16),
        }  # fmt: skip
        signed = bytes(self.account.sign_transaction(transaction).raw_transaction)
        hash_ = self._rpc("eth_sendRawTransaction", "0x" + signed.hex())
        end = time.monotonic() + PATIENCE_S
        while (receipt := self._rpc("eth_getTransactionReceipt", hash_)) is None:
            if time.monotonic() > end:
                raise Trouble(f"the newcomer's lock {hash_} is in no block after {PATIENCE_S:.0f} s")
            time.sleep(PAUSE_S)
        if int(receipt["status"], 16) != 1:
            raise Trouble(f"the newcomer's lock {hash_} failed")
        asked = {"account": base64.b64encode(address(self.account.address)).decode(), "task": str(task)}
        stake = self._ask(f"{GATEWAY}/GetBalance", asked)["stake"]
        if stake["lockedUnits"] != str(LOCKED_UNITS):
            raise Trouble(f"the newcomer's stake is {stake}")

    def signs_in(self) -> str:
        """At the model server, whose text names the page. Returns the session's token."""
        me = base64.b64encode(address(self.account.address)).decode()
        nonce = base64.b64encode(bytes(16)).decode()
        text = self._ask(f"{SESSIONS}/CreateChallenge", {"address": me, "nonce": nonce, "origin": self.page})["message"]
        if not text.startswith(f"{self.page.removeprefix('http://')} wants you to sign in"):
            raise Trouble(f"the sign-in names another page: {text[:100]}")
        signature = bytes(self.account.sign_message(encode_defunct(text=text)).signature)
        opened = {"message": text, "signature": base64.b64encode(signature).decode()}
        return str(self._ask(f"{SESSIONS}/OpenSession", opened)["token"])

    def is_refused(self) -> None:
        """What a page is not for: the gateway's money, the chain's own accounts, other pages, a name that points here."""
        transfer = f"/{GATEWAY}/Transfer"
        other = {"Origin": "http://stranger.example"}
        rebound = {"Host": "stranger.example"}
        sends: dict[str, Any] = {"jsonrpc": "2.0", "id": 1, "method": "eth_sendTransaction", "params": [{}]}
        for what, answer, wanted in (
            ("a transfer", self._http.post(transfer, json={}), 501),
            ("another page's call", self._http.post("/rpc", json=sends, headers=other), 403),
            ("another page's wish", self._http.post("/faucet", json={"account": "0x" + "11" * 20}, headers=other), 403),
            ("a name that points here", self._http.get("/", headers=rebound), 403),
        ):
            if answer.status_code != wanted:
                raise Trouble(f"the page answers {what} with {answer.status_code}, not {wanted}")
        if self._http.post("/rpc", json=sends).json()["error"]["code"] != -32601:
            raise Trouble("/rpc sends transactions of the node's own accounts")

    def _ask(self, method: str, message: dict[str, Any]) -> dict[str, Any]:
        answer = self._http.post(f"/{method}", json=message)
        if answer.status_code != 200:
            raise Trouble(f"{method} is answered {answer.status_code} {answer.text[:300]}")
        return dict(answer.json())

    def _rpc(self, method: str, *params: Any) -> Any:
        answer = self._http.post("/rpc", json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}).json()
        if "error" in answer:
            raise Trouble(f"{method} by way of the page: {answer['error']}")
        return answer["result"]
