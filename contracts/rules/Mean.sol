// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";

/// @title Rule `mean`, the pool's half: when a round may be settled or dropped, and what it pays. Verdicts and merging are the Aspect's half
/// (aspects/aggregator/rules/mean.ts); both are in Python, too (linklearner.domain.rules.mean).
library Mean {
    uint8 internal constant NUMBER = 1;
    uint256 private constant BPS = 10_000;

    /// @notice From when on the round may be settled, Unix seconds; 0: at once. `since`: of the first accepted update; there is one.
    function settleableAt(Terms storage terms, uint256 accepted, uint256 since) internal view returns (uint256) {
        return accepted < terms.quorum ? since + terms.roundSeconds : 0;
    }

    /// @notice From when on the round may be dropped, Unix seconds. `since`: of the first accepted update, or of the opening.
    function droppableAt(Terms storage terms, uint256 since) internal view returns (uint256) {
        return since + terms.dropSeconds;
    }

    /// @notice The settler's fee, wei.
    function fee(Terms memory terms) internal pure returns (uint256) {
        return terms.reward * terms.settlerBps / BPS;
    }

    /// @notice What an update of influence `weight` earns of `shared`, wei. Rounded down, and the divisor is at least the sum of all weights.
    /// `present`: S. `eligible`: Omega.
    function share(uint256 shared, uint256 weight, uint256 present, uint256 eligible) internal pure returns (uint256) {
        return shared * weight / (present > eligible / 4 ? present : eligible / 4); // < 2^128 * 2^38
    }
}
