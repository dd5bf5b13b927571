// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title $LL: what contributors lock to have influence, and earn for accepted updates.
/// @notice An ERC-20 with permit. The pool that created it is the only one that can mint, and it mints only what settled rounds pay.
contract LinkLearnerToken is ERC20, ERC20Permit {
    /// The pool that created this token.
    address public immutable pool;

    error NotThePool(address caller);

    /// @param treasury receives the genesis supply, minted once, here.
    /// @param genesis in wei of $LL (10^18 a token).
    constructor(address treasury, uint256 genesis) ERC20("LinkLearner", "LL") ERC20Permit("LinkLearner") {
        pool = msg.sender;
        _mint(treasury, genesis);
    }

    /// @notice Mints what a round pays. Only the pool.
    function mint(address account, uint256 amount) external {
        if (msg.sender != pool) revert NotThePool(msg.sender);
        _mint(account, amount);
    }

    /// @notice The pool needs no approval: it moves tokens of nobody but its own caller, and only when that caller locks them.
    function allowance(address owner, address spender) public view override returns (uint256) {
        return spender == pool ? type(uint256).max : super.allowance(owner, spender);
    }
}
