// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title The identity of an update: keccak256(header | keccak256(group 0) | … | keccak256(group G-1)).
/// @dev The bytes stay in calldata but for one scratch copy that every hash overwrites: memory costs grow with its square, and a
///      transaction may carry a megabyte. The Aspect has checked that header and groups are those of the task's shape, so the
///      concatenation cannot be read in two ways.
library UpdateDigest {
    /// @notice The digest of an update whose groups are all at hand.
    function ofGroups(bytes calldata header, bytes[] calldata groups) internal pure returns (bytes32 digest) {
        (uint256 start, uint256 cursor) = _reserve(header, groups.length);
        for (uint256 i = 0; i < groups.length; i++) {
            bytes32 inner = ofBytes(groups[i]);
            assembly ("memory-safe") {
                mstore(cursor, inner)
            }
            cursor += 32;
        }
        return _release(start, cursor);
    }

    /// @notice The digest of an update from the digests of its groups.
    function ofDigests(bytes calldata header, bytes32[] calldata digests) internal pure returns (bytes32 digest) {
        (uint256 start, uint256 cursor) = _reserve(header, digests.length);
        assembly ("memory-safe") {
            calldatacopy(cursor, digests.offset, shl(5, digests.length))
            cursor := add(cursor, shl(5, digests.length))
        }
        return _release(start, cursor);
    }

    /// @notice keccak256 of calldata; the copy is not kept.
    function ofBytes(bytes calldata data) internal pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            calldatacopy(scratch, data.offset, data.length)
            digest := keccak256(scratch, data.length)
        }
    }

    /// Reserves memory for header and digests and copies the header there.
    function _reserve(bytes calldata header, uint256 digests) private pure returns (uint256 start, uint256 cursor) {
        assembly ("memory-safe") {
            start := mload(0x40)
            calldatacopy(start, header.offset, header.length)
            cursor := add(start, header.length)
            mstore(0x40, add(cursor, shl(5, digests)))
        }
    }

    /// Hashes what was reserved and gives the memory back: nothing else was allocated since.
    function _release(uint256 start, uint256 end) private pure returns (bytes32 digest) {
        assembly ("memory-safe") {
            digest := keccak256(start, sub(end, start))
            mstore(0x40, start)
        }
    }
}
