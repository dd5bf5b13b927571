// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// $LL as InferenceEscrow sees it; of any supply, and nobody moves anything without an allowance.
contract PlainToken is ERC20, ERC20Permit {
    constructor(address treasury, uint256 supply) ERC20("LinkLearner", "LL") ERC20Permit("LinkLearner") {
        _mint(treasury, supply);
    }
}

/// A token that LinkLearner's is not: while it moves, it calls whom it was told to, as a hook would.
contract HookedToken is PlainToken {
    address private _target;
    bytes private _data;

    constructor(address treasury, uint256 supply) PlainToken(treasury, supply) {}

    function arm(address target, bytes calldata data) external {
        (_target, _data) = (target, data);
    }

    function _update(address from, address to, uint256 amount) internal override {
        super._update(from, to, amount);
        address target = _target;
        if (target != address(0)) {
            _target = address(0); // once
            (bool done,) = target.call(_data);
            done;
        }
    }
}
