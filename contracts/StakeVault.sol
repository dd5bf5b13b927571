// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Votes} from "@openzeppelin/contracts/governance/utils/Votes.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

/// What the vault asks of the pool that made it.
interface IRounds {
    /// @return round the open one, 0 while the task has no weights; openedAt of it, 0 once the task is closed; stakeSeconds of the terms.
    function clockOf(uint64 task) external view returns (uint32 round, uint32 openedAt, uint32 stakeSeconds);

    /// @return whether the open round's Omega went down by `units`; false while the round is being merged.
    function release(uint64 task, uint40 units) external returns (bool);

    /// @notice Pays `amount` wei of the fees that the pool holds for stake.
    function payFees(address account, uint256 amount) external;
}

/// And of the room that knows what the pool pays later (rules/EvidencePay.sol), to which the pool delegates this.
interface IPaidLater {
    /// @return whether a settled update of the account waits for its pay.
    function isUnpaid(uint64 task, address account) external view returns (bool);
}

/// @title Locked $LL: influence in a task, a share of its fees, votes in whatever governs the pool later.
///
/// Stake is held for time, not for blocks. What is locked in an epoch of `stakeSeconds` matures at the start of the second next one, so after
/// one to two times `stakeSeconds`, and counts in the rounds that open from then on (at once while the task has no weights yet: no pay is at
/// risk). What is unlocked stops counting: if its account has no update in the open round, Omega goes down at once, because nobody's pay may
/// be diluted by stake that cannot take part any more; otherwise it leaves with the next round. It is paid out `stakeSeconds` later, and not
/// before the end of a round in which the account has an update, nor before its last update is paid, where the task pays later: stake is what
/// a new account after each harm costs.
///
/// The Aspect reads `_stakes` (aspects/aggregator/pool.ts; tests hold both to solc's layout).
contract StakeVault is Votes {
    /// One storage slot.
    struct Stake {
        uint40 amount; // all locked units
        uint40 fresh; // those of them that count only in rounds opened at `maturesAt` or later
        uint32 maturesAt;
        uint32 submitted; // the last round with an accepted update, or with a commitment to one
        uint40 unlocking; // unlocked and not yet withdrawn
        uint32 withdrawableAt;
    }

    /// One storage slot: what will change Omega when a round opens.
    struct Changes {
        uint40 ripe; // mature, and not counted yet
        uint40 warming; // locked in the epoch before `epoch`
        uint40 locked; // locked in `epoch`
        uint40 leaving; // unlocked, and still counted
        uint32 epoch; // time / stakeSeconds
        uint40 total; // all locked units of the task
    }

    /// Fees for an account's stake: what its units earned until the accumulator stood at `seen`.
    struct Fees {
        uint256 seen; // 2^-128 wei a unit
        uint256 owed; // wei
    }

    /// 1 unit of stake, in wei of $LL.
    uint256 public constant UNIT = 1e15;
    /// Units that a task may hold: keeps the Aspect's sums inside 63 bits.
    uint40 public constant MAX_TOTAL = 2 ** 38;

    IRounds public immutable pool;
    IERC20 public immutable token;

    mapping(uint64 task => mapping(address account => Stake)) private _stakes;
    mapping(uint64 task => Changes) private _changes;
    /// Units that share fees: all but fresh ones that no round has counted yet, or whose account has not moved since.
    mapping(uint64 task => uint256) private _sharing;
    /// Fees per sharing unit so far, 2^-128 wei.
    mapping(uint64 task => uint256) private _feesPerUnit;
    mapping(uint64 task => mapping(address account => Fees)) private _fees;

    event StakeLocked(uint64 indexed task, address indexed account, uint64 units, uint64 maturesAt);
    event StakeUnlocked(uint64 indexed task, address indexed account, uint64 units, uint64 withdrawableAt);
    event StakeWithdrawn(uint64 indexed task, address indexed account, uint64 units);
    event StakeMatured(uint64 indexed task, address indexed account, uint64 units);
    event StakeFeesClaimed(uint64 indexed task, address indexed account, uint256 amount);

    error NotThePool(address caller);
    error TaskClosed(uint64 task);
    error ZeroUnits();
    error StakeLimit(uint64 units, uint64 limit);
    error InsufficientStake(uint64 locked, uint64 asked);
    error StakeStillLocked(uint64 withdrawableAt, uint64 round);
    error StakeAwaitsPay(uint64 task);
    error BelowMinimumStake(uint64 counting, uint64 minimum);
    error AlreadySubmitted(uint64 task, uint64 round, address account);

    modifier onlyPool() {
        if (msg.sender != address(pool)) revert NotThePool(msg.sender);
        _;
    }

    /// @param token_ $LL; the pool makes it after this contract.
    constructor(IERC20 token_) EIP712("LinkLearner stake", "1") {
        pool = IRounds(msg.sender);
        token = token_;
    }

    // ── Anyone ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Locks `units` of $LL for a task. Fresh stake of the account that no round has counted yet starts anew with it.
    function lock(uint64 task, uint40 units) external {
        (uint32 round, uint32 openedAt, uint32 stakeSeconds) = pool.clockOf(task);
        if (round != 0 && openedAt == 0) revert TaskClosed(task);
        if (units == 0) revert ZeroUnits();
        Changes memory changes = _roll(task, stakeSeconds);
        // In this order nothing can overflow: units <= 2^38 first.
        if (units > MAX_TOTAL || changes.total + units > MAX_TOTAL) revert StakeLimit(units, MAX_TOTAL);
        Stake memory stake = _stakes[task][msg.sender];
        _count(task, msg.sender, stake, round, openedAt);
        uint40 fresh = stake.fresh + units;
        _takeFresh(changes, stake, stake.fresh, stakeSeconds);
        stake.amount += units;
        stake.fresh = fresh;
        if (round == 0) {
            changes.ripe += fresh;
            stake.maturesAt = 0;
        } else {
            changes.locked += fresh;
            stake.maturesAt = uint32((block.timestamp / stakeSeconds + 2) * stakeSeconds);
        }
        changes.total += units;
        _changes[task] = changes;
        _stakes[task][msg.sender] = stake;
        _transferVotingUnits(address(0), msg.sender, units);
        emit StakeLocked(task, msg.sender, units, stake.maturesAt);
        bool moved = token.transferFrom(msg.sender, address(this), units * UNIT);
        assert(moved);
    }

    /// @notice Asks for `units` back, fresh ones first. They stop counting now; `withdraw` pays them out from `stakeSeconds` later on, and
    /// with them whatever was unlocked before and not withdrawn.
    function unlock(uint64 task, uint40 units) external {
        (uint32 round, uint32 openedAt, uint32 stakeSeconds) = pool.clockOf(task);
        if (units == 0) revert ZeroUnits();
        Stake memory stake = _stakes[task][msg.sender];
        if (units > stake.amount) revert InsufficientStake(stake.amount, units);
        Changes memory changes = _roll(task, stakeSeconds);
        _count(task, msg.sender, stake, round, openedAt);
        uint40 fromFresh = units < stake.fresh ? units : stake.fresh;
        _takeFresh(changes, stake, fromFresh, stakeSeconds);
        uint40 counted = units - fromFresh;
        if (counted != 0) {
            _settleFees(task, msg.sender, stake.amount - fromFresh - stake.fresh);
            _sharing[task] -= counted;
            // An account with an update in the open round takes part in it: its stake stays in Omega until the end.
            // The pool calls nobody then.
            // slither-disable-next-line reentrancy-no-eth,reentrancy-benign,reentrancy-events
            if (stake.submitted == round || !pool.release(task, counted)) changes.leaving += counted;
        }
        stake.amount -= units;
        stake.unlocking += units;
        stake.withdrawableAt = uint32(block.timestamp) + stakeSeconds;
        changes.total -= units;
        _changes[task] = changes;
        _stakes[task][msg.sender] = stake;
        _transferVotingUnits(msg.sender, address(0), units);
        emit StakeUnlocked(task, msg.sender, units, stake.withdrawableAt);
    }

    /// @notice Pays out what was unlocked `stakeSeconds` ago, unless the account has an update in the open round: then after that.
    function withdraw(uint64 task) external {
        // slither-disable-next-line unused-return
        (uint32 round, uint32 openedAt,) = pool.clockOf(task);
        Stake storage slot = _stakes[task][msg.sender];
        Stake memory stake = slot;
        if (stake.unlocking == 0) revert ZeroUnits();
        bool takesPart = round != 0 && stake.submitted == round && openedAt != 0;
        if (block.timestamp < stake.withdrawableAt || takesPart) revert StakeStillLocked(stake.withdrawableAt, takesPart ? round : 0);
        if (IPaidLater(address(pool)).isUnpaid(task, msg.sender)) revert StakeAwaitsPay(task);
        slot.unlocking = 0;
        emit StakeWithdrawn(task, msg.sender, stake.unlocking);
        _send(msg.sender, stake.unlocking * UNIT);
    }

    /// @notice Makes fresh stake of the caller share in fees, if a round has counted it. Submitting, locking and unlocking do that, too.
    function mature(uint64 task) external {
        // slither-disable-next-line unused-return
        (uint32 round, uint32 openedAt,) = pool.clockOf(task);
        Stake memory stake = _stakes[task][msg.sender];
        uint40 fresh = stake.fresh;
        _count(task, msg.sender, stake, round, openedAt);
        if (stake.fresh == fresh) return;
        _stakes[task][msg.sender] = stake;
        // Who replays the history counts the units that share fees: all else that changes them has an event already.
        emit StakeMatured(task, msg.sender, fresh);
    }

    /// @notice Pays out the fees of the caller's stake in a task.
    function claim(uint64 task) external returns (uint256 amount) {
        amount = feesOf(task, msg.sender);
        // Nothing is written then, and no event tells of it: fractions of a wei stay with the account.
        if (amount == 0) return 0;
        _fees[task][msg.sender] = Fees({seen: _feesPerUnit[task], owed: 0});
        emit StakeFeesClaimed(task, msg.sender, amount);
        pool.payFees(msg.sender, amount);
    }

    // ── The pool ─────────────────────────────────────────────────────────────────────────────────────────────────────────

    // A call is compared with the selectors in ascending order, 22 gas each: `applyChanges` and `recordUpdate`, which every round needs, are
    // the first two by their names.

    /// @notice One update per account and round, and only from enough stake. Returns the units that count in the round.
    function recordUpdate(uint64 task, address account, uint32 round, uint32 openedAt, uint256 minimum)
        external
        onlyPool
        returns (uint256 counting)
    {
        Stake storage slot = _stakes[task][account];
        Stake memory stake = slot;
        if (stake.submitted == round) revert AlreadySubmitted(task, round, account);
        uint40 fresh = stake.fresh;
        _count(task, account, stake, round, openedAt);
        counting = stake.amount - stake.fresh;
        if (counting < minimum) revert BelowMinimumStake(uint64(counting), uint64(minimum));
        // Of the slot's members no other one changes.
        if (stake.fresh != fresh) slot.fresh = stake.fresh;
        slot.submitted = round;
    }

    /// @notice A round opens now. Returns what joins and what leaves Omega.
    function applyChanges(uint64 task, uint32 stakeSeconds) external onlyPool returns (uint40 joining, uint40 leaving) {
        Changes memory changes = _roll(task, stakeSeconds);
        (joining, leaving) = (changes.ripe, changes.leaving);
        // slither-disable-next-line incorrect-equality: most rounds change nothing, and write nothing
        if (joining == 0 && leaving == 0) return (0, 0);
        changes.ripe = 0;
        changes.leaving = 0;
        _changes[task] = changes;
    }

    /// @notice Shares `amount`, which the pool holds, among the stake of a task. False, and nothing happens, if there is none.
    function shareFees(uint64 task, uint256 amount) external onlyPool returns (bool) {
        uint256 sharing = _sharing[task];
        if (sharing == 0) return false;
        // At most Σ fees * 2^128 / 1 unit < 2^96 * 2^128 for each time that the whole supply goes through: no overflow in any lifetime.
        _feesPerUnit[task] += (amount << 128) / sharing;
        return true;
    }

    // ── Views ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice An account's stake in a task, units: what counts in the open round, what does not yet and from when on it may, and what was
    /// unlocked and from when on it can be withdrawn (an update in the open round is waited for, too).
    function stakeOf(uint64 task, address account)
        external
        view
        returns (uint64 counting, uint64 fresh, uint64 maturesAt, uint64 unlocking, uint64 withdrawableAt)
    {
        // slither-disable-next-line unused-return
        (uint32 round, uint32 openedAt,) = pool.clockOf(task);
        Stake memory stake = _stakes[task][account];
        fresh = _isCounted(stake, round, openedAt) ? 0 : stake.fresh;
        return (stake.amount - fresh, fresh, stake.maturesAt, stake.unlocking, stake.withdrawableAt);
    }

    /// @notice The last round in which an update of the account was accepted, or committed to where updates are sealed; 0 if none.
    function submittedIn(uint64 task, address account) external view returns (uint64 round) {
        return _stakes[task][account].submitted;
    }

    /// @notice What would join and leave Omega if a round opened now, and all locked units of the task.
    function changesOf(uint64 task) external view returns (uint64 joining, uint64 leaving, uint64 total) {
        // slither-disable-next-line unused-return
        (,, uint32 stakeSeconds) = pool.clockOf(task);
        Changes memory changes = _roll(task, stakeSeconds);
        return (changes.ripe, changes.leaving, changes.total);
    }

    /// @notice Fees that `claim` would pay to the account, wei.
    function feesOf(uint64 task, address account) public view returns (uint256) {
        Stake memory stake = _stakes[task][account];
        Fees memory fees = _fees[task][account];
        return fees.owed + Math.mulDiv(stake.amount - stake.fresh, _feesPerUnit[task] - fees.seen, 2 ** 128);
    }

    /// @notice Time in seconds, for the checkpoints of votes (ERC-6372).
    function clock() public view override returns (uint48) {
        return Time.timestamp();
    }

    /// @notice What `clock` counts (ERC-6372).
    // slither-disable-next-line naming-convention: the standard's name
    function CLOCK_MODE() public pure override returns (string memory) {
        return "mode=timestamp";
    }

    // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// What will change Omega, as of now.
    function _roll(uint64 task, uint32 stakeSeconds) private view returns (Changes memory changes) {
        changes = _changes[task];
        uint32 epoch = uint32(block.timestamp) / stakeSeconds;
        // slither-disable-next-line incorrect-equality: epochs are counted, and compared from here on
        if (epoch == changes.epoch) return changes;
        changes.ripe += changes.warming;
        changes.warming = changes.locked;
        changes.locked = 0;
        if (epoch > changes.epoch + 1) {
            changes.ripe += changes.warming;
            changes.warming = 0;
        }
        changes.epoch = epoch;
    }

    /// The token, which is the pool's, reverts or answers true.
    function _send(address to, uint256 amount) private {
        bool moved = token.transfer(to, amount);
        assert(moved);
    }

    function _isCounted(Stake memory stake, uint32 round, uint32 openedAt) private pure returns (bool) {
        return round != 0 && (openedAt == 0 || stake.maturesAt <= openedAt);
    }

    /// Fresh stake that the open round counts is like all other from now on: it shares in fees.
    function _count(uint64 task, address account, Stake memory stake, uint32 round, uint32 openedAt) private {
        if (stake.fresh == 0 || !_isCounted(stake, round, openedAt)) return;
        _settleFees(task, account, stake.amount - stake.fresh);
        _sharing[task] += stake.fresh;
        stake.fresh = 0;
    }

    /// Takes `units` of the fresh stake out of the bucket in which they wait.
    function _takeFresh(Changes memory changes, Stake memory stake, uint40 units, uint32 stakeSeconds) private pure {
        if (units == 0) return;
        stake.fresh -= units;
        uint256 matureEpoch = stake.maturesAt / stakeSeconds;
        // slither-disable-next-line incorrect-equality: whole epochs, after `_roll`
        if (matureEpoch == uint256(changes.epoch) + 2) changes.locked -= units;
        // slither-disable-next-line incorrect-equality
        else if (matureEpoch == uint256(changes.epoch) + 1) changes.warming -= units;
        else changes.ripe -= units;
    }

    /// Credits the fees that `units` of the account earned since it was last seen.
    function _settleFees(uint64 task, address account, uint256 units) private {
        uint256 now_ = _feesPerUnit[task];
        Fees storage fees = _fees[task][account];
        uint256 seen = fees.seen;
        if (now_ == seen) return;
        if (units != 0) fees.owed += Math.mulDiv(units, now_ - seen, 2 ** 128);
        fees.seen = now_;
    }

    /// Locked units, fresh or not, are votes of whom the account has delegated to.
    function _getVotingUnits(address account) internal view override returns (uint256) {
        return _votingUnits[account];
    }

    mapping(address account => uint256) private _votingUnits;

    function _transferVotingUnits(address from, address to, uint256 units) internal override {
        if (from != address(0)) _votingUnits[from] -= units;
        if (to != address(0)) _votingUnits[to] += units;
        super._transferVotingUnits(from, to, units);
    }
}
