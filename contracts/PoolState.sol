// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";

import {ShapeSize} from "./BlockBounds.sol";
import {Terms} from "./Tasks.sol";
import {ExampleSet} from "./rules/Evidence.sol";

/// @title The storage of a pool, and what all code needs that works on it: the pool's own, and that of the rooms to which it delegates
/// (rules/EvidenceRoom.sol).
/// @dev All storage of tasks is declared here and nowhere else, so that it lies at the same slots for whoever inherits it (tests hold them
/// to that). What a contract declares itself comes behind.
abstract contract PoolState {
    /// One storage slot, and the first of a task: the Aspect reads it (aspects/aggregator/pool.ts; tests hold both to solc's layout).
    struct Round {
        uint32 version; // of the weights; 0 while they are being loaded
        uint32 round; // the open round, from 1
        uint40 eligible; // Omega of this round, units
        uint40 present; // S: the influence of the accepted updates, units; pages loaded so far while version is 0
        uint32 openedAt; // of the round; 0 once the task is closed
        uint32 firstAt; // of the first accepted update; stale while there is none
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

    /// The pool's creations, in order (EIP-161: its nonces count from 1).
    uint8 internal constant VAULT_NONCE = 1;
    uint8 internal constant TOKEN_NONCE = 2;
    /// Artela's precompile that reads the transaction's context: input scope | key, output the raw bytes.
    address internal constant CONTEXT = 0x0000000000000000000000000000000000000064;

    address public aspect;
    /// Tasks count from 1: 0 means no task everywhere on the wire.
    uint64 public nextTask = 1;
    mapping(uint64 task => Task) internal _tasks;
    mapping(uint64 task => mapping(address account => Earnings)) internal _earnings;
    mapping(uint64 task => mapping(address account => Claimed)) internal _claimed;
    mapping(uint64 task => ExampleSet) internal _examples;
    mapping(uint64 task => mapping(address account => Standing)) internal _records;
    mapping(uint64 task => PayBook) internal _books;

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
