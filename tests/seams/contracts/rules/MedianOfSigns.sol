// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";

/// @title Rule `median_of_signs`, for tests: time alone ends a round, and influence is paid whatever the update's length.
library MedianOfSigns {
    uint8 internal constant NUMBER = 200;

    function settleableAt(Terms memory terms, uint256 firstAt) internal pure returns (uint256) {
        return firstAt + terms.roundSeconds;
    }

    function droppableAt(Terms memory terms, uint256 since) internal pure returns (uint256) {
        return since + 2 * uint256(terms.dropSeconds);
    }

    function share(uint256 shared, uint256 weight, uint256 present) internal pure returns (uint256) {
        return shared * weight / present;
    }
}
