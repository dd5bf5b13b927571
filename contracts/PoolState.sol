// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ShapeSize} from "./BlockBounds.sol";
import {Terms} from "./Tasks.sol";
import {UpdateDigest} from "./UpdateDigest.sol";
import {ExampleSet} from "./rules/Evidence.sol";

/// @title The storage of a pool, and what all code needs that works on it: the pool's own, and that of the rooms to which it delegates
/// (rules/EvidenceRoom.sol).
/// @dev All storage of tasks is declared here and nowhere else, so that it lies at the same slots for all of them (tests hold them to that).
abstract contract PoolState {
    /// One storage slot, and the first of a task: the Aspect reads it (aspects/aggregator/pool.ts; tests hold both to solc's layout).
    struct Round {
        uint32 version; // of the weights; 0 while they are being loaded
        uint32 round; // the open round, from 1
        uint40 eligible; // Omega of this round, units
        uint40 present; // S: the influence of the accepted updates, units; pages loaded so far while version is 0
        uint32 openedAt; // of the round; 0 once the task is closed
        uint32 firstAt; // of the first accepted update, or of the first commitment where updates are sealed; stale while there is none
        uint24 merged; // settlement groups merged so far
        uint16 accepted; // updates accepted
        uint8 opened; // once the round's examples are opened, where the rule has any: 1, and how the task pays (ExampleSet)
    }

    /// One storage slot: copies of what each submission needs and nothing changes once a task is open.
    struct Entry {
        address aspect;
        uint16 maxUpdates; // of the terms
        uint40 minStake; // of the terms
        uint8 rule; // of the terms
        uint8 gate; // rule `evidence`: UNSEALED, SEALED or HALTED, 0 while no examples are committed
    }

    struct Task {
        Round current;
        bytes32 running; // over the accepted updates; stale while `accepted` is 0
        Entry entry;
        // One slot, all that the end of a round needs of it:
        uint96 pot; // wei that the task can still pay, at most the supply
        uint120 shares; // contribution shares: all that its contributors have earned, wei
        uint32 idle; // seconds of the rounds without updates just before the open one, at most `roundSeconds`
        bool closing; // no round opens after the open one
        address creator;
        uint32 saturated; // weights that hit a bound of int16 in the groups merged so far
        uint256 feesPerShare; // fees per contribution share so far, 2^-128 wei
        Terms terms;
    }

    /// One storage slot: all that an account has earned in a task, wei, and what its shares had missed of the fees when it got them.
    struct Earnings {
        uint96 earned;
        uint160 missed;
    }

    struct Claimed {
        uint128 pay;
        uint128 fees;
    }

    /// One storage slot. Rule `evidence`: `record`: E, what the account's updates did on examples that they could not know, Q16. The Aspect reads it.
    struct Standing {
        int32 record;
        uint32 awaiting; // where the task pays later, the version that the round of its last settled update began with; else 0
    }

    /// One storage slot: by `novel`, sums of an account's credits, Q14 nats. A credit is below 2^16: no lifetime makes them overflow.
    struct CreditSums {
        int64 gain; // U
        int64 novel; // X
        int64 direct; // D
        int64 paid;
    }

    /// Of a task that pays later (rules/EvidencePay.sol).
    struct PayBook {
        uint32 next; // the version that the first unpaid round began with; 0 where the task pays at settlement
        uint16 full;
        bytes32 digest; // of the current version
        mapping(uint32 version => bytes32) settled; // what is kept of the round that began with it; paid, with what it adds to the memory
        mapping(address account => CreditSums) sums;
    }

    /// Rule `evidence`: where updates are sealed, and how many are. One storage slot, with copies of what a commitment needs.
    struct Sealing {
        uint32 revealSeconds; // that reveals are taken; 0: unsealed
        uint32 round; // the last one with a commitment, …
        uint16 committed; // … how many it has, …
        uint32 revealsFrom; // … and from when on they are revealed: `roundSeconds` after the first of them
        uint40 minStake; // of the terms
        uint16 maxUpdates; // of the terms
        uint8 gate; // as in `Entry`
    }

    /// Rule `evidence`: an account's last commitment; one storage slot.
    struct Commitment {
        bytes27 hash; // 0 once it is revealed
        uint40 counting; // units of its account in the round
    }

    /// Rule `evidence`: the creator's bond, forfeited to those whose updates are in a round.
    struct Forfeit {
        uint96 bond; // wei
        uint40 present; // S of the round
        bytes32 running; // of the round
    }

    /// What a task's gate is; EvidenceRoom has the third.
    uint8 internal constant UNSEALED = 1; // `submit`
    uint8 internal constant HALTED = 4; // no update until there is a bond again; beside one of the others
    /// Bytes of the Aspect's verdict on an update.
    uint256 internal constant JUDGED_BYTES = 77; // digest 32 | sender 20 | task 8 | omega 8 | e 8 | flags 1
    /// The token is the pool's second creation (EIP-161: its nonces count from 1).
    uint8 internal constant TOKEN_NONCE = 2;
    /// Artela's precompile that reads the transaction's context: input scope | key, output the raw bytes.
    address internal constant CONTEXT = 0x0000000000000000000000000000000000000064;

    address public aspect;
    /// Tasks count from 1: 0 means no task everywhere on the wire.
    uint64 public nextTask = 1;
    mapping(uint64 task => Task) internal _tasks;
    mapping(uint64 task => mapping(address account => Earnings)) internal _earnings;
    mapping(uint64 task => mapping(address account => Claimed)) internal _claimed;
    // slither-disable-next-line uninitialized-state: EvidenceRoom writes it
    mapping(uint64 task => ExampleSet) internal _examples;
    mapping(uint64 task => mapping(address account => Standing)) internal _records;
    mapping(uint64 task => PayBook) internal _books;
    mapping(uint64 task => Sealing) internal _sealings;
    // slither-disable-next-line unused-state: EvidenceRoom uses it
    mapping(uint64 task => mapping(address account => Commitment)) internal _commitments;
    /// What the creator has put down that the examples will be opened, wei.
    mapping(uint64 task => uint256) internal _bonds;
    mapping(uint64 task => mapping(uint64 round => Forfeit)) internal _forfeits;
    // slither-disable-next-line unused-state: EvidenceRoom uses it
    mapping(uint64 task => mapping(uint64 round => mapping(address account => bool))) internal _bondClaimed;

    event UpdateAccepted(
        uint64 indexed task, uint64 indexed round, address indexed contributor, bytes32 digest, uint64 weight, uint64 effective
    );
    event ContributionPaid(uint64 indexed task, uint64 indexed round, address indexed contributor, uint256 amount);
    event SettlerPaid(uint64 indexed task, uint64 indexed round, address indexed settler, uint256 amount);
    event TaskClosing(uint64 indexed task);

    error NotCreator(address caller);
    error NotDirect(address caller, address origin);
    error AspectNotSet();
    error BadTerms(string field);
    error UnknownTask(uint64 task);
    error TaskNotReady(uint64 task);
    error TaskAlreadyLoaded(uint64 task);
    error TaskIsClosing(uint64 task);
    error NoVerdict();
    error WrongRound(uint64 given, uint64 current);
    error NoUpdates(uint64 round);
    error RoundNotOver(uint64 present, uint64 eligible, uint64 settleableAt);
    error PhaseOver(uint64 since);
    error NoExamples(uint64 task);
    error GateClosed(uint64 task, uint8 gate);
    error WrongVerdict(uint64 weight, uint64 effective, uint64 most);
    error WrongDigest(bytes32 claimed, bytes32 actual);
    error RoundFull(uint64 round, uint64 maxUpdates);
    error RoundSettling(uint64 round, uint64 mergedGroups);

    /// The transaction's own call: the Aspect's writes are undone only when the whole transaction fails.
    modifier direct() {
        if (msg.sender != tx.origin) revert NotDirect(msg.sender, tx.origin);
        _;
    }

    modifier onlyCreator(uint64 task) {
        if (msg.sender != _knownTask(task).creator) revert NotCreator(msg.sender);
        _;
    }

    /// What the pool has made with this nonce, 1 to 127: the hash of the RLP list of its address and the nonce.
    function _created(uint8 nonce) internal view returns (address) {
        return address(uint160(uint256(keccak256(abi.encodePacked(hex"d694", address(this), nonce)))));
    }

    function _knownTask(uint64 task) internal view returns (Task storage) {
        if (task == 0 || task >= nextTask) revert UnknownTask(task);
        return _tasks[task];
    }

    /// Of a task that there is not, the version is 0, too.
    function _requireOpen(uint64 task, Round memory current) internal view {
        if (current.version == 0) {
            _knownTask(task);
            revert TaskNotReady(task);
        }
        if (current.openedAt == 0) revert TaskIsClosing(task);
    }

    /// Takes an update into the round: the end of `submit` and of `revealUpdate`. `counting`: the sender's stake in the round.
    function _accept(
        uint64 task,
        Task storage t,
        Round memory current,
        address judge,
        uint256 counting,
        bytes32 digest,
        bytes calldata header,
        bytes[] calldata groups
    ) internal {
        bytes memory verdict = _verdict(judge, "s", JUDGED_BYTES);
        bytes32 tail = _word(verdict, 45);
        uint64 weight = uint64(bytes8(tail << 120));
        uint64 effective = uint64(bytes8(tail << 184));
        if (
            _word(verdict, 0) != digest || address(bytes20(_word(verdict, 32))) != msg.sender
                || uint64(bytes8(tail << 56)) != task
        ) revert NoVerdict();
        // The Aspect's word is not enough for what decides over pay.
        uint256 most = current.eligible < 4 ? counting : Math.min(counting, current.eligible / 4);
        if (weight == 0 || weight > most || effective > weight) revert WrongVerdict(weight, effective, uint64(most));
        bytes32 actual = UpdateDigest.ofGroups(header, groups);
        if (actual != digest) revert WrongDigest(digest, actual);

        // slither-disable-next-line incorrect-equality: a count
        t.running = _next(
            current.accepted == 0 ? _seed(task, current.round) : t.running, digest, msg.sender, weight, effective
        );
        current.accepted += 1;
        current.present += uint40(weight); // <= Omega, which every counting stake is in once
        _write(t.current, current);
        emit UpdateAccepted(task, current.round, msg.sender, digest, weight, effective);
    }

    /// When nobody reveals any more, Unix seconds.
    function _revealsEnd(Sealing storage sealing) internal view returns (uint256) {
        return uint256(sealing.revealsFrom) + sealing.revealSeconds;
    }

    /// To fill a round with dust takes a quarter of all stake.
    function _minimum(uint256 minStake, uint256 maxUpdates, uint256 eligible) internal pure returns (uint256) {
        return Math.max(minStake, eligible / (4 * maxUpdates));
    }

    /// Writes the whole slot at once: solc would read and write it for every few members.
    function _write(Round storage slot, Round memory current) internal {
        uint256 low = uint256(current.version) | uint256(current.round) << 32 | uint256(current.eligible) << 64
            | uint256(current.present) << 104;
        uint256 high = uint256(current.openedAt) << 144 | uint256(current.firstAt) << 176 | uint256(current.merged) << 208
            | uint256(current.accepted) << 232 | uint256(current.opened) << 248;
        assembly ("memory-safe") {
            sstore(slot.slot, or(low, high))
        }
    }

    /// From the head of the verdict on a shape.
    function _sizeOf(bytes32 head) internal pure returns (ShapeSize memory) {
        return ShapeSize({
            pages: uint32(bytes4(head << 64)),
            groups: uint32(bytes4(head << 96)),
            groupPages: uint32(bytes4(head << 128)),
            groupWeights: uint32(bytes4(head << 160)),
            headerBytes: uint32(bytes4(head << 192)),
            tensors: uint32(bytes4(head << 224))
        });
    }

    /// What our Aspect left in this transaction's context under `key`. No Aspect bound, or not this call judged: NoVerdict.
    function _verdict(address from, bytes1 key, uint256 length) internal returns (bytes memory verdict) {
        if (from == address(0)) revert AspectNotSet();
        bool done;
        assembly ("memory-safe") {
            // The question, 21 bytes, in the scratch space; both operands are left-aligned or made so.
            mstore(0, or(shl(96, from), shr(160, key)))
            done := call(gas(), CONTEXT, 0, 0, 21, 0, 0)
            done := and(done, eq(returndatasize(), length))
            verdict := mload(0x40)
            mstore(0x40, add(verdict, and(add(length, 63), not(31))))
            mstore(verdict, length)
            returndatacopy(add(verdict, 32), 0, mul(done, length))
        }
        if (!done) revert NoVerdict();
    }

    /// The 32 bytes at `offset`; beyond the end they are whatever memory holds, so callers take only what the length covers.
    function _word(bytes memory data, uint256 offset) internal pure returns (bytes32 word) {
        assembly ("memory-safe") {
            word := mload(add(add(data, 32), offset))
        }
    }

    /// What is kept of a settled round that is paid later.
    function _hashOf(
        bytes32 before,
        bytes32 digest,
        bytes32 running,
        uint256 shared,
        uint256 merged,
        uint256 round,
        uint256 eligible,
        uint256 batch,
        uint256 settledAt
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(before, digest, running, shared, merged, round, eligible, batch, settledAt));
    }

    function _seed(uint64 task, uint64 round) internal view returns (bytes32) {
        return keccak256(abi.encode(block.chainid, address(this), task, round));
    }

    function _next(bytes32 running, bytes32 digest, address contributor, uint64 weight, uint64 effective)
        internal
        pure
        returns (bytes32 next)
    {
        // keccak256(abi.encodePacked(…)), whose memory nobody keeps; each word overwrites what is too much of the one before.
        assembly ("memory-safe") {
            let scratch := mload(0x40)
            mstore(scratch, running)
            mstore(add(scratch, 32), digest)
            mstore(add(scratch, 64), shl(96, contributor))
            mstore(add(scratch, 84), shl(192, weight))
            mstore(add(scratch, 92), shl(192, effective))
            next := keccak256(scratch, 100)
        }
    }

    /// New shares have missed all fees so far: rounded up, so that all of them together never get more than there was.
    /// `earned` and `missed` would overflow only after the whole supply (< 2^90 wei) went through one task's pot, to one account, 2^6 times, or
    /// through its fees 2^20 times with next to no shares.
    function _credit(Earnings storage slot, uint256 amount, uint256 feesPerShare) internal {
        Earnings memory earnings = slot;
        earnings.earned += uint96(amount);
        if (feesPerShare != 0) {
            earnings.missed += uint160(Math.mulDiv(amount, feesPerShare, 2 ** 128, Math.Rounding.Ceil));
        }
        (slot.earned, slot.missed) = (earnings.earned, earnings.missed);
    }
}
