// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// What of a task's shape decides over the size of a settlement.
struct ShapeSize {
    uint32 pages;
    uint32 groups;
    uint32 groupPages; // of the largest group
    uint32 groupWeights; // of the largest group
    uint32 headerBytes; // of an update
    uint32 tensors;
}

/// @title Whether a full round of the densest updates can be settled, group by group, in one block each.
/// @dev A round that no block holds could neither be settled nor, once it is merged in part, be left. So it is not let in: a task takes no
/// more updates a round than this. The figures are the dearest that were measured, and a twentieth (linklearner.domain.capacity is the same
/// in Python; tests settle full rounds at the bound by real transactions).
library BlockBounds {
    /// Gas of a block, less a twentieth.
    uint256 internal constant GAS = 19_000_000;
    /// Bytes of a transaction (2^20), less what is around the calldata.
    uint256 internal constant CALLDATA = 1_040_000;

    function hold(uint256 updates, ShapeSize memory size) internal pure returns (bool) {
        uint256 data = settleBytes(updates, size);
        return data <= CALLDATA && settleGas(updates, size, data) <= GAS;
    }

    /// @notice Calldata of `settle` for the largest group, every update int8 and dense.
    function settleBytes(uint256 updates, ShapeSize memory size) internal pure returns (uint256) {
        // offset, 6 words of the struct, the lengths of header, digests and pages
        uint256 each = 10 * 32 + _padded(size.headerBytes) + 32 * uint256(size.groups) + _padded(size.groupWeights);
        return 4 + 5 * 32 + updates * each;
    }

    /// @notice Gas of that call if every byte counts 16 and every contributor is paid for the first time.
    function settleGas(uint256 updates, ShapeSize memory size, uint256 data) internal pure returns (uint256) {
        (uint256 pages, uint256 weights, uint256 tensors) = (size.groupPages, size.groupWeights, size.tensors);
        uint256 words = (_padded(size.headerBytes) + _padded(weights)) / 32 + size.groups + 40;
        // Transaction and pool; the Aspect for each update; the Aspect once.
        uint256 gas = 150_000 + 16 * data + updates * (32_000 + 10 * words) + 3 * words + words * words / 512;
        gas += updates * (100 + 30 * pages + 14 * tensors + 5 * weights / 4);
        return gas + 9 * tensors + pages * 6_600 + 322 * weights + 280 * uint256(size.pages);
    }

    function _padded(uint256 length) private pure returns (uint256) {
        return (length + 31) & ~uint256(31);
    }
}
