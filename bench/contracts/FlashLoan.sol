// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// Lends what it has for the length of one call.
contract FlashLender {
    error NotRepaid(uint256 lent, uint256 missing);

    function lend(IERC20 token, FlashBorrower borrower, uint256 amount, FlashBorrower.Step[] calldata steps) external {
        uint256 before = token.balanceOf(address(this));
        token.transfer(address(borrower), amount);
        borrower.act(steps);
        uint256 left = token.balanceOf(address(this));
        if (left < before) revert NotRepaid(amount, before - left);
    }
}

/// Does what it is told to, and goes on after those refusals that it is told to catch.
contract FlashBorrower {
    struct Step {
        address target;
        bytes data;
        bool caught;
    }

    event Answered(uint256 step, bool done, bytes answer);

    function act(Step[] calldata steps) external {
        for (uint256 i = 0; i < steps.length; i++) {
            (bool done, bytes memory answer) = steps[i].target.call(steps[i].data);
            if (!done && !steps[i].caught) {
                assembly {
                    revert(add(answer, 32), mload(answer))
                }
            }
            emit Answered(i, done, answer);
        }
    }
}
