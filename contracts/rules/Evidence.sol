// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {MerkleProof} from "@openzeppelin/contracts/utils/cryptography/MerkleProof.sol";

import {BlockBounds, ShapeSize} from "../BlockBounds.sol";

/// The examples by which a task's updates are judged: committed before its weights are loaded, opened batch by batch.
struct ExampleSet {
    // One slot, which the Aspect reads (aspects/aggregator/pool.ts; tests hold both to solc's layout):
    uint32 batches; // in the set
    uint32 examples; // in the set, at most
    uint32 openedBatches;
    uint32 openedExamples;
    uint8 inputExponent; // k: an input x stands for x * 2^-k
    uint8 pay; // 0: by gain, at settlement; others are rows of EvidencePay
    bytes32 root; // of the batches' Merkle tree; 0: none committed
}

/// @title Rule `evidence`, the pool's half: phases, the examples' commitment, and pay by gain. Verdicts and merging are the Aspect's half
/// (aspects/aggregator/rules/evidence); all of it is in Python, too (linklearner.domain.rules.evidence).
/// @dev submit until `settleableAt` -> open from then until `droppableAt` -> settle. When a round may be settled or dropped is as with `mean`,
/// but that nobody submits any more once it may be settled: whoever opened the examples shows them to the mempool first.
library Evidence {
    uint8 internal constant NUMBER = 2;
    /// Bytes of an update's part of a settlement's verdict: gain 4 | record 4 | outcome 1
    uint256 internal constant VERDICT_BYTES = 9;
    /// Outcome of an update that was merged; others say why it was not.
    uint8 internal constant MERGED = 0;
    uint256 private constant GAIN_BITS = 16;

    /// @notice The leaf of a batch: hashed twice, so that no inner node of the tree is one.
    function leafOf(uint32 batch, bytes calldata examples) internal pure returns (bytes32) {
        return keccak256(bytes.concat(keccak256(abi.encodePacked(batch, examples))));
    }

    /// @notice Whether a batch is the one that the creator committed to at this place.
    function isCommitted(bytes32 root, uint32 batch, bytes calldata examples, bytes32[] calldata proof)
        internal
        pure
        returns (bool)
    {
        return MerkleProof.verifyCalldata(proof, root, leafOf(batch, examples));
    }

    /// @notice Whether the last round of the task, with all examples opened and as many updates as it takes, can be settled in a block.
    /// @param work gas of one example's forward pass, at most, by the Aspect.
    /// @dev One pass for each update, one for the base, three for the guard.
    function fits(uint256 updates, ShapeSize memory size, uint256 examples, uint256 work) internal pure returns (bool) {
        if (size.groups != 1) return false;
        uint256 data = BlockBounds.settleBytes(updates, size);
        uint256 gas = BlockBounds.settleGas(updates, size, data) + (updates + 4) * examples * work;
        // Judging writes a record for each account and reads the weights of each update three times more.
        gas += updates * (30_000 + 6 * uint256(size.groupWeights));
        return gas <= BlockBounds.GAS;
    }

    /// @notice What an update earns of `shared` by its gain, wei, rounded down; together at most half of it, since a gain is at most 2^15.
    function share(uint256 shared, uint256 weight, uint256 gain, uint256 eligible) internal pure returns (uint256) {
        return shared * weight * gain / (eligible << GAIN_BITS); // < 2^128 * 2^38 * 2^15
    }
}
