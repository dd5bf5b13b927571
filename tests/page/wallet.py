"""A browser wallet whose key is here: announced by EIP-6963, asked through playwright, signing with eth_account.

What a person would do is a field: decline, be on another network, change the account.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx
from eth_account import Account
from eth_account.messages import encode_defunct
from eth_account.signers.local import LocalAccount
from playwright.sync_api import BrowserContext, Page

SCRIPT = """
(() => {
  const listeners = {};
  const provider = {
    async request({ method, params }) {
      const answer = JSON.parse(await window.askPython(JSON.stringify({ method, params: params ?? [] })));
      if (answer.error) throw Object.assign(new Error(answer.error.message), answer.error);
      for (const [event, value] of answer.events ?? []) (listeners[event] ?? []).forEach((listener) => listener(value));
      return answer.result;
    },
    on(event, listener) { (listeners[event] ??= []).push(listener); },
    removeListener(event, listener) { listeners[event] = (listeners[event] ?? []).filter((one) => one !== listener); },
  };
  window.walletSays = (event, value) => (listeners[event] ?? []).forEach((listener) => listener(value));
  const detail = Object.freeze({ info: { uuid: "b1e3c6d0-0000-4000-8000-000000000001", name: "Python wallet", icon: "data:image/svg+xml,%3Csvg xmlns='http://www.w3.org/2000/svg'/%3E", rdns: "test.python" }, provider });
  const announce = () => window.dispatchEvent(new CustomEvent("eip6963:announceProvider", { detail }));
  window.addEventListener("eip6963:requestProvider", announce);
  announce();
})();
"""  # noqa: E501


class Declined(Exception):
    """EIP-1193's errors. code: theirs."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


@dataclass
class PythonWallet:
    """url: of the chain. knows: networks, by number; chain: the one it is on. declines: methods that its owner says no to. hesitates:
    what happens, once, while its owner reads what the next transaction does.
    """

    url: str
    account: LocalAccount = field(default_factory=Account.create)
    chain: int = 1
    knows: set[int] = field(default_factory=lambda: {1})
    declines: set[str] = field(default_factory=set)
    hesitates: Callable[[], object] | None = None
    asked: list[str] = field(default_factory=list)
    sent: list[dict[str, Any]] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    added: list[dict[str, Any]] = field(default_factory=list)

    def install(self, context: BrowserContext) -> None:
        context.expose_binding("askPython", lambda source, text: self._answer(text))
        context.add_init_script(SCRIPT)

    def use(self, page: Page, account: LocalAccount) -> None:
        """Its owner changes to another account."""
        self.account = account
        page.evaluate("address => walletSays('accountsChanged', [address])", account.address)

    def rpc(self, method: str, *params: Any) -> Any:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        answer = httpx.post(self.url, json=body, timeout=20).json()
        if "error" in answer:
            raise Declined(answer["error"]["code"], json.dumps(answer["error"]))
        return answer["result"]

    def _answer(self, text: str) -> str:
        asked = json.loads(text)
        method, params = asked["method"], asked["params"]
        self.asked.append(method)
        events: list[list[Any]] = []
        try:
            if method in self.declines:
                raise Declined(4001, "User rejected the request.")
            match method:
                case "eth_requestAccounts" | "eth_accounts":
                    result: Any = [self.account.address]
                case "eth_chainId":
                    result = hex(self.chain)
                case "wallet_switchEthereumChain":
                    wanted = int(params[0]["chainId"], 16)
                    if wanted not in self.knows:
                        raise Declined(4902, "Unrecognized chain ID")
                    self.chain, result = wanted, None
                    events.append(["chainChanged", hex(wanted)])
                case "wallet_addEthereumChain":
                    self.added.append(params[0])
                    self.knows.add(int(params[0]["chainId"], 16))
                    result = None
                case "personal_sign":
                    words = bytes.fromhex(params[0][2:]).decode()
                    self.texts.append(words)
                    result = "0x" + bytes(self.account.sign_message(encode_defunct(text=words)).signature).hex()
                case "eth_sendTransaction":
                    result = self._send(params[0])
                case _:
                    result = self.rpc(method, *params)
        except Declined as error:
            return json.dumps({"error": {"code": error.code, "message": str(error)}})
        return json.dumps({"result": result, "events": events})

    def _send(self, call: dict[str, Any]) -> str:
        self.sent.append(call)
        if self.hesitates is not None:
            meanwhile, self.hesitates = self.hesitates, None
            meanwhile()
        transaction = {
            "to": bytes.fromhex(call["to"][2:]),
            "data": call["data"],
            "gas": int(call["gas"], 16),
            "value": int(call.get("value", "0x0"), 16),
            "gasPrice": 2 * int(self.rpc("eth_gasPrice"), 16),
            "nonce": int(self.rpc("eth_getTransactionCount", self.account.address, "pending"), 16),
            "chainId": self.chain,
        }
        raw = self.account.sign_transaction(transaction).raw_transaction
        return str(self.rpc("eth_sendRawTransaction", "0x" + bytes(raw).hex()))
