// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// An account that is a contract: does whatever anybody says, and signs (EIP-1271) in the way it was set to.
contract Wallet {
    enum Manner {
        Signs, // what its owner has signed
        Refuses,
        Burns, // all gas that it gets
        Reverts,
        Mumbles // answers with less than a word
    }

    address public immutable owner;
    Manner public manner;

    constructor(address owner_) {
        owner = owner_;
    }

    function behave(Manner manner_) external {
        manner = manner_;
    }

    function execute(address target, bytes calldata data) external {
        (bool done, bytes memory answer) = target.call(data);
        if (!done) {
            assembly {
                revert(add(answer, 32), mload(answer))
            }
        }
    }

    function isValidSignature(bytes32 digest, bytes calldata signature) external view returns (bytes4) {
        if (manner == Manner.Refuses) return 0xffffffff;
        if (manner == Manner.Reverts) revert("no");
        if (manner == Manner.Burns) while (true) {}
        if (manner == Manner.Mumbles) {
            assembly {
                mstore(0, shl(224, 0x1626ba7e))
                return(0, 4)
            }
        }
        // One byte in front of the key's signature, so that it is no signature of a key.
        bytes32 r = bytes32(signature[1:33]);
        bytes32 s = bytes32(signature[33:65]);
        return ecrecover(digest, uint8(signature[65]), r, s) == owner ? bytes4(0x1626ba7e) : bytes4(0xffffffff);
    }
}
