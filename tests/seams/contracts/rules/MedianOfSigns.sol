// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";

/// @title Rule `median_of_signs`, for tests: time alone ends a round, and those who took part share everything.
library MedianOfSigns {
    uint8 internal constant NUMBER = 2;

    function settleableAt(Terms storage terms, uint256, uint256 since) internal view returns (uint256) {
        return since + terms.roundSeconds;
    }

    function droppableAt(Terms storage terms, uint256 since) internal view returns (uint256) {
        return since + 2 * uint256(terms.dropSeconds);
    }

    function fee(Terms memory) internal pure returns (uint256) {
        return 0;
    }

    function share(uint256 shared, uint256 weight, uint256 present, uint256) internal pure returns (uint256) {
        return shared * weight / present;
    }
}
