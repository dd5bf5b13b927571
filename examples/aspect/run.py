"""Deploys a vault and its circuit breaker, binds the two, and is stopped. Usage: python run.py URL KEYFILE"""

import json
import sys
from pathlib import Path

from web3 import Web3
from web3.exceptions import ContractLogicError
from web3.middleware import SignAndSendRawMiddlewareBuilder

web3, here = Web3(Web3.HTTPProvider(sys.argv[1])), Path(__file__).parent
me = web3.eth.account.from_key(next(iter(json.loads(Path(sys.argv[2]).read_text()).values())))
web3.eth.default_account = me.address
web3.middleware_onion.inject(SignAndSendRawMiddlewareBuilder.build(me), layer=0)


def send(call, **fields):
    return web3.eth.wait_for_transaction_receipt(call.transact(fields), poll_latency=0.05)


vault = web3.eth.contract(**json.loads((here / "vault.json").read_text()))
vault = web3.eth.contract(send(vault.constructor())["contractAddress"], abi=vault.abi)
system = json.loads((here / "system_contract.json").read_text())
artela = web3.eth.contract("0x0000000000000000000000000000000000A27E14", abi=system)

finney = 10**15
settings = {
    "owner": bytes.fromhex(me.address[2:]),
    "limit": finney.to_bytes(8, "big"),
    "window": (100).to_bytes(8, "big"),
}
code, pre_contract_call = (here / "breaker.wasm").read_bytes(), 4
deploy = artela.functions.deploy(code, b"", list(settings.items()), me.address, b"", pre_contract_call)
aspect = send(deploy)["contractAddress"]
send(artela.functions.bind(aspect, 0, vault.address, 0))

send(vault.functions.deposit(), value=10 * finney)
print("withdrawn:", send(vault.functions.withdraw(finney // 4 * 3))["status"] == 1)
left = artela.functions.entrypoint(aspect, bytes.fromhex(vault.address[2:])).call()
print("may still leave:", int.from_bytes(left, "big"), "wei")
try:
    vault.functions.withdraw(finney // 2).call()
except ContractLogicError as stopped:
    print("stopped:", stopped.message)
