// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

/// @title What InferenceEscrow needs of TrainingPool, and nothing more.
interface ITrainingPool {
    error UnknownTask(uint64 task);

    /// @notice The $LL token: plain ERC-20 with permit, without hooks or fees on transfers.
    function token() external view returns (address);

    /// @notice A model server's share of what its clients pay, 1/10000, at most 5,000; fixed with the task. Reverts with UnknownTask.
    function serverBpsOf(uint64 task) external view returns (uint16);

    /// @notice Takes `amount` of the caller's $LL (wei) by transferFrom and shares it among those whom a task owes it. Never reverts for a
    /// task that exists, not for a closed one either.
    function shareFees(uint64 task, uint256 amount) external;
}
