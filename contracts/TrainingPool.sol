// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {LinkLearnerToken} from "./LinkLearnerToken.sol";
import {Settlement, Terms} from "./Tasks.sol";
import {UpdateDigest} from "./UpdateDigest.sol";
import {Rules} from "./rules/Rules.sol";

/// @title Tasks, stake, rounds and pay. The Aspect `aggregator`, bound to this contract, holds the weights and judges the updates.
///
/// A round: each contributor sends one update as calldata. Before this contract's code runs, the Aspect decodes and judges it and leaves a
/// verdict in the transaction's context; the contract appends (digest, sender, influence) to a running hash and keeps nothing else. When the
/// round is over, anyone hands in the same updates again; the Aspect merges them into the weights, and the contract checks that they hash to
/// the very running hash. If they do not, the transaction fails, and what the Aspect wrote with it. For that to hold, every entry that the
/// Aspect acts on must be the transaction's own call: a caught inner revert would undo this contract but not the Aspect's state.
///
/// When a round may be settled or dropped, and what it pays, the task's rule says (rules/).
///
/// Stake counts from the round after it was locked. Omega (`eligible`) is all stake that counts in a round, fixed when the round opens.
contract TrainingPool {
    /// One storage slot, and the first of a task: the Aspect reads it (aspects/aggregator/pool.ts; tests hold both to solc's layout).
    struct Round {
        uint32 version; // of the weights; 0 while they are being loaded
        uint32 round; // the open round, from 1
        uint40 eligible; // Omega of this round, units
        uint40 present; // S: the influence of the accepted updates, units
        uint40 since; // time of the first accepted update, or of the round's opening while there is none
        uint24 merged; // settlement groups merged so far
        uint16 accepted; // updates accepted
        uint24 loaded; // pages loaded
    }

    struct Task {
        Round current;
        bytes32 running; // over the accepted updates; stale while `accepted` is 0
        uint64 joining; // locked in this round: counts from the next
        uint64 leaving; // unlocked in this round: gone from the next
        uint64 saturated; // weights that hit a bound of int16 in the groups merged so far
        Terms terms;
    }

    /// One storage slot. The Aspect reads it.
    struct Stake {
        uint64 amount; // all locked units
        uint64 fresh; // those of them that were locked in `round`
        uint64 round;
        uint64 submitted; // the last round with an accepted update
    }

    struct Unlocking {
        uint64 units;
        uint64 round; // in which it was asked for; withdrawable in a later one
    }

    /// What `taskOf` answers.
    struct TaskStatus {
        uint64 version;
        uint64 round;
        uint64 eligible;
        uint64 merged;
        uint64 accepted;
        uint64 present;
        uint64 openedAt; // of the round; 0 once it has an update
        uint64 firstAt; // of the first accepted update; 0 while there is none
        uint64 joining;
        uint64 leaving;
        uint64 loaded;
        bytes32 running;
    }

    /// 1 unit of stake, in wei of $LL.
    uint256 public constant UNIT = 1e15;
    /// Units that a task may hold: keeps the Aspect's sums inside 63 bits.
    uint64 public constant MAX_ELIGIBLE = 2 ** 38;
    uint16 public constant MAX_UPDATES = 1024;
    uint256 public constant MAX_REWARD = 2 ** 128;
    /// What a whole is in `Terms.settlerBps`.
    uint256 private constant BPS = 10_000;
    /// Bytes of the Aspect's verdicts.
    uint256 private constant OPENED_BYTES = 12; // task 8 | pages 4
    uint256 private constant LOADED_BYTES = 45; // task 8 | next page 4 | done 1 | digest 32
    uint256 private constant JUDGED_BYTES = 77; // digest 32 | sender 20 | task 8 | omega 8 | e 8 | flags 1
    uint256 private constant MERGED_BYTES = 72; // task 8 | round 8 | group 4 | groups 4 | version 8 | digest 32 | saturated 8
    /// Artela's precompile that reads the transaction's context: input scope | key, output the raw bytes.
    address private constant CONTEXT = address(0x64);

    address public immutable owner;
    LinkLearnerToken public immutable token;

    address public aspect;
    /// Tasks count from 1: 0 means no task everywhere on the wire.
    uint64 public nextTask = 1;
    mapping(uint64 task => Task) private _tasks;
    mapping(uint64 task => mapping(address account => Stake)) private _stakes;
    mapping(uint64 task => mapping(address account => Unlocking)) private _unlocking;

    event AspectSet(address indexed aspect);
    event TaskOpened(uint64 indexed task, string model, bytes shape, Terms terms);
    event PagesLoaded(uint64 indexed task, uint32 firstPage, uint32 nextPage);
    event StakeLocked(uint64 indexed task, address indexed account, uint64 units, uint64 round);
    event StakeUnlocked(uint64 indexed task, address indexed account, uint64 units, uint64 round);
    event StakeWithdrawn(uint64 indexed task, address indexed account, uint64 units);
    event UpdateAccepted(
        uint64 indexed task, uint64 indexed round, address indexed contributor, bytes32 digest, uint64 weight, uint64 effective
    );
    event GroupMerged(uint64 indexed task, uint64 indexed round, uint32 group);
    event ModelUpdated(
        uint64 indexed task, uint64 indexed version, bytes32 digest, uint64 round, uint64 accepted, uint64 saturated
    );
    event ContributionPaid(uint64 indexed task, uint64 indexed round, address indexed contributor, uint256 amount);
    event SettlerPaid(uint64 indexed task, uint64 indexed round, address indexed settler, uint256 amount);
    event RoundDropped(uint64 indexed task, uint64 indexed round);

    error NotOwner(address caller);
    error NotDirect(address caller, address origin);
    error AspectAlreadySet(address aspect);
    error AspectNotSet();
    error ZeroAddress();
    error BadTerms(string field);
    error WrongTaskId(uint64 given, uint64 next);
    error UnknownTask(uint64 task);
    error TaskNotReady(uint64 task);
    error TaskAlreadyLoaded(uint64 task);
    error NoVerdict();
    error WrongDigest(bytes32 claimed, bytes32 actual);
    error AlreadySubmitted(uint64 task, uint64 round, address account);
    error RoundFull(uint64 round, uint64 maxUpdates);
    error RoundSettling(uint64 round, uint64 mergedGroups);
    error RoundNotOver(uint64 accepted, uint64 quorum, uint64 endsAt);
    error RunningHashMismatch(bytes32 expected, bytes32 actual);
    error WrongRound(uint64 given, uint64 current);
    error WrongGroup(uint64 given, uint64 next);
    error NoUpdates(uint64 round);
    error NotYetDroppable(uint64 droppableAt);
    error BelowMinimumStake(uint64 counting, uint64 minimum);
    error InsufficientStake(uint64 locked, uint64 asked);
    error StakeLimit(uint64 units, uint64 limit);
    error StakeStillLocked(uint64 untilRound);
    error ZeroUnits();

    modifier onlyOwner() {
        if (msg.sender != owner) revert NotOwner(msg.sender);
        _;
    }

    /// The transaction's own call: the Aspect's writes are undone only when the whole transaction fails.
    modifier direct() {
        if (msg.sender != tx.origin) revert NotDirect(msg.sender, tx.origin);
        _;
    }

    /// @param owner_ opens tasks and loads their first weights; may bind Aspects.
    /// @param treasury receives the genesis supply of $LL, in wei.
    constructor(address owner_, address treasury, uint256 genesis) {
        if (owner_ == address(0) || treasury == address(0)) revert ZeroAddress();
        owner = owner_;
        token = new LinkLearnerToken(treasury, genesis);
    }

    /// @notice Whether `account` may bind Aspects to this contract; the chain asks.
    function isOwner(address account) external view returns (bool) {
        return account == owner;
    }

    /// @notice Names the one Aspect whose verdicts count. Once.
    function setAspect(address aspect_) external onlyOwner {
        if (aspect != address(0)) revert AspectAlreadySet(aspect);
        if (aspect_ == address(0)) revert ZeroAddress();
        aspect = aspect_;
        emit AspectSet(aspect_);
    }

    // ── A task and its first weights ─────────────────────────────────────────────────────────────────────────────────────

    /// @notice Opens a task. Its weights follow by `loadPages`; stake may be locked meanwhile and counts from the first round.
    /// @param task must be `nextTask()`.
    /// @param shape canonical bytes (tensors, pages, norm bound); the Aspect checks and keeps them.
    /// @param model what the weights mean, JSON; kept in the event only.
    function openTask(uint64 task, bytes calldata shape, string calldata model, Terms calldata terms)
        external
        onlyOwner
        direct
    {
        if (task != nextTask) revert WrongTaskId(task, nextTask);
        if (!Rules.has(terms.rule)) revert BadTerms("rule");
        if (terms.quorum == 0 || terms.quorum > terms.maxUpdates) revert BadTerms("quorum");
        if (terms.maxUpdates > MAX_UPDATES) revert BadTerms("maxUpdates");
        if (terms.dropSeconds <= terms.roundSeconds) revert BadTerms("dropSeconds");
        if (terms.minStake > MAX_ELIGIBLE) revert BadTerms("minStake");
        if (terms.settlerBps > BPS) revert BadTerms("settlerBps");
        if (terms.reward > MAX_REWARD) revert BadTerms("reward");
        bytes memory verdict = _verdict("o", OPENED_BYTES);
        if (uint64(bytes8(_word(verdict, 0))) != task) revert NoVerdict();
        nextTask = task + 1;
        _tasks[task].terms = terms;
        emit TaskOpened(task, model, shape, terms);
    }

    /// @notice Loads the task's first weights, whole pages in order. The last page makes version 1 and opens round 1.
    /// @param weights little-endian int16; the Aspect takes them from the calldata.
    function loadPages(uint64 task, uint32 firstPage, bytes calldata weights) external onlyOwner direct {
        weights;
        Round memory current = _knownTask(task).current;
        if (current.version != 0) revert TaskAlreadyLoaded(task);
        bytes memory verdict = _verdict("l", LOADED_BYTES);
        bytes32 head = _word(verdict, 0);
        if (uint64(bytes8(head)) != task) revert NoVerdict();
        current.loaded = uint24(uint32(bytes4(head << 64)));
        emit PagesLoaded(task, firstPage, current.loaded);
        if (uint8(bytes1(head << 96)) == 0) {
            _tasks[task].current = current;
            return;
        }
        current.version = 1;
        _openNextRound(task, current);
        // Written once here, so that the first contributor does not pay for a fresh slot.
        _tasks[task].running = _seed(task, 1);
        emit ModelUpdated(task, 1, _word(verdict, 13), 0, 0, 0);
    }

    // ── Stake ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Locks `units` of $LL for a task. They count from the next round on.
    function lock(uint64 task, uint64 units) external {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        if (units == 0) revert ZeroUnits();
        // In this order nothing can overflow: units <= 2^38 first.
        if (units > MAX_ELIGIBLE || current.eligible + t.joining + units > MAX_ELIGIBLE) revert StakeLimit(units, MAX_ELIGIBLE);
        Stake memory stake = _stakes[task][msg.sender];
        stake.fresh = (stake.round == current.round ? stake.fresh : 0) + units;
        stake.round = current.round;
        stake.amount += units;
        _stakes[task][msg.sender] = stake;
        t.joining += units;
        token.transferFrom(msg.sender, address(this), units * UNIT);
        emit StakeLocked(task, msg.sender, units, current.round);
    }

    /// @notice Asks for `units` back. They stop counting now and can be withdrawn when the round is over; what an earlier unlock has
    /// made withdrawable is paid out along the way.
    function unlock(uint64 task, uint64 units) external {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        if (units == 0) revert ZeroUnits();
        Stake memory stake = _stakes[task][msg.sender];
        if (units > stake.amount) revert InsufficientStake(stake.amount, units);
        if (_withdrawable(task, current) != 0) _withdraw(task);
        uint64 fresh = stake.round == current.round ? stake.fresh : 0;
        uint64 fromFresh = units < fresh ? units : fresh;
        stake.fresh = fresh - fromFresh;
        stake.round = current.round;
        stake.amount -= units;
        _stakes[task][msg.sender] = stake;
        t.joining -= fromFresh;
        t.leaving += units - fromFresh;
        Unlocking storage unlocking = _unlocking[task][msg.sender];
        unlocking.units += units;
        unlocking.round = current.round;
        emit StakeUnlocked(task, msg.sender, units, current.round);
    }

    /// @notice Pays out what was unlocked in an earlier round (at once while the task has no weights yet).
    function withdraw(uint64 task) external {
        Round memory current = _knownTask(task).current;
        if (_withdrawable(task, current) == 0) {
            Unlocking memory unlocking = _unlocking[task][msg.sender];
            if (unlocking.units == 0) revert ZeroUnits();
            revert StakeStillLocked(unlocking.round + 1);
        }
        _withdraw(task);
    }

    // ── A round ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Contributes one update to the open round of a task.
    /// @param digest of the update: keccak256(header | keccak256(group 0) | …).
    /// @param header format, encoding, task, base version, shifts, bitmap of the pages present.
    /// @param groups the pages, by settlement group.
    function submit(uint64 task, bytes32 digest, bytes calldata header, bytes[] calldata groups) external direct {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        if (current.version == 0) revert TaskNotReady(task);
        if (current.merged != 0) revert RoundSettling(current.round, current.merged);
        if (current.accepted >= t.terms.maxUpdates) revert RoundFull(current.round, t.terms.maxUpdates);
        _countSubmission(task, current.round, t.terms.minStake);

        bytes memory verdict = _verdict("s", JUDGED_BYTES);
        bytes32 tail = _word(verdict, 45);
        uint64 weight = uint64(bytes8(tail << 120));
        uint64 effective = uint64(bytes8(tail << 184));
        if (
            _word(verdict, 0) != digest || address(bytes20(_word(verdict, 32))) != msg.sender
                || uint64(bytes8(tail << 56)) != task
        ) revert NoVerdict();
        bytes32 actual = UpdateDigest.ofGroups(header, groups);
        if (actual != digest) revert WrongDigest(digest, actual);

        t.running = _next(
            current.accepted == 0 ? _seed(task, current.round) : t.running, digest, msg.sender, weight, effective
        );
        if (current.accepted == 0) current.since = uint40(block.timestamp);
        current.accepted += 1;
        current.present += uint40(weight);
        t.current = current;
        emit UpdateAccepted(task, current.round, msg.sender, digest, weight, effective);
    }

    /// @notice Settles one group of the round's updates: all of them, in the order they were accepted. Anyone may; the last group pays.
    function settle(uint64 task, uint64 round, uint32 group, Settlement[] calldata updates) external direct {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        if (round != current.round || current.version == 0) revert WrongRound(round, current.round);
        if (current.accepted == 0) revert NoUpdates(round);
        uint256 settleableAt = Rules.settleableAt(t.terms, current.accepted, current.since);
        if (block.timestamp < settleableAt) revert RoundNotOver(current.accepted, t.terms.quorum, uint64(settleableAt));
        if (group != current.merged) revert WrongGroup(group, current.merged);

        bytes32 running = _seed(task, round);
        for (uint256 i = 0; i < updates.length; i++) {
            Settlement calldata update = updates[i];
            bytes32 actual = UpdateDigest.ofBytes(update.pages);
            if (update.digests[group] != actual) revert WrongDigest(update.digests[group], actual);
            running = _next(
                running,
                UpdateDigest.ofDigests(update.header, update.digests),
                update.contributor,
                update.weight,
                update.effective
            );
        }
        if (running != t.running) revert RunningHashMismatch(t.running, running);

        bytes memory verdict = _verdict("m", MERGED_BYTES);
        bytes32 head = _word(verdict, 0);
        if (
            uint64(bytes8(head)) != task || uint64(bytes8(head << 64)) != round || uint32(bytes4(head << 128)) != group
        ) revert NoVerdict();
        uint64 saturated = uint64(uint256(_word(verdict, 40)));
        emit GroupMerged(task, round, group);
        if (group + 1 < uint32(bytes4(head << 160))) {
            t.current.merged = uint24(group + 1);
            if (saturated != 0) t.saturated += saturated;
            return;
        }
        saturated += t.saturated;
        if (t.saturated != 0) t.saturated = 0;
        uint64 accepted = current.accepted;
        (uint256 present, uint256 eligible) = (current.present, current.eligible);
        current.version += 1;
        _openNextRound(task, current);
        emit ModelUpdated(task, current.version, _word(verdict, 32), round, accepted, saturated);
        _pay(task, round, updates, present, eligible);
    }

    /// @notice Drops a round that nobody settled in time: its updates are void, nothing is paid, the weights stay. Anyone may.
    function drop(uint64 task) external direct {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        if (current.version == 0) revert TaskNotReady(task);
        if (current.merged != 0) revert RoundSettling(current.round, current.merged);
        uint256 droppableAt = Rules.droppableAt(t.terms, current.since);
        if (block.timestamp < droppableAt) revert NotYetDroppable(uint64(droppableAt));
        uint64 round = current.round;
        _openNextRound(task, current);
        emit RoundDropped(task, round);
    }

    // ── Views ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Where a task and its open round stand.
    function taskOf(uint64 task) external view returns (TaskStatus memory status) {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        status.version = current.version;
        status.round = current.round;
        status.eligible = current.eligible;
        status.merged = current.merged;
        status.accepted = current.accepted;
        status.present = current.present;
        status.joining = t.joining;
        status.leaving = t.leaving;
        status.loaded = current.loaded;
        if (current.accepted == 0) {
            status.openedAt = current.since;
            status.running = _seed(task, current.round);
        } else {
            status.firstAt = current.since;
            status.running = t.running;
        }
    }

    /// @notice What a task fixed for all its rounds.
    function termsOf(uint64 task) external view returns (Terms memory) {
        return _knownTask(task).terms;
    }

    /// @notice An account's stake in a task, in units: what counts in the open round, what will from the next, and all of it.
    function stakeOf(uint64 task, address account) external view returns (uint64 eligible, uint64 fresh, uint64 locked) {
        Stake memory stake = _stakes[task][account];
        fresh = stake.round == _knownTask(task).current.round ? stake.fresh : 0;
        return (stake.amount - fresh, fresh, stake.amount);
    }

    /// @notice The last round in which an update of the account was accepted; 0 if none.
    function submittedIn(uint64 task, address account) external view returns (uint64 round) {
        return _stakes[task][account].submitted;
    }

    /// @notice Units that were unlocked and not withdrawn, and the round of the last unlock: in a later one they can be withdrawn.
    function unlockingOf(uint64 task, address account) external view returns (uint64 units, uint64 round) {
        Unlocking memory unlocking = _unlocking[task][account];
        return (unlocking.units, unlocking.round);
    }

    // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    function _knownTask(uint64 task) private view returns (Task storage) {
        if (task == 0 || task >= nextTask) revert UnknownTask(task);
        return _tasks[task];
    }

    /// One update per account and round, and only from enough stake.
    function _countSubmission(uint64 task, uint64 round, uint64 minStake) private {
        Stake storage slot = _stakes[task][msg.sender];
        Stake memory stake = slot;
        if (stake.submitted == round) revert AlreadySubmitted(task, round, msg.sender);
        uint64 counting = stake.amount - (stake.round == round ? stake.fresh : 0);
        if (counting < minStake) revert BelowMinimumStake(counting, minStake);
        slot.submitted = round;
    }

    /// Omega of the next round is all stake locked by now. `current` keeps the version that the caller has set.
    function _openNextRound(uint64 task, Round memory current) private {
        Task storage t = _tasks[task];
        current.round += 1;
        // eligible + joining <= 2^38 (`lock` sees to it), and nobody unlocks more than counted.
        current.eligible = uint40(current.eligible + t.joining - t.leaving);
        current.present = 0;
        current.since = uint40(block.timestamp);
        current.merged = 0;
        current.accepted = 0;
        t.current = current;
        if (t.joining != 0 || t.leaving != 0) (t.joining, t.leaving) = (0, 0);
    }

    /// Mints what the task's rule gives for the round: never more than its reward.
    function _pay(uint64 task, uint64 round, Settlement[] calldata updates, uint256 present, uint256 eligible) private {
        Terms memory terms = _tasks[task].terms;
        uint256 fee = Rules.fee(terms);
        uint256 shared = terms.reward - fee;
        for (uint256 i = 0; i < updates.length; i++) {
            uint256 amount = Rules.share(terms, shared, updates[i].weight, present, eligible);
            if (amount != 0) token.mint(updates[i].contributor, amount);
            emit ContributionPaid(task, round, updates[i].contributor, amount);
        }
        if (fee != 0) {
            token.mint(msg.sender, fee);
            emit SettlerPaid(task, round, msg.sender, fee);
        }
    }

    function _withdrawable(uint64 task, Round memory current) private view returns (uint64) {
        Unlocking memory unlocking = _unlocking[task][msg.sender];
        return unlocking.round < current.round || current.version == 0 ? unlocking.units : 0;
    }

    function _withdraw(uint64 task) private {
        uint64 units = _unlocking[task][msg.sender].units;
        delete _unlocking[task][msg.sender];
        token.transfer(msg.sender, units * UNIT);
        emit StakeWithdrawn(task, msg.sender, units);
    }

    /// What our Aspect left in this transaction's context under `key`. No Aspect bound, or not this call judged: NoVerdict.
    function _verdict(string memory key, uint256 length) private returns (bytes memory verdict) {
        if (aspect == address(0)) revert AspectNotSet();
        bool done;
        (done, verdict) = CONTEXT.call(abi.encodePacked(aspect, key));
        if (!done || verdict.length != length) revert NoVerdict();
    }

    /// The 32 bytes at `offset`; beyond the end they are whatever memory holds, so callers take only what the length covers.
    function _word(bytes memory data, uint256 offset) private pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 32), offset))
        }
    }

    function _seed(uint64 task, uint64 round) private view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), task, round));
    }

    function _next(bytes32 running, bytes32 digest, address contributor, uint64 weight, uint64 effective)
        private
        pure
        returns (bytes32)
    {
        return keccak256(abi.encodePacked(running, digest, contributor, weight, effective));
    }
}
