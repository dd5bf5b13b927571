// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @title $LL: what contributors lock to have influence, what tasks pay and what inference costs.
/// @notice An ERC-20 with permit and a supply that is bounded whatever tasks do: the genesis supply, and then at most
/// `emissionPerSecond` since deployment, up to `cap`. Nothing but the pool's owner granting emission to a task's pot makes new tokens.
contract LinkLearnerToken is ERC20, ERC20Permit {
    /// The pool that created this token: mints emission, for its tasks' pots.
    address public immutable pool;
    /// The pool's stake vault.
    address public immutable vault;
    /// Supply at most, wei.
    uint256 public immutable cap;
    /// Wei of $LL a second that may be emitted, from `emissionStart` on, whether it is asked for then or later.
    uint256 public immutable emissionPerSecond;
    /// Unix seconds.
    uint256 public immutable emissionStart;

    /// Wei emitted so far.
    uint256 public emitted;

    error NotThePool(address caller);
    error BeyondCap(uint256 asked, uint256 left);
    error BeyondEmission(uint256 asked, uint256 left);

    /// @param vault_ of the pool.
    /// @param treasury receives the genesis supply, minted once, here.
    /// @param genesis in wei of $LL (10^18 a token), at most `cap_`.
    constructor(address vault_, address treasury, uint256 genesis, uint256 cap_, uint256 emissionPerSecond_)
        ERC20("LinkLearner", "LL")
        ERC20Permit("LinkLearner")
    {
        if (genesis > cap_) revert BeyondCap(genesis, cap_);
        pool = msg.sender;
        // slither-disable-next-line missing-zero-check: the pool passes the vault that it has made
        vault = vault_;
        cap = cap_;
        emissionPerSecond = emissionPerSecond_;
        emissionStart = block.timestamp;
        _mint(treasury, genesis);
    }

    /// @notice What may be emitted now: what the schedule has released and nobody has asked for, and what the cap has room for. Wei.
    function emittable() public view returns (uint256) {
        // cap <= 2^96 (the pool sees to it), so seconds * cap cannot overflow; the schedule never releases more than the cap.
        uint256 released = emissionPerSecond * (block.timestamp - emissionStart);
        uint256 unasked = released > emitted ? released - emitted : 0;
        uint256 room = cap - totalSupply();
        return unasked < room ? unasked : room;
    }

    /// @notice Emits `amount` to the pool. Only the pool, for a grant of its owner.
    function emitToPool(uint256 amount) external {
        if (msg.sender != pool) revert NotThePool(msg.sender);
        uint256 left = emittable();
        if (amount > left) revert BeyondEmission(amount, left);
        // slither-disable-next-line events-maths: the token's Transfer from nobody tells
        emitted += amount;
        _mint(pool, amount);
    }

    /// @notice Pool and vault need no approval: they move tokens of nobody but their own caller, when that caller funds or locks them.
    function allowance(address owner, address spender) public view override returns (uint256) {
        return spender == pool || spender == vault ? type(uint256).max : super.allowance(owner, spender);
    }
}
