// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";

/// @title Rule `mean`, the pool's half: when a round may be settled or dropped, and how its pay is divided. Verdicts and merging are the
/// Aspect's half (aspects/aggregator/rules/mean.ts); both are in Python, too (linklearner.domain.rules.mean).
library Mean {
    uint8 internal constant NUMBER = 1;
    uint256 private constant BPS = 10_000;

    /// @notice From when on the round may be settled, Unix seconds. `present`: S, of an update at least. `eligible`: Omega.
    /// @dev Stake decides, not heads: accounts cost nothing. Nobody settles in the block of the opening, so that everybody can come.
    function settleableAt(Terms memory terms, uint256 present, uint256 eligible, uint256 openedAt, uint256 firstAt)
        internal
        pure
        returns (uint256)
    {
        uint256 least = openedAt + terms.minRoundSeconds;
        if (present * BPS >= terms.quorumBps * eligible) return least;
        uint256 over = firstAt + terms.roundSeconds;
        return over > least ? over : least;
    }

    /// @notice From when on the round may be dropped, Unix seconds. `since`: of the first accepted update, or of the opening.
    function droppableAt(Terms memory terms, uint256 since) internal pure returns (uint256) {
        return since + terms.dropSeconds;
    }

    /// @notice What an update earns of `shared`, wei. Rounded down; together at most `shared`, since no `effective` is above its weight and
    /// `present` is the sum of all weights. What over-long updates do not earn stays in the pot.
    function share(uint256 shared, uint256 effective, uint256 present) internal pure returns (uint256) {
        return shared * effective / present; // < 2^128 * 2^40
    }
}
