// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Terms} from "../Tasks.sol";
import {Evidence, ExampleSet} from "./Evidence.sol";
import {EvidencePay} from "./EvidencePay.sol";
import {Rules} from "./Rules.sol";

/// @title Rule `evidence`, the calls that no other rule needs. The pool delegates to this contract whatever it has no function for
/// (TrainingPool.fallback), because the code of all would not fit one contract: this code works on the pool's storage and money, its events
/// are the pool's, and the Aspect sees the call to the pool before. Called by itself it has no tasks, and no call gets anywhere.
contract EvidenceRoom is EvidencePay {
    uint256 private constant SET_BYTES = 40; // as OPENED | gas of an example's forward pass 8
    uint256 private constant BATCH_BYTES = 16; // task 8 | batch 4 | examples 4

    event ExamplesCommitted(uint64 indexed task, bytes32 root, uint32 batches, uint32 examples, uint8 inputExponent);
    event ExamplesOpened(uint64 indexed task, uint64 indexed round, uint32 batch);

    error WrongExamples(uint32 batch);
    error ExamplesOpen(uint64 round);

    /// @notice Commits to the examples by which the task's updates will be judged (rule `evidence`). Once, before the last page is loaded.
    /// @param root of the Merkle tree over the batches (Evidence.leafOf), one of which each round opens, in order.
    /// @param examples in all batches together, at most.
    /// @param inputExponent k: an input x stands for x * 2^-k.
    function commitExamples(uint64 task, bytes32 root, uint32 batches, uint32 examples, uint8 inputExponent)
        external
        onlyCreator(task)
        direct
    {
        Task storage t = _tasks[task];
        if (t.entry.rule != Evidence.NUMBER) revert BadTerms("rule");
        if (_examples[task].root != 0 || t.current.version != 0) revert TaskAlreadyLoaded(task);
        bytes memory verdict = _verdict(aspect, "e", SET_BYTES);
        bytes32 head = _word(verdict, 0);
        if (uint64(bytes8(head)) != task) revert NoVerdict();
        if (
            root == 0 || batches == 0 || examples < batches
                || !Evidence.fits(t.entry.maxUpdates, _sizeOf(head), examples, uint64(bytes8(_word(verdict, 32))))
        ) revert BadTerms("examples");
        _examples[task] = ExampleSet(batches, examples, 0, 0, inputExponent, 0, root);
        emit ExamplesCommitted(task, root, batches, examples, inputExponent);
    }

    /// @notice Opens the next batch of examples, by which the round's updates are judged: once nobody may submit any more, and before the round
    /// may be dropped. Anyone who has it may; until then it is the creator's secret.
    /// @param examples one behind the other: the inputs, little-endian int16, and the label, u16. The Aspect checks and keeps them.
    function openExamples(uint64 task, uint64 round, bytes calldata examples, bytes32[] calldata proof) external direct {
        Task storage t = _tasks[task];
        Round memory current = t.current;
        _requireOpen(task, current);
        if (round != current.round) revert WrongRound(round, current.round);
        if (current.accepted == 0) revert NoUpdates(round);
        if (current.opened != 0) revert ExamplesOpen(round);
        Terms memory terms = t.terms;
        uint256 from = Rules.settleableAt(terms, current.present, current.eligible, current.openedAt, current.firstAt);
        if (block.timestamp < from) revert RoundNotOver(current.present, current.eligible, uint64(from));
        uint256 until = Rules.droppableAt(terms, current.firstAt);
        if (block.timestamp >= until) revert PhaseOver(uint64(until));

        ExampleSet storage set = _examples[task];
        uint32 batch = set.openedBatches;
        bytes32 head = _word(_verdict(aspect, "x", BATCH_BYTES), 0);
        if (uint64(bytes8(head)) != task || uint32(bytes4(head << 64)) != batch) revert NoVerdict();
        uint32 opened = set.openedExamples + uint32(bytes4(head << 96));
        if (batch >= set.batches || opened > set.examples || !Evidence.isCommitted(set.root, batch, examples, proof)) {
            revert WrongExamples(batch);
        }
        (set.openedBatches, set.openedExamples) = (batch + 1, opened);
        current.opened = 1 + set.pay;
        _write(t.current, current);
        emit ExamplesOpened(task, round, batch);
    }

    /// @notice E of an account in a task by rule `evidence`, Q16: above 0, its updates may be merged.
    function recordOf(uint64 task, address account) external view returns (int32 record) {
        return _records[task][account].record;
    }
}
