"""py-evm, and nothing else of it than its instruction set: this package and the loop beside it (`interpreter`) know the library, no other.

Frames, value transfer, code deposit and errors follow go-ethereum as Artela runs it: the Cancun jump table without blobs and
without EIP-6780, no EIP-3860, no point evaluation precompile, London refunds. What an Artela EVM does besides (join points
around calls, the context precompiles) comes in through `Hooks`.
"""

from devchain.chain.evm.computation import PRECOMPILES
from devchain.chain.evm.errors import REVERTED, revert_reason
from devchain.chain.evm.evm import Evm
from devchain.chain.evm.hooks import Frame, HookFailure, Hooks
from devchain.chain.evm.messages import contract_address
from devchain.chain.evm.opcodes import MAX_INIT_CODE_SIZE, MNEMONICS
from devchain.chain.evm.values import BlockContext, EventLog, Execution

__all__ = [
    "MAX_INIT_CODE_SIZE",
    "MNEMONICS",
    "PRECOMPILES",
    "REVERTED",
    "BlockContext",
    "EventLog",
    "Evm",
    "Execution",
    "Frame",
    "HookFailure",
    "Hooks",
    "contract_address",
    "revert_reason",
]
