// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// Does what the bytes of its calldata say: 0xsv stores v in slot s; 0xfe calls itself with the remaining bytes and stops;
/// 0xff reverts everything of this frame.
contract Slots {
    fallback() external {
        assembly {
            for { let i := 0 } lt(i, calldatasize()) { i := add(i, 1) } {
                let code := byte(0, calldataload(i))
                if eq(code, 0xff) { revert(0, 0) }
                if eq(code, 0xfe) {
                    let size := sub(calldatasize(), add(i, 1))
                    calldatacopy(0, add(i, 1), size)
                    pop(call(gas(), address(), 0, 0, size, 0, 0))
                    stop()
                }
                sstore(shr(4, code), and(code, 15))
            }
        }
    }
}
