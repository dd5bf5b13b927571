// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title What solc's decoder makes of calldata for TrainingPool's dynamic functions: a hash over all that it saw, in order.
/// @dev Same signatures and structs as the pool, no rules: whatever decodes is answered, so that decoders can be compared on every byte string.
contract Arguments {
    struct Terms {
        uint8 rule;
        uint16 quorumBps;
        uint16 maxUpdates;
        uint32 minRoundSeconds;
        uint32 roundSeconds;
        uint32 dropSeconds;
        uint32 stakeSeconds;
        uint40 minStake;
        uint16 settlerBps;
        uint16 serverBps;
        uint128 reward;
    }

    struct Settlement {
        address contributor;
        uint64 weight;
        uint64 effective;
        bytes header;
        bytes32[] digests;
        bytes pages;
    }

    function openTask(uint64 task, bytes calldata shape, string calldata model, Terms calldata terms)
        external
        pure
        returns (bytes32)
    {
        return keccak256(abi.encode(task, keccak256(shape), keccak256(bytes(model)), terms));
    }

    function loadPages(uint64 task, uint32 firstPage, bytes calldata weights) external pure returns (bytes32) {
        return keccak256(abi.encode(task, firstPage, keccak256(weights)));
    }

    function submit(uint64 task, bytes32 digest, bytes calldata header, bytes[] calldata groups)
        external
        pure
        returns (bytes32 seen)
    {
        seen = keccak256(abi.encode(task, digest, keccak256(header), groups.length));
        for (uint256 i = 0; i < groups.length; i++) seen = keccak256(abi.encode(seen, keccak256(groups[i])));
    }

    function settle(uint64 task, uint64 round, uint32 group, Settlement[] calldata updates)
        external
        pure
        returns (bytes32 seen)
    {
        seen = keccak256(abi.encode(task, round, group, updates.length));
        for (uint256 i = 0; i < updates.length; i++) {
            Settlement calldata update = updates[i];
            seen = keccak256(abi.encode(seen, update.contributor, update.weight, update.effective));
            seen = keccak256(abi.encode(seen, keccak256(update.header), keccak256(update.pages), update.digests.length));
            bytes32[] calldata digests = update.digests;
            for (uint256 j = 0; j < digests.length; j++) seen = keccak256(abi.encode(seen, digests[j]));
        }
    }
}
