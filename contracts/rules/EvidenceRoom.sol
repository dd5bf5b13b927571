// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LinkLearnerToken} from "../LinkLearnerToken.sol";
import {StakeVault} from "../StakeVault.sol";
import {Terms} from "../Tasks.sol";
import {Evidence, ExampleSet} from "./Evidence.sol";
import {EvidencePay} from "./EvidencePay.sol";
import {Rules} from "./Rules.sol";

/// @title Rule `evidence`, the calls that no other rule needs. The pool delegates to this contract whatever it has no function for
/// (TrainingPool.fallback), because the code of all would not fit one contract: this code works on the pool's storage and money, its events
/// are the pool's, and the Aspect sees the call to the pool before. Called by itself it has no tasks, and no call gets anywhere.
/// @dev The pool's first two slots are its owner and who is to follow him.
contract EvidenceRoom is EvidencePay layout at 2 {
    uint8 private constant SEALED = 2; // `commitUpdate`, then `revealUpdate`
    /// The vault is the pool's first creation.
    uint8 private constant VAULT_NONCE = 1;
    uint256 private constant SET_BYTES = 40; // as OPENED | gas of an example's forward pass 8
    uint256 private constant BATCH_BYTES = 16; // task 8 | batch 4 | examples 4

    /// Wei of a creator's bond at least, where a round may take less than that from the pot.
    uint256 public constant MIN_BOND = 1e18;

    /// An update of a void round, as the round's running hash holds it.
    struct Revealed {
        bytes32 digest;
        address contributor;
        uint64 weight;
        uint64 effective;
    }

    event ExamplesCommitted(
        uint64 indexed task,
        bytes32 root,
        uint32 batches,
        uint32 examples,
        uint8 inputExponent,
        uint32 revealSeconds
    );
    event ExamplesOpened(uint64 indexed task, uint64 indexed round, uint32 batch);
    event UpdateCommitted(
        uint64 indexed task, uint64 indexed round, address indexed contributor, bytes32 commitment, bool recordLost
    );
    event BondPut(uint64 indexed task, address indexed account, uint256 amount);
    event BondClaimed(uint64 indexed task, uint64 indexed round, address indexed contributor, uint256 amount);

    error WrongExamples(uint32 batch);
    error ExamplesOpen(uint64 round);
    error BondPresent(uint64 task, uint256 bond);
    error NotCommitted(uint64 task, uint64 round, address account);
    error NotYetRevealed(uint64 committed, uint64 revealed, uint64 until);
    error RevealsNotBegun(uint64 from);
    error NoShare(uint64 task, uint64 round, address account);

    /// @notice Commits to the examples by which the task's updates will be judged (rule `evidence`). Once, before the last page is loaded.
    /// @param root of the Merkle tree over the batches (Evidence.leafOf), one of which each round opens, in order.
    /// @param examples in all batches together, at most.
    /// @param inputExponent k: an input x stands for x * 2^-k.
    /// @param revealSeconds 0: updates are submitted as they are. Otherwise they are sealed: committed until `roundSeconds` after the first
    /// commitment, and then revealed for so long.
    /// @param bond wei of the caller's $LL, at least what a round can take from the pot (`putBond`).
    function commitExamples(
        uint64 task,
        bytes32 root,
        uint32 batches,
        uint32 examples,
        uint8 inputExponent,
        uint32 revealSeconds,
        uint256 bond
    ) external onlyCreator(task) direct {
        Task storage t = _tasks[task];
        if (t.entry.rule != Evidence.NUMBER) revert BadTerms("rule");
        if (t.closing) revert TaskIsClosing(task);
        if (_examples[task].root != 0 || t.current.version != 0) revert TaskAlreadyLoaded(task);
        bytes memory verdict = _verdict(aspect, "e", SET_BYTES);
        bytes32 head = _word(verdict, 0);
        if (uint64(bytes8(head)) != task) revert NoVerdict();
        if (
            root == 0 || batches == 0 || examples < batches
                || !Evidence.fits(t.entry.maxUpdates, _sizeOf(head), examples, uint64(bytes8(_word(verdict, 32))))
        ) revert BadTerms("examples");
        // There must be time to open the examples between the last reveal and the end of the round.
        if (uint256(t.terms.roundSeconds) + revealSeconds >= t.terms.dropSeconds) revert BadTerms("revealSeconds");
        _examples[task] = ExampleSet(batches, examples, 0, 0, inputExponent, 0, root);
        uint8 gate = revealSeconds == 0 ? UNSEALED : SEALED;
        t.entry.gate = gate;
        _sealings[task] = Sealing(revealSeconds, 0, 0, 0, t.entry.minStake, t.entry.maxUpdates, gate);
        emit ExamplesCommitted(task, root, batches, examples, inputExponent, revealSeconds);
        _putBond(task, t, bond);
    }

    /// @notice Puts a bond down again after one was forfeited, so that updates are taken once more. Anyone may; it goes to the creator in the
    /// end.
    function putBond(uint64 task, uint256 bond) external {
        Task storage t = _knownTask(task);
        if (t.entry.gate & HALTED == 0) revert BondPresent(task, _bonds[task]);
        if (t.closing) revert TaskIsClosing(task);
        t.entry.gate &= ~HALTED;
        _sealings[task].gate &= ~HALTED;
        _putBond(task, t, bond);
    }

    /// @notice Where updates are sealed: binds the caller to one update in the open round, of which nothing is seen yet. It is to be revealed
    /// from `roundSeconds` after the round's first commitment on; who lets that time pass loses his record (it falls to 0) with his next
    /// commitment.
    /// @param commitment keccak256(abi.encode(seed of the round, the caller, digest of the update, salt)); its first 27 bytes count.
    function commitUpdate(uint64 task, uint64 round, bytes32 commitment) external direct {
        Task storage t = _tasks[task];
        Round memory current = t.current;
        _requireOpen(task, current);
        if (round != current.round) revert WrongRound(round, current.round);
        Sealing storage sealing = _sealings[task];
        if (sealing.gate != SEALED) revert GateClosed(task, sealing.gate);
        uint256 maxUpdates = sealing.maxUpdates;
        if (sealing.round != current.round) {
            (sealing.round, sealing.committed) = (current.round, 1);
            sealing.revealsFrom = uint32(block.timestamp) + t.terms.roundSeconds;
            current.firstAt = uint32(block.timestamp);
            _write(t.current, current);
        } else {
            if (block.timestamp >= sealing.revealsFrom) revert PhaseOver(sealing.revealsFrom);
            // Whoever has committed can reveal.
            if (sealing.committed >= maxUpdates) revert RoundFull(current.round, uint64(maxUpdates));
            sealing.committed += 1;
        }
        // One commitment an account and round, and its stake stays until the round is over. The vault calls nobody then.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
        uint256 counting = StakeVault(_created(VAULT_NONCE)).recordUpdate(
            task,
            msg.sender,
            current.round,
            current.openedAt,
            _minimum(sealing.minStake, maxUpdates, current.eligible)
        );

        Commitment storage slot = _commitments[task][msg.sender];
        // Not lower than 0, because a new account would be better then.
        bool recordLost = slot.hash != 0 && _records[task][msg.sender].record > 0;
        if (recordLost) _records[task][msg.sender].record = 0;
        (slot.hash, slot.counting) = (bytes27(commitment), uint40(counting)); // at most the vault's MAX_TOTAL
        emit UpdateCommitted(task, current.round, msg.sender, commitment, recordLost);
    }

    /// @notice Reveals the update that the caller has committed to in this round; arguments as of `submit`, and the salt.
    function revealUpdate(uint64 task, bytes32 digest, bytes calldata header, bytes[] calldata groups, bytes32 salt)
        external
        direct
    {
        Task storage t = _tasks[task];
        Round memory current = t.current;
        _requireOpen(task, current);
        Commitment storage slot = _commitments[task][msg.sender];
        // The round is in the hash, so none of an earlier round is it.
        if (slot.hash != bytes27(_commitment(task, current.round, msg.sender, digest, salt))) {
            revert NotCommitted(task, current.round, msg.sender);
        }
        Sealing storage sealing = _sealings[task];
        if (block.timestamp < sealing.revealsFrom) revert RevealsNotBegun(sealing.revealsFrom);
        uint256 until = _revealsEnd(sealing);
        if (block.timestamp >= until) revert PhaseOver(uint64(until));
        slot.hash = 0;
        // What it unlocked since then, the Aspect does not count.
        _accept(task, t, current, t.entry.aspect, slot.counting, digest, header, groups);
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
        Sealing storage sealing = _sealings[task];
        if (sealing.revealSeconds != 0) {
            // Stake does not shorten a sealed round: some of it would shut out the rest, whose updates are there already. Nobody reveals
            // before all are committed, so what is committed now is all there will be.
            uint256 revealed = _revealsEnd(sealing);
            if (current.accepted != sealing.committed && block.timestamp < revealed) {
                revert NotYetRevealed(sealing.committed, current.accepted, uint64(revealed));
            }
        }
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
        // No round after this one could be judged: it is the last.
        if (batch + 1 == set.batches && !t.closing) {
            t.closing = true;
            emit TaskClosing(task);
        }
    }

    /// @notice Pays the caller's share of a bond that was forfeited to those whose updates were in a round: by their influence, rounded down;
    /// the first of them gets what is left over. Once an account and round.
    /// @param revealed the round's updates, all of them in the order they were accepted.
    function claimBond(uint64 task, uint64 round, Revealed[] calldata revealed) external returns (uint256 amount) {
        Forfeit memory forfeit = _forfeits[task][round];
        bytes32 running = _seed(task, round);
        uint256 shared = 0;
        bool found = false;
        for (uint256 i = 0; i < revealed.length; i++) {
            Revealed calldata one = revealed[i];
            running = _next(running, one.digest, one.contributor, one.weight, one.effective);
            uint256 share = forfeit.present == 0 ? 0 : forfeit.bond * one.weight / forfeit.present; // < 2^96 * 2^40
            shared += share;
            if (one.contributor == msg.sender) (found, amount) = (true, share);
        }
        if (!found || running != forfeit.running || _bondClaimed[task][round][msg.sender]) {
            revert NoShare(task, round, msg.sender);
        }
        if (revealed[0].contributor == msg.sender) amount += forfeit.bond - shared;
        _bondClaimed[task][round][msg.sender] = true;
        emit BondClaimed(task, round, msg.sender, amount);
        bool moved = LinkLearnerToken(_created(TOKEN_NONCE)).transfer(msg.sender, amount);
        assert(moved);
    }

    /// @notice E of an account in a task by rule `evidence`, Q16: above 0, its updates may be merged.
    function recordOf(uint64 task, address account) external view returns (int32 record) {
        return _records[task][account].record;
    }

    /// @notice What a caller of `commitUpdate` commits to.
    function commitmentOf(uint64 task, uint64 round, address account, bytes32 digest, bytes32 salt)
        external
        view
        returns (bytes32)
    {
        return _commitment(task, round, account, digest, salt);
    }

    /// @notice How updates are taken: for how long they are revealed (0: unsealed), how many are committed in the open round, from when on they
    /// are revealed (0: no commitment yet), and the bond that the creator has at stake, wei.
    function sealingOf(uint64 task)
        external
        view
        returns (uint32 revealSeconds, uint32 committed, uint64 revealsFrom, uint256 bond)
    {
        Task storage t = _knownTask(task);
        Sealing memory sealing = _sealings[task];
        revealSeconds = sealing.revealSeconds;
        bond = _bonds[task];
        if (sealing.round != 0 && sealing.round == t.current.round && t.current.openedAt != 0) {
            (committed, revealsFrom) = (sealing.committed, sealing.revealsFrom);
        }
    }

    /// @notice The last round in which an account has committed to an update, 0 for none, and whether that is revealed.
    function committedIn(uint64 task, address account) external view returns (uint64 round, bool revealed) {
        round = StakeVault(_created(VAULT_NONCE)).submittedIn(task, account);
        return (round, round != 0 && _commitments[task][account].hash == 0);
    }

    function _commitment(uint64 task, uint64 round, address account, bytes32 digest, bytes32 salt)
        private
        view
        returns (bytes32)
    {
        return keccak256(abi.encode(_seed(task, round), account, digest, salt));
    }

    function _putBond(uint64 task, Task storage t, uint256 bond) private {
        if (bond < t.terms.reward || bond < MIN_BOND) revert BadTerms("bond");
        _bonds[task] = bond;
        emit BondPut(task, msg.sender, bond);
        bool moved = LinkLearnerToken(_created(TOKEN_NONCE)).transferFrom(msg.sender, address(this), bond);
        assert(moved);
    }
}
