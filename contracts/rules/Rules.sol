// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";
import {Evidence} from "./Evidence.sol";
import {Mean} from "./Mean.sol";

/// @title The rules that this pool has: one row in each function. docs/recipes/rule.md says how to add one.
/// @dev `has` comes first, when a task is opened: the last row of the others answers for what it has let through. What a round may pay
/// at most, and the settler's part of it, is the same for all rules (TrainingPool); a rule divides the rest.
library Rules {
    /// @notice Whether tasks may go by this rule.
    function has(uint8 rule) internal pure returns (bool) {
        return rule == Mean.NUMBER || rule == Evidence.NUMBER;
    }

    /// @notice From when on the round may be settled, Unix seconds. `present`: S, of an update at least. `eligible`: Omega.
    function settleableAt(Terms memory terms, uint256 present, uint256 eligible, uint256 openedAt, uint256 firstAt)
        internal
        pure
        returns (uint256)
    {
        return Mean.settleableAt(terms, present, eligible, openedAt, firstAt);
    }

    /// @notice From when on the round may be dropped, Unix seconds. `since`: of the first accepted update, or of the opening.
    function droppableAt(Terms memory terms, uint256 since) internal pure returns (uint256) {
        return Mean.droppableAt(terms, since);
    }

    /// @notice What one update of the round earns of `shared`, wei; all of them together at most that. `counts`: e, or the positive gain of a
    /// merged update. `present`: S. `eligible`: Omega.
    function share(
        Terms memory terms,
        uint256 shared,
        uint256 weight,
        uint256 counts,
        uint256 present,
        uint256 eligible
    ) internal pure returns (uint256) {
        if (terms.rule == Evidence.NUMBER) return Evidence.share(shared, weight, counts, eligible);
        return Mean.share(shared, counts, present);
    }
}
