// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Ownable, Ownable2Step} from "@openzeppelin/contracts/access/Ownable2Step.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {BlockBounds} from "./BlockBounds.sol";
import {LinkLearnerToken} from "./LinkLearnerToken.sol";
import {PoolState} from "./PoolState.sol";
import {IRounds, StakeVault} from "./StakeVault.sol";
import {Settlement, Terms} from "./Tasks.sol";
import {UpdateDigest} from "./UpdateDigest.sol";
import {Evidence} from "./rules/Evidence.sol";
import {Rules} from "./rules/Rules.sol";

/// @title Tasks, pots, rounds and pay. The Aspect `aggregator`, bound to this contract, holds the weights and judges the updates; stake is
/// in the `StakeVault` that this contract makes.
///
/// A task belongs to who opened it: its creator loads the first weights and may close it. It mints nothing; it pays from its pot, which
/// anybody can fill. The owner of this contract can grant emission to a pot, on the token's schedule, and name the Aspect, once; nothing else.
///
/// A round: each contributor sends one update as calldata. Before this contract's code runs, the Aspect decodes and judges it and leaves a
/// verdict in the transaction's context; the contract appends (digest, sender, influence) to a running hash and keeps nothing else. When the
/// round is over, anyone hands in the same updates again; the Aspect merges them into the weights, and the contract checks that they hash to
/// the very running hash. If they do not, the transaction fails, and what the Aspect wrote with it. For that to hold, every entry that the
/// Aspect acts on must be the transaction's own call: a caught inner revert would undo this contract but not the Aspect's state.
///
/// When a round may be settled or dropped, and how its pay is divided, the task's rule says (rules/).
///
/// Pay is credited and claimed: one slot an account and task holds all that it has earned, which is also its share in the task's fees.
///
/// What one rule alone needs is in a contract of its own, to which this one delegates what it has no function for: rules/EvidenceRoom.sol.
contract TrainingPool is Ownable2Step, PoolState, IRounds {
    /// What `taskOf` answers.
    struct TaskStatus {
        uint64 version;
        uint64 round;
        uint64 eligible;
        uint64 merged;
        uint64 accepted;
        uint64 present;
        uint64 openedAt; // of the round; 0 while the task is loading and once it is closed
        uint64 firstAt; // of the first accepted update; 0 while there is none
        uint64 loaded;
        bytes32 running;
        uint256 pot;
        uint256 shares;
        address creator;
        bool closing;
        bool opened; // the round's examples, where the rule has any
    }

    uint16 public constant MAX_UPDATES = 1024;
    /// A round or a stake lasts a year at most.
    uint32 public constant MAX_SECONDS = 366 days;
    /// Wei of $LL that there can be at most: the bounds of `Earnings` rest on it.
    uint256 public constant MAX_CAP = 2 ** 90;
    /// What a whole is in `Terms`.
    uint256 private constant BPS = 10_000;
    /// Contribution shares of a task below this, wei, are too few to share fees: the accumulator would run away.
    uint256 private constant MIN_SHARES = 1e15;
    /// Bytes of the Aspect's verdicts.
    uint256 private constant OPENED_BYTES = 32; // task 8 | pages 4 | groups 4 | pages 4 and weights 4 of the largest group | header 4 | tensors 4
    uint256 private constant LOADED_BYTES = 45; // task 8 | next page 4 | done 1 | digest 32
    uint256 private constant MERGED_BYTES = 72; // task 8 | round 8 | group 4 | groups 4 | version 8 | digest 32 | saturated 8
    uint256 private constant ENDED_BYTES = 48; // task 8 | round 8 | digest 32

    LinkLearnerToken public immutable token;
    StakeVault public immutable vault;
    /// The code of the calls that only rule `evidence` has. Fixed for good, like this code.
    address public immutable evidenceRoom;

    event AspectSet(address indexed aspect);
    event TaskOpened(uint64 indexed task, address indexed creator, string model, bytes shape, Terms terms);
    event PagesLoaded(uint64 indexed task, uint32 firstPage, uint32 nextPage);
    event PotFunded(uint64 indexed task, address indexed funder, uint256 amount);
    event PotGranted(uint64 indexed task, uint256 amount);
    event UpdateJudged(
        uint64 indexed task, uint64 indexed round, address indexed contributor, int32 gain, int32 record, uint8 outcome
    );
    event GroupMerged(uint64 indexed task, uint64 indexed round, uint32 group);
    event ModelUpdated(
        uint64 indexed task, uint64 indexed version, bytes32 digest, uint64 round, uint64 accepted, uint64 saturated
    );
    event PaySetAside(uint64 indexed task, uint64 indexed round, uint256 amount);
    event RoundDropped(uint64 indexed task, uint64 indexed round);
    event TaskClosed(uint64 indexed task, uint256 refund);
    event BondReturned(uint64 indexed task, uint256 amount);
    event BondForfeited(uint64 indexed task, uint64 indexed round, uint256 amount);
    event FeesShared(uint64 indexed task, uint256 toContributors, uint256 toStake, uint256 toPot);
    event EarningsClaimed(uint64 indexed task, address indexed account, uint256 pay, uint256 fees);

    error NotTheVault(address caller);
    error AspectAlreadySet(address aspect);
    error ZeroAddress();
    error NoCode(address account);
    error ZeroAmount();
    error WrongTaskId(uint64 given, uint64 next);
    error RunningHashMismatch(bytes32 expected, bytes32 actual);
    error WrongGroup(uint64 given, uint64 next);
    error NotYetDroppable(uint64 droppableAt);
    error ExamplesNotOpened(uint64 round);

    /// @param owner_ names the Aspect, once, and grants emission.
    /// @param treasury receives the genesis supply of $LL, in wei.
    /// @param cap of the supply, wei.
    /// @param emissionPerSecond wei.
    /// @param evidenceRoom_ an EvidenceRoom.
    constructor(
        address owner_,
        address treasury,
        uint256 genesis,
        uint256 cap,
        uint256 emissionPerSecond,
        address evidenceRoom_
    ) Ownable(owner_) {
        if (treasury == address(0)) revert ZeroAddress();
        // To delegate to an account without code succeeds, and does nothing.
        if (evidenceRoom_.code.length == 0) revert NoCode(evidenceRoom_);
        evidenceRoom = evidenceRoom_;
        if (cap > MAX_CAP || emissionPerSecond > cap) revert BadTerms("cap");
        // Vault and token name each other.
        address second = _created(TOKEN_NONCE);
        vault = new StakeVault(LinkLearnerToken(second));
        token = new LinkLearnerToken(address(vault), treasury, genesis, cap, emissionPerSecond);
        assert(address(token) == second);
    }

    /// @notice Whatever this contract has no function for, the room may have. Its code works on the storage of this contract, and what it
    /// answers is the answer.
    fallback() external {
        address room = evidenceRoom;
        assembly ("memory-safe") {
            let data := mload(0x40)
            calldatacopy(data, 0, calldatasize())
            let done := delegatecall(gas(), room, data, calldatasize(), 0, 0)
            returndatacopy(data, 0, returndatasize())
            if iszero(done) { revert(data, returndatasize()) }
            return(data, returndatasize())
        }
    }

    /// @notice Whether `account` may bind Aspects to this contract; the chain asks. Nobody once the Aspect is named: another one, bound beside
    /// it, could refuse any call, and an unbinding would stop all tasks.
    function isOwner(address account) external view returns (bool) {
        return account == owner() && aspect == address(0);
    }

    /// @notice Names the one Aspect whose verdicts count. Once. Bind it before.
    function setAspect(address aspect_) external onlyOwner {
        if (aspect != address(0)) revert AspectAlreadySet(aspect);
        if (aspect_ == address(0)) revert ZeroAddress();
        aspect = aspect_;
        emit AspectSet(aspect_);
    }

    // ── A task, its first weights, its pot ───────────────────────────────────────────────────────────────────────────────

    /// @notice Opens a task, which is the caller's. Its weights follow by `loadPages`; stake may be locked meanwhile and counts from the
    /// first round.
    /// @param task must be `nextTask()`.
    /// @param shape canonical bytes (tensors, pages, norm bound); the Aspect checks and keeps them.
    /// @param model what the weights mean, JSON; kept in the event only.
    function openTask(uint64 task, bytes calldata shape, string calldata model, Terms calldata terms) external direct {
        if (task != nextTask) revert WrongTaskId(task, nextTask);
        _requireSound(terms);
        bytes memory verdict = _verdict(aspect, "o", OPENED_BYTES);
        bytes32 head = _word(verdict, 0);
        if (uint64(bytes8(head)) != task) revert NoVerdict();
        if (!BlockBounds.hold(terms.maxUpdates, _sizeOf(head))) revert BadTerms("maxUpdates");
        nextTask = task + 1;
        _tasks[task].terms = terms;
        _tasks[task].entry = Entry(aspect, terms.maxUpdates, terms.minStake, terms.rule, 0);
        _tasks[task].creator = msg.sender;
        emit TaskOpened(task, msg.sender, model, shape, terms);
    }

    /// @notice Loads the task's first weights, whole pages in order. The last page makes version 1 and opens round 1.
    /// @param weights little-endian int16; the Aspect takes them from the calldata.
    function loadPages(uint64 task, uint32 firstPage, bytes calldata weights) external onlyCreator(task) direct {
        // slither-disable-next-line redundant-statements: the name is in the ABI
        weights;
        Round memory current = _knownTask(task).current;
        if (current.version != 0) revert TaskAlreadyLoaded(task);
        if (_tasks[task].closing) revert TaskIsClosing(task);
        bytes memory verdict = _verdict(aspect, "l", LOADED_BYTES);
        bytes32 head = _word(verdict, 0);
        if (uint64(bytes8(head)) != task) revert NoVerdict();
        current.present = uint32(bytes4(head << 64));
        emit PagesLoaded(task, firstPage, uint32(current.present));
        if (uint8(bytes1(head << 96)) == 0) {
            _write(_tasks[task].current, current);
            return;
        }
        if (_tasks[task].entry.rule == Evidence.NUMBER) {
            if (_examples[task].root == 0) revert NoExamples(task);
            _books[task].digest = _word(verdict, 13);
        }
        current.version = 1;
        _openNextRound(task, current);
        // Written once here, so that the first contributor does not pay for a fresh slot.
        _tasks[task].running = _seed(task, 1);
        emit ModelUpdated(task, 1, _word(verdict, 13), 0, 0, 0);
    }

    /// @notice Adds `amount` of the caller's $LL to a task's pot. Anyone may; no approval is needed (LinkLearnerToken.allowance).
    function fund(uint64 task, uint256 amount) external {
        Task storage t = _fundable(task, amount);
        t.pot += uint96(amount); // at most the supply
        emit PotFunded(task, msg.sender, amount);
        _collect(amount);
    }

    /// @notice Emits `amount` of new $LL to a task's pot, on the token's schedule.
    function grant(uint64 task, uint256 amount) external onlyOwner {
        Task storage t = _fundable(task, amount);
        t.pot += uint96(amount);
        emit PotGranted(task, amount);
        token.emitToPool(amount);
    }

    /// @notice The task's last round is the open one: it is still settled and paid, then no other opens and the creator gets the rest of the
    /// pot. At once if the round has no update.
    function closeTask(uint64 task) external onlyCreator(task) {
        Task storage t = _tasks[task];
        if (t.closing) revert TaskIsClosing(task);
        t.closing = true;
        emit TaskClosing(task);
        Round memory current = t.current;
        if (current.accepted == 0 && _committed(task, t.terms.rule, current.round) == 0) _openNextRound(task, current);
    }

    // ── A round ──────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Contributes one update to the open round of a task.
    /// @param digest of the update: keccak256(header | keccak256(group 0) | …).
    /// @param header format, encoding, task, base version, shifts, bitmap of the pages present.
    /// @param groups the pages, by settlement group.
    function submit(uint64 task, bytes32 digest, bytes calldata header, bytes[] calldata groups) external direct {
        Task storage t = _tasks[task];
        Round memory current = t.current;
        _requireOpen(task, current);
        if (current.merged != 0) revert RoundSettling(current.round, current.merged);
        Entry memory entry = t.entry;
        if (entry.rule == Evidence.NUMBER) _requireSubmission(task, t, current, entry.gate);
        uint256 maxUpdates = entry.maxUpdates;
        if (current.accepted >= maxUpdates) revert RoundFull(current.round, uint64(maxUpdates));
        uint256 minimum = _minimum(entry.minStake, maxUpdates, current.eligible);
        // The vault calls nobody then.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
        uint256 counting = vault.recordUpdate(task, msg.sender, current.round, current.openedAt, minimum);

        if (current.accepted == 0) current.firstAt = uint32(block.timestamp);
        _accept(task, t, current, entry.aspect, counting, digest, header, groups);
    }

    /// @notice Settles one group of the round's updates: all of them, in the order they were accepted. Anyone may; the last group pays.
    function settle(uint64 task, uint64 round, uint32 group, Settlement[] calldata updates) external direct {
        Task storage t = _tasks[task];
        Round memory current = t.current;
        if (round != current.round || current.version == 0) {
            _knownTask(task);
            revert WrongRound(round, current.round);
        }
        if (current.accepted == 0) revert NoUpdates(round);
        Terms memory terms = t.terms;
        if (current.merged == 0) _requireOver(terms, current);
        if (group != current.merged) revert WrongGroup(group, current.merged);
        bool judged = terms.rule == Evidence.NUMBER;

        bytes32 running = _runningHash(task, round, group, updates);
        if (running != t.running) revert RunningHashMismatch(t.running, running);

        uint256 verdicts = judged ? updates.length * Evidence.VERDICT_BYTES : 0;
        bytes memory verdict = _verdict(aspect, "m", MERGED_BYTES + verdicts);
        bytes32 head = _word(verdict, 0);
        if (
            uint64(bytes8(head)) != task || uint64(bytes8(head << 64)) != round || uint32(bytes4(head << 128)) != group
        ) revert NoVerdict();
        uint64 saturated = uint64(uint256(_word(verdict, 40)));
        emit GroupMerged(task, round, group);
        if (group + 1 < uint32(bytes4(head << 160))) {
            t.current.merged = uint24(group + 1);
            if (saturated != 0) t.saturated += uint32(saturated); // weights of a task: 2^28 at most
            return;
        }
        if (group != 0) {
            saturated += t.saturated;
            t.saturated = 0;
        }
        current.version += 1;
        uint256[] memory gains = judged ? _judged(task, current, updates, verdict) : new uint256[](0);
        emit ModelUpdated(task, current.version, _word(verdict, 32), round, current.accepted, saturated);
        _pay(task, t, terms, current, updates, gains);
        _openNextRound(task, current);
    }

    /// @notice Ends a round that nobody settles in time: nothing is paid. Anyone may. The updates are void, and the weights stay; a round that
    /// is merged in part makes a version of what is merged. A round without updates may end at any time for stake that has become ripe.
    function drop(uint64 task) external direct {
        Task storage t = _tasks[task];
        Round memory current = t.current;
        _requireOpen(task, current);
        Terms memory terms = t.terms;
        bool committed = current.accepted == 0 && _committed(task, terms.rule, current.round) != 0;
        if (current.accepted != 0 || committed || !_hasRipeStake(task)) {
            uint256 droppableAt = committed
                // nobody can commit or reveal any more, so there is nothing to wait for
                ? _revealsEnd(_sealings[task])
                : Rules.droppableAt(terms, current.accepted == 0 ? current.openedAt : current.firstAt);
            if (block.timestamp < droppableAt) revert NotYetDroppable(uint64(droppableAt));
        }
        if (terms.rule == Evidence.NUMBER && current.accepted != 0 && current.opened == 0) _forfeit(task, t, current);
        uint64 round = current.round;
        if (current.merged != 0) {
            bytes memory verdict = _verdict(aspect, "d", ENDED_BYTES);
            bytes32 head = _word(verdict, 0);
            if (uint64(bytes8(head)) != task || uint64(bytes8(head << 64)) != round) revert NoVerdict();
            current.version += 1;
            emit ModelUpdated(task, current.version, _word(verdict, 16), round, current.accepted, t.saturated);
            t.saturated = 0;
        }
        // Who ends rounds without updates must not take from the pay of those who work in the next one.
        if (current.accepted == 0) t.idle = uint32(_paidSeconds(t.idle, current.openedAt, terms.roundSeconds));
        else if (t.idle != 0) t.idle = 0;
        emit RoundDropped(task, round);
        _openNextRound(task, current);
    }

    // ── Fees and earnings ────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Shares `amount` of the caller's $LL, a fee for inference say, among the contributors and the stake of a task, half each; where
    /// there is nobody to share it, it goes to the pot, and of a closed task to its creator. Anyone may.
    function shareFees(uint64 task, uint256 amount) external {
        _termsOf(task);
        Task storage t = _tasks[task];
        _collect(amount);
        uint256 toStake = amount / 2;
        uint256 toContributors = amount - toStake;
        uint256 toPot = 0;
        // Token and vault call nobody from here. What stake gets stays here until it is claimed: a transfer less for every fee.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
        if (toStake == 0 || !vault.shareFees(task, toStake)) (toPot, toStake) = (toStake, 0);
        uint256 shares = t.shares;
        if (shares >= MIN_SHARES) {
            t.feesPerShare += (toContributors << 128) / shares; // amount <= 2^90
        } else {
            (toPot, toContributors) = (toPot + toContributors, 0);
        }
        if (toPot != 0) {
            if (_isClosed(t.current)) _send(t.creator, toPot);
            else t.pot += uint96(toPot);
        }
        emit FeesShared(task, toContributors, toStake, toPot);
    }

    /// @notice Pays out what the caller has earned in a task, and its part of the fees for that.
    function claim(uint64 task) external returns (uint256 pay, uint256 fees) {
        (pay, fees) = claimable(task, msg.sender);
        // slither-disable-next-line incorrect-equality: nobody can add to it from outside
        if (pay + fees == 0) return (0, 0);
        Claimed storage claimed = _claimed[task][msg.sender];
        claimed.pay += uint128(pay); // < 2^96
        claimed.fees += uint128(fees); // of the supply each time
        emit EarningsClaimed(task, msg.sender, pay, fees);
        _send(msg.sender, pay + fees);
    }

    // ── The vault ────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Stake that counts and whose account has no update in the open round leaves Omega at once. Only the vault.
    /// @return whether it did; while a round is being merged, Omega stays what the first group was merged with.
    function release(uint64 task, uint40 units) external returns (bool) {
        if (msg.sender != address(vault)) revert NotTheVault(msg.sender);
        Round storage current = _tasks[task].current;
        if (current.openedAt == 0) return true; // closed: nothing counts any more
        if (current.merged != 0) return false;
        current.eligible -= units;
        return true;
    }

    /// @notice Pays fees of stake, whose shares the vault counts. Only the vault.
    function payFees(address account, uint256 amount) external {
        if (msg.sender != address(vault)) revert NotTheVault(msg.sender);
        _send(account, amount);
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
        status.openedAt = current.openedAt;
        if (current.version == 0) status.loaded = current.present;
        else status.present = current.present;
        if (current.accepted == 0) {
            status.running = _seed(task, current.round);
        } else {
            status.firstAt = current.firstAt;
            status.running = t.running;
        }
        status.pot = t.pot;
        status.shares = t.shares;
        status.creator = t.creator;
        status.closing = t.closing;
        status.opened = current.opened != 0;
    }

    /// @notice What a task fixed for all its rounds.
    function termsOf(uint64 task) external view returns (Terms memory) {
        return _knownTask(task).terms;
    }

    /// @notice A model server's share of what its clients pay, 1/10000.
    function serverBpsOf(uint64 task) external view returns (uint16) {
        return _termsOf(task).serverBps;
    }

    /// @notice The open round, 0 while the task has no weights; when it opened, 0 once the task is closed; how long stake is held.
    function clockOf(uint64 task) external view returns (uint32 round, uint32 openedAt, uint32 stakeSeconds) {
        Task storage t = _knownTask(task);
        Round memory current = t.current;
        return (current.round, current.openedAt, t.terms.stakeSeconds);
    }

    /// @notice All that an account has earned in a task, wei, claimed or not.
    function earnedBy(uint64 task, address account) external view returns (uint256) {
        return _earnings[task][account].earned;
    }

    /// @notice What `claim` would pay to the account, wei: of what it earned, and of the fees.
    function claimable(uint64 task, address account) public view returns (uint256 pay, uint256 fees) {
        Earnings memory earnings = _earnings[task][account];
        Claimed memory claimed = _claimed[task][account];
        // `missed` was rounded up, so the difference may be below what was claimed by the rounding.
        uint256 shared = Math.mulDiv(earnings.earned, _knownTask(task).feesPerShare, 2 ** 128);
        uint256 taken = uint256(earnings.missed) + claimed.fees;
        return (earnings.earned - claimed.pay, shared > taken ? shared - taken : 0);
    }

    // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// Of a task that there is, which its terms tell as well: who needs no more of it than these saves a read.
    function _termsOf(uint64 task) private view returns (Terms storage terms) {
        terms = _tasks[task].terms;
        if (terms.quorumBps == 0) revert UnknownTask(task);
    }

    function _requireSound(Terms calldata terms) private view {
        if (!Rules.has(terms.rule)) revert BadTerms("rule");
        if (terms.quorumBps == 0 || terms.quorumBps > BPS) revert BadTerms("quorumBps");
        if (terms.maxUpdates == 0 || terms.maxUpdates > MAX_UPDATES) revert BadTerms("maxUpdates");
        if (terms.roundSeconds == 0 || terms.minRoundSeconds == 0 || terms.minRoundSeconds > terms.roundSeconds) {
            revert BadTerms("roundSeconds");
        }
        if (terms.dropSeconds <= terms.roundSeconds || terms.dropSeconds > MAX_SECONDS) revert BadTerms("dropSeconds");
        if (terms.stakeSeconds == 0 || terms.stakeSeconds > MAX_SECONDS) revert BadTerms("stakeSeconds");
        if (terms.minStake > vault.MAX_TOTAL()) revert BadTerms("minStake");
        if (terms.settlerBps > BPS) revert BadTerms("settlerBps");
        if (terms.serverBps > BPS / 2) revert BadTerms("serverBps");
    }

    function _isClosed(Round memory current) private pure returns (bool) {
        return current.round != 0 && current.openedAt == 0;
    }

    function _fundable(uint64 task, uint256 amount) private view returns (Task storage t) {
        t = _knownTask(task);
        if (t.closing) revert TaskIsClosing(task);
        if (amount == 0) revert ZeroAmount();
    }

    /// The token, which is ours, reverts or answers true.
    function _send(address to, uint256 amount) private {
        bool moved = token.transfer(to, amount);
        assert(moved);
    }

    /// From the caller, and from nobody else: no approval is asked for.
    function _collect(uint256 amount) private {
        bool moved = token.transferFrom(msg.sender, address(this), amount);
        assert(moved);
    }

    function _hasRipeStake(uint64 task) private view returns (bool) {
        // slither-disable-next-line unused-return
        (uint256 joining,,) = vault.changesOf(task);
        return joining != 0;
    }

    /// Omega of the next round is all stake that is ripe by now. `current` keeps the version that the caller has set. The last round of a task
    /// that is closing is followed by one that never opens.
    function _openNextRound(uint64 task, Round memory current) private {
        Task storage t = _tasks[task];
        // The vault calls nobody then.
        // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
        (uint40 joining, uint40 leaving) = vault.applyChanges(task, t.terms.stakeSeconds);
        current.round += 1;
        current.eligible = current.eligible + joining - leaving; // at most the vault's MAX_TOTAL
        current.present = 0;
        current.merged = 0;
        current.accepted = 0;
        current.opened = 0;
        bool closed = t.closing;
        current.openedAt = closed ? 0 : uint32(block.timestamp);
        _write(t.current, current);
        if (!closed) return;
        uint256 rest = t.pot;
        t.pot = 0;
        emit TaskClosed(task, rest);
        if (t.terms.rule == Evidence.NUMBER) rest += _returnBond(task);
        if (rest != 0) _send(t.creator, rest);
    }

    /// Rule `evidence`: commitments to updates in the open round.
    function _committed(uint64 task, uint8 rule, uint32 round) private view returns (uint256) {
        if (rule != Evidence.NUMBER) return 0;
        Sealing memory sealing = _sealings[task];
        return sealing.round == round ? sealing.committed : 0;
    }

    /// Rule `evidence`: the task is closed, and its creator has opened all that had to be opened. Wei.
    function _returnBond(uint64 task) private returns (uint256 bond) {
        bond = _bonds[task];
        if (bond == 0) return 0;
        _bonds[task] = 0;
        emit BondReturned(task, bond);
    }

    /// Rule `evidence`: the round's examples were not opened in time, so the creator's bond is for those whose updates are in it
    /// (EvidenceRoom.claimBond), and no more updates are taken until there is another one.
    function _forfeit(uint64 task, Task storage t, Round memory current) private {
        t.entry.gate |= HALTED;
        _sealings[task].gate |= HALTED;
        uint256 bond = _bonds[task];
        _bonds[task] = 0;
        _forfeits[task][current.round] = Forfeit(uint96(bond), current.present, t.running); // at most the supply
        emit BondForfeited(task, current.round, bond);
    }

    /// Rule `evidence`: keeps what the Aspect says of each update, and answers with the gains of the merged ones that are positive, or, where the
    /// task pays later, with two words: bit i, update i was merged; the digest of the version that the round makes.
    function _judged(uint64 task, Round memory current, Settlement[] calldata updates, bytes memory verdict)
        private
        returns (uint256[] memory gains)
    {
        bool later = current.opened > 1;
        gains = new uint256[](later ? 2 : updates.length);
        if (later) gains[1] = uint256(_word(verdict, 32));
        uint32 awaiting = later ? current.version - 1 : 0;
        for (uint256 i = 0; i < updates.length; i++) {
            bytes32 one = _word(verdict, MERGED_BYTES + i * Evidence.VERDICT_BYTES);
            int32 gain = int32(uint32(bytes4(one)));
            int32 record = int32(uint32(bytes4(one << 32)));
            uint8 outcome = uint8(bytes1(one << 64));
            address contributor = updates[i].contributor;
            _records[task][contributor] = Standing(record, awaiting);
            emit UpdateJudged(task, current.round, contributor, gain, record, outcome);
            if (outcome != Evidence.MERGED) continue;
            if (later) gains[0] |= 1 << i;
            else if (gain > 0) gains[i] = uint32(gain);
        }
    }

    /// Rule `evidence`: nobody submits once the round's examples may be opened: they may be on their way. What could be settled stays so, since
    /// Omega only falls within a round.
    function _requireSubmission(uint64 task, Task storage t, Round memory current, uint8 gate) private view {
        if (gate != UNSEALED) revert GateClosed(task, gate);
        if (current.accepted == 0) return;
        Terms memory terms = t.terms;
        uint256 since = Rules.settleableAt(terms, current.present, current.eligible, current.openedAt, current.firstAt);
        if (block.timestamp >= since) revert PhaseOver(uint64(since));
    }

    /// Before a round's first group is merged: enough stake or time, and, where the rule has any, examples.
    function _requireOver(Terms memory terms, Round memory current) private view {
        uint256 settleableAt = Rules.settleableAt(terms, current.present, current.eligible, current.openedAt, current.firstAt);
        if (block.timestamp < settleableAt) revert RoundNotOver(current.present, current.eligible, uint64(settleableAt));
        if (terms.rule == Evidence.NUMBER && current.opened == 0) revert ExamplesNotOpened(current.round);
    }

    /// Pays for a round, from the pot: the more time it took, up to `roundSeconds`, and the more stake was present. Rounds that come faster pay
    /// no more a day; stake that was away leaves its part in the pot, and so do over-long updates.
    /// `gains`: what `_judged` answers, or empty. Where the task pays later, what is shared is not divided but set aside.
    function _pay(
        uint64 task,
        Task storage t,
        Terms memory terms,
        Round memory current,
        Settlement[] calldata updates,
        uint256[] memory gains
    ) private {
        uint32 idle = t.idle;
        if (idle != 0) t.idle = 0;
        uint256 elapsed = _paidSeconds(idle, current.openedAt, terms.roundSeconds);
        uint256 most = Math.min(t.pot, terms.reward * elapsed / terms.roundSeconds);
        uint256 present = current.present;
        // Whole wei at each step, always down: what a fee of a rounded sum loses stays in the pot.
        // slither-disable-next-line divide-before-multiply
        uint256 paid = most * present / Math.max(present, current.eligible / 4);
        uint256 fee = paid * terms.settlerBps / BPS;
        uint256 shared = paid - fee;
        uint256 aside = 0;
        uint256 earned = 0;
        if (current.opened > 1) aside = _setAside(task, current, shared, gains);
        else earned = _divide(task, t.feesPerShare, terms, current, updates, gains, shared);
        // slither-disable-next-line incorrect-equality
        if (fee + aside + earned == 0) return;
        (t.pot, t.shares) = (t.pot - uint96(fee + aside + earned), t.shares + uint120(earned));
        if (fee != 0) {
            emit SettlerPaid(task, current.round, msg.sender, fee);
            _send(msg.sender, fee);
        }
    }

    /// Divides `shared` as the rule says. Answers with what is earned of it.
    function _divide(
        uint64 task,
        uint256 feesPerShare,
        Terms memory terms,
        Round memory current,
        Settlement[] calldata updates,
        uint256[] memory gains,
        uint256 shared
    ) private returns (uint256 earned) {
        for (uint256 i = 0; i < updates.length; i++) {
            Settlement calldata update = updates[i];
            address contributor = update.contributor;
            uint256 counts = gains.length == 0 ? update.effective : gains[i];
            uint256 amount = Rules.share(terms, shared, update.weight, counts, current.present, current.eligible);
            emit ContributionPaid(task, current.round, contributor, amount);
            // slither-disable-next-line incorrect-equality: nothing is credited then, whatever the reason
            if (amount == 0) continue;
            earned += amount;
            _credit(_earnings[task][contributor], amount, feesPerShare);
        }
    }

    /// Rule `evidence`, where the task pays later: what the round shares waits outside of the pot, and what pay needs to know is kept as a hash.
    /// `judged`: what `_judged` answers.
    function _setAside(uint64 task, Round memory current, uint256 shared, uint256[] memory judged)
        private
        returns (uint256)
    {
        PayBook storage book = _books[task];
        book.settled[current.version - 1] = _hashOf(
            book.digest,
            bytes32(judged[1]),
            _tasks[task].running,
            shared,
            judged[0],
            current.round,
            current.eligible,
            _examples[task].openedBatches - 1,
            block.timestamp
        );
        book.digest = bytes32(judged[1]);
        emit PaySetAside(task, current.round, shared);
        return shared;
    }

    /// What a round is paid for that ends now: the time since it opened, and that of the rounds without updates before it, up to `roundSeconds`.
    function _paidSeconds(uint256 idle, uint256 openedAt, uint256 roundSeconds) private view returns (uint256) {
        return Math.min(idle + block.timestamp - openedAt, roundSeconds);
    }

    /// Over the updates in this order, whose pages are those of the group.
    function _runningHash(uint64 task, uint64 round, uint32 group, Settlement[] calldata updates)
        private
        view
        returns (bytes32 running)
    {
        running = _seed(task, round);
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
    }
}
