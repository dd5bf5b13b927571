"""Gas of paid inference: `python -m bench.gas.escrow`. Over the true pool; its task has shares and stake."""

from __future__ import annotations

from bench.escrow import CLIENTS, TOKEN, EscrowChain, TruePool
from bench.pool import account
from linklearner import artifacts

SERVER = CLIENTS + 1


def measured() -> dict[str, int]:
    """Gas by what is done; channels and accumulators were used before, as they mostly are."""
    chain = EscrowChain.deployed(TruePool(earned=True))
    gas = {"deposit, first": chain.deposit(1, SERVER, 10**18).gas_used}
    gas["deposit, again"] = chain.deposit(1, SERVER, 10**18).gas_used
    for client in range(2, CLIENTS + 1):
        chain.deposit(client, SERVER, 10**18)
    gas["redeem 1, first"] = chain.redeem(SERVER, [chain.voucher(1, SERVER, 10**15)]).gas_used
    gas["redeem 1"] = chain.redeem(SERVER, [chain.voucher(1, SERVER, 2 * 10**15)]).gas_used
    gas["redeem 10"] = _ten(chain)
    return gas


def _ten(chain: EscrowChain) -> int:
    """Ten clients' vouchers of one task, none of them their first."""
    clients = [*range(1, CLIENTS + 1), CLIENTS + 3, CLIENTS + 4]
    for client in clients[CLIENTS:]:
        chain.approve(account(client))
        _give(chain, client)
        chain.deposit(client, SERVER, 10**18)
    chain.redeem(SERVER, [chain.voucher(client, SERVER, 3 * 10**15) for client in clients])
    return chain.redeem(SERVER, [chain.voucher(client, SERVER, 4 * 10**15) for client in clients]).gas_used


def _give(chain: EscrowChain, client: int) -> None:
    chain.world.send(account(0), chain.world.token, TOKEN.encode_call("transfer", account(client).address, 10**18))


def main() -> None:
    for what, gas in measured().items():
        print(f"{what:18}{gas:>10,} gas")
    print(f"{'code':18}{len(artifacts.contract('InferenceEscrow').deployed_bytecode):>10,} bytes")


if __name__ == "__main__":
    main()
