// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";
import {Mean} from "./Mean.sol";
import {MedianOfSigns} from "./MedianOfSigns.sol";

/// @title The rules that this pool has: one row in each function. docs/recipes/rule.md says how to add one.
/// @dev `has` comes first, when a task is opened: the last row of the others answers for what it has let through.
library Rules {
    /// @notice Whether tasks may go by this rule.
    function has(uint8 rule) internal pure returns (bool) {
        return rule == Mean.NUMBER || rule == MedianOfSigns.NUMBER;
    }

    /// @notice From when on the round may be settled, Unix seconds; 0: at once.
    function settleableAt(Terms storage terms, uint256 accepted, uint256 since) internal view returns (uint256) {
        if (terms.rule == MedianOfSigns.NUMBER) return MedianOfSigns.settleableAt(terms, accepted, since);
        return Mean.settleableAt(terms, accepted, since);
    }

    /// @notice From when on the round may be dropped, Unix seconds.
    function droppableAt(Terms storage terms, uint256 since) internal view returns (uint256) {
        if (terms.rule == MedianOfSigns.NUMBER) return MedianOfSigns.droppableAt(terms, since);
        return Mean.droppableAt(terms, since);
    }

    /// @notice The settler's fee, wei.
    function fee(Terms memory terms) internal pure returns (uint256) {
        if (terms.rule == MedianOfSigns.NUMBER) return MedianOfSigns.fee(terms);
        return Mean.fee(terms);
    }

    /// @notice What one update of the round earns of `shared`, the reward without the fee, wei; all of them together at most that.
    /// `present`: S. `eligible`: Omega.
    function share(Terms memory terms, uint256 shared, uint256 weight, uint256 present, uint256 eligible)
        internal
        pure
        returns (uint256)
    {
        if (terms.rule == MedianOfSigns.NUMBER) return MedianOfSigns.share(shared, weight, present, eligible);
        return Mean.share(shared, weight, present, eligible);
    }
}
