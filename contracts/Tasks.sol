// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// The fixed terms of a task.
struct Terms {
    uint8 rule; // a row of rules/Rules.sol; 1: mean
    uint16 quorumBps; // accepted stake, 1/10000 of Omega, from which on a round may be settled once `minRoundSeconds` have passed
    uint16 maxUpdates; // accepted updates that a round takes
    uint32 minRoundSeconds; // that a round lasts at least
    uint32 roundSeconds; // from the first accepted update: then less stake is enough; also the time in which a round earns `reward`
    uint32 dropSeconds; // from the first accepted update, or the round's opening: then an unsettled round may be dropped
    uint32 stakeSeconds; // stake counts in rounds that open so long after it was locked, and is paid out so long after it was unlocked
    uint40 minStake; // units that must count for an account's update to be taken
    uint16 settlerBps; // the settler's share of what a round pays, 1/10000
    uint16 serverBps; // a model server's share of what its clients pay for inference, 1/10000, at most a half
    uint128 reward; // what a round of `roundSeconds` takes from the pot at most, wei
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

/// A settled round, handed in again to be paid or to be remembered: what the pool keeps a hash of, and its updates.
struct SettledRound {
    bytes32 before; // the digest of the version that it began with
    bytes32 digest; // of the one that it made
    uint256 shared; // wei set aside
    uint256 merged; // bit i: update i was merged
    uint64 round;
    uint64 eligible; // Omega, units
    uint32 batch; // of examples, that it opened
    uint32 settledAt; // Unix seconds
    bytes kept; // of a paid round: of each update how many owners, u8, and these; empty of one that is to be paid
    Settlement[] updates;
}
