// SPDX-License-Identifier: MIT
pragma solidity ^0.8.24;

/// Keeps ether for its depositors. No limit is in here: that is the Aspect's.
contract Vault {
    mapping(address => uint256) public balanceOf;
    address private immutable owner = msg.sender;

    /// Artela asks this before it binds an Aspect to the contract.
    function isOwner(address account) external view returns (bool) {
        return account == owner;
    }

    function deposit() external payable {
        balanceOf[msg.sender] += msg.value;
    }

    function withdraw(uint256 amount) external {
        balanceOf[msg.sender] -= amount;
        (bool done,) = msg.sender.call{value: amount}("");
        require(done, "the receiver refused");
    }
}
