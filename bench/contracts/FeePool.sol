// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

/// What InferenceEscrow sees of a training pool (contracts/interfaces/ITrainingPool.sol), without training: for tests of the escrow alone.
/// It shares fees as the true one does, so that what a redemption costs is about right.
contract FeePool {
    struct Task {
        uint16 serverBps;
        bool closed;
        uint256 shares;
        uint256 stake;
        uint256 perShare;
        uint256 perStake;
        uint256 pot;
    }

    IERC20 public immutable token;
    uint64 public nextTask = 1;
    mapping(uint64 => Task) public tasks;

    event FeesShared(uint64 indexed task, uint256 toContributors, uint256 toStake, uint256 toPot);

    error UnknownTask(uint64 task);

    constructor(IERC20 token_) {
        token = token_;
    }

    function openTask(uint16 serverBps) external {
        tasks[nextTask++].serverBps = serverBps;
    }

    function closeTask(uint64 task) external {
        tasks[task].closed = true;
    }

    function setTotals(uint64 task, uint256 shares, uint256 stake) external {
        (tasks[task].shares, tasks[task].stake) = (shares, stake);
    }

    function serverBpsOf(uint64 task) external view returns (uint16) {
        return _known(task).serverBps;
    }

    function shareFees(uint64 task, uint256 amount) external {
        Task storage t = _known(task);
        token.transferFrom(msg.sender, address(this), amount);
        uint256 toStake = amount / 2;
        uint256 toContributors = amount - toStake;
        uint256 toPot = 0;
        if (t.stake != 0) t.perStake += (toStake << 128) / t.stake;
        else (toPot, toStake) = (toStake, 0);
        if (t.shares != 0) t.perShare += (toContributors << 128) / t.shares;
        else (toPot, toContributors) = (toPot + toContributors, 0);
        if (toPot != 0) t.pot += toPot;
        emit FeesShared(task, toContributors, toStake, toPot);
    }

    function _known(uint64 task) private view returns (Task storage) {
        if (task == 0 || task >= nextTask) revert UnknownTask(task);
        return tasks[task];
    }
}
