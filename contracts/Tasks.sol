// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// The fixed terms of a task.
struct Terms {
    uint8 rule; // a row of rules/Rules.sol; 1: mean
    uint16 quorum; // accepted updates after which a round may be settled at once
    uint16 maxUpdates; // accepted updates that a round takes
    uint32 roundSeconds; // from the first accepted update: then fewer are enough
    uint32 dropSeconds; // from the first accepted update, or the round's opening: then an unsettled round may be dropped
    uint64 minStake; // units that must count for an account's update to be taken
    uint16 settlerBps; // the settler's share of the reward, 1/10000
    uint256 reward; // what a settled round mints at most, wei
}

/// One accepted update, handed in again to settle one group of pages.
struct Settlement {
    address contributor;
    uint64 weight; // omega
    uint64 effective; // e
    bytes header;
    bytes32[] digests; // of all groups
    bytes pages; // of the group being settled
}
