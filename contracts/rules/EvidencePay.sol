// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {Math} from "@openzeppelin/contracts/utils/math/Math.sol";
import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";

import {BlockBounds, ShapeSize} from "../BlockBounds.sol";
import {PoolState} from "../PoolState.sol";
import {SettledRound, Settlement, Terms} from "../Tasks.sol";
import {UpdateDigest} from "../UpdateDigest.sol";
import {Evidence, ExampleSet} from "./Evidence.sol";

/// @title Rule `evidence`, pay by `novel` and by `fair`: rounds later, by what an update added to public knowledge. What that is the Aspect says
/// (aspects/aggregator/rules/evidence/pay.ts); all of it is in Python, too (linklearner.domain.rules.evidence.ledger).
/// @dev At settlement the round's `shared` leaves the pot and a hash of the round is kept. To pay, its updates are calldata again, those of the
/// eight rounds before them too. Rounds are paid in order, each once. A round counts here as the version that it began with.
abstract contract EvidencePay is PoolState {
    uint8 internal constant NOVEL = 1;
    uint8 internal constant FAIR = 2;
    /// H: a round is paid when so many more batches of examples are opened.
    uint256 private constant HORIZON = 10;
    uint256 private constant MEMORY_ROUNDS = 8;
    /// Whether each update of a round was merged is kept in one word.
    uint256 private constant MAX_UPDATES_PAID_LATER = 256;
    /// Q14 nats (0.02) that an account has to add before it is paid, and how much of what it adds beyond is due.
    int256 private constant DEPOSIT = 328;
    int256 private constant LEVERAGE = 3;
    uint16 private constant MAX_FULL = 2 ** 15;
    uint256 private constant WHOLE = 10_000;
    uint256 private constant PAY_SET_BYTES = 40; // as OPENED | gas of an example's forward pass 8
    uint256 private constant PAID_BYTES = 16; // task 8 | from 4 | rounds 4; then of each paid round:
    uint256 private constant KEPT_BYTES = 32; // the hash of what is kept of it; then of each of its updates:
    uint256 private constant CREDIT_BYTES = 12; // gain 4 | direct 4 | novel 4

    event PayNamed(uint64 indexed task, uint8 pay, uint16 full);
    event RoundsPaid(uint64 indexed task, uint32 first, uint32 count);
    event UpdateCredited(
        uint64 indexed task, uint64 indexed round, address indexed contributor, int32 gain, int32 direct, int32 novel
    );
    event PayReturned(uint64 indexed task, uint64 indexed round, uint256 amount);

    error PayDoesNotFit(uint256 gas, uint256 mostGas, uint256 bytes_, uint256 mostBytes);
    error WrongVersion(uint32 given, uint32 next);
    error NotTheSettledRound(uint32 version);
    error PayNotDue(uint32 version, uint64 from);

    // That there are examples, and a round to be paid, the Aspect has seen.

    /// @notice Names how the task pays: by `novel` or `fair` instead of `gain`. Once, after the examples are committed to and before the last
    /// page is loaded.
    /// @param full Q14 nats that earn an account its whole part of a round.
    function namePay(uint64 task, uint8 pay_, uint16 full) external onlyCreator(task) direct {
        Task storage t = _tasks[task];
        ExampleSet storage set = _examples[task];
        if (t.current.version != 0 || set.pay != 0) revert TaskAlreadyLoaded(task);
        if (pay_ != NOVEL && pay_ != FAIR) revert BadTerms("pay");
        if (full == 0 || full > MAX_FULL) revert BadTerms("full");
        if (t.entry.maxUpdates > MAX_UPDATES_PAID_LATER) revert BadTerms("maxUpdates");
        bytes memory verdict = _verdict(aspect, "e", PAY_SET_BYTES);
        bytes32 head = _word(verdict, 0);
        if (uint64(bytes8(head)) != task) revert NoVerdict();
        // Every batch has an example at least, and no more than eleven judge a round.
        uint256 examples = set.examples - (set.batches > HORIZON + 1 ? set.batches - HORIZON - 1 : 0);
        _requireFit(t.entry.maxUpdates, _sizeOf(head), examples, uint64(bytes8(_word(verdict, 32))));
        set.pay = pay_;
        (_books[task].next, _books[task].full) = (1, full);
        emit PayNamed(task, pay_, full);
    }

    /// @notice Pays rounds of a task, in order. Anyone may: of what each round shares the payer gets `settlerBps`, as who settled it did.
    /// @param first the version with which the first of them began: the next one that is not paid.
    /// @param base the weights with which the first of `rounds` began, little-endian int16.
    /// @param rounds the eight settled rounds before (as many as there are), then those to be paid.
    function pay(uint64 task, uint32 first, bytes calldata base, SettledRound[] calldata rounds) external direct {
        // slither-disable-next-line redundant-statements: the name is in the ABI; the Aspect takes the weights from the calldata
        base;
        PayBook storage book = _books[task];
        // Of a task that pays at settlement this is 0, and there is no version 0.
        if (first != book.next) revert WrongVersion(first, book.next);
        uint256 remembered = Math.min(first - 1, MEMORY_ROUNDS);
        uint256 length = PAID_BYTES + (rounds.length - remembered) * KEPT_BYTES;
        for (uint256 i = remembered; i < rounds.length; i++) length += rounds[i].updates.length * CREDIT_BYTES;
        bytes memory verdict = _verdict(aspect, "p", length);
        bytes32 head = _word(verdict, 0);
        if (
            uint64(bytes8(head)) != task || uint32(bytes4(head << 64)) != first
                || uint32(bytes4(head << 96)) != rounds.length
        ) revert NoVerdict();
        uint32 version = uint32(first - remembered);
        for (uint256 i = 0; i < remembered; i++) {
            _requireRemembered(task, version, rounds[i]);
            version++;
        }
        emit RoundsPaid(task, first, uint32(rounds.length - remembered));
        book.next = uint32(first + rounds.length - remembered);
        uint256 offset = PAID_BYTES;
        for (uint256 i = remembered; i < rounds.length; i++) {
            _settle(task, version, rounds[i], _word(verdict, offset));
            _divide(task, rounds[i], verdict, offset + KEPT_BYTES);
            offset += KEPT_BYTES + rounds[i].updates.length * CREDIT_BYTES;
            version++;
        }
    }

    /// The round is paid, and `kept` is what of it is remembered.
    function _requireRemembered(uint64 task, uint32 version, SettledRound calldata round) private view {
        bytes32 settled = keccak256(abi.encode(_settledHash(task, round), keccak256(round.kept)));
        if (settled != _books[task].settled[version]) revert NotTheSettledRound(version);
    }

    /// The round is one that is to be paid now; from here on it is one that is remembered. `kept`: the hash of what of it.
    function _settle(uint64 task, uint32 version, SettledRound calldata round, bytes32 kept) private {
        PayBook storage book = _books[task];
        bytes32 settled = _settledHash(task, round);
        if (settled != book.settled[version] || round.kept.length != 0) revert NotTheSettledRound(version);
        _requireDue(task, version, round);
        book.settled[version] = keccak256(abi.encode(settled, kept));
    }

    /// @notice Whether an update of the account was settled and waits for its pay: until then its stake stays locked.
    function isUnpaid(uint64 task, address account) external view returns (bool) {
        uint32 awaiting = _records[task][account].awaiting;
        return awaiting != 0 && awaiting >= _books[task].next;
    }

    /// @notice How a task pays: 0 by gain, 1 novel, 2 fair; what earns an account its whole part of a round; the version of the next round that is
    /// not paid, 0 where pay is by gain.
    function payOf(uint64 task) external view returns (uint8 pay_, uint16 full, uint32 next) {
        PayBook storage book = _books[task];
        return (_examples[task].pay, book.full, book.next);
    }

    /// @notice By `novel`: U, X and D of an account, and what of its due is paid, Q14 nats.
    function creditOf(uint64 task, address account) external view returns (CreditSums memory) {
        return _books[task].sums[account];
    }

    /// What the pool kept of the round, if these are its updates. Whether it is what it kept is for the caller to see.
    function _settledHash(uint64 task, SettledRound calldata round) private view returns (bytes32) {
        bytes32 running = _seed(task, round.round);
        for (uint256 i = 0; i < round.updates.length; i++) {
            Settlement calldata update = round.updates[i];
            bytes32 actual = UpdateDigest.ofBytes(update.pages);
            if (update.digests.length != 1 || update.digests[0] != actual) revert WrongDigest(0, actual);
            bytes32 digest = UpdateDigest.ofDigests(update.header, update.digests);
            running = _next(running, digest, update.contributor, update.weight, update.effective);
        }
        return _hashOf(
            round.before,
            round.digest,
            running,
            round.shared,
            round.merged,
            round.round,
            round.eligible,
            round.batch,
            round.settledAt
        );
    }

    /// W is known: it cannot grow any more, or nobody has opened anything for so long that it is left at what there is.
    function _requireDue(uint64 task, uint32 version, SettledRound calldata round) private view {
        ExampleSet storage set = _examples[task];
        if (set.openedBatches > round.batch + HORIZON || set.openedBatches == set.batches) return;
        if (_tasks[task].current.openedAt == 0) return;
        uint256 from = round.settledAt + HORIZON * _tasks[task].terms.dropSeconds;
        if (block.timestamp < from) revert PayNotDue(version, uint64(from));
    }

    /// Divides what settlement set aside; what is not earned goes back to the pot, of a closed task to its creator. `offset`: of the first credit.
    function _divide(uint64 task, SettledRound calldata round, bytes memory verdict, uint256 offset) private {
        Task storage t = _tasks[task];
        uint256 fee = round.shared * t.terms.settlerBps / WHOLE;
        uint256 shared = round.shared - fee;
        uint256 earned = 0;
        for (uint256 i = 0; i < round.updates.length; i++) {
            uint256 counts = _count(task, round, i, _word(verdict, offset));
            offset += CREDIT_BYTES;
            // slither-disable-next-line incorrect-equality: nothing is credited then, whatever the reason
            if (counts == 0) continue;
            Settlement calldata update = round.updates[i];
            // < 2^96 * 2^38 * 2^15; at most its weight's part, since no count is above full
            uint256 amount = shared * update.weight * counts / (uint256(round.eligible) * _books[task].full);
            emit ContributionPaid(task, round.round, update.contributor, amount);
            // slither-disable-next-line incorrect-equality
            if (amount == 0) continue;
            earned += amount;
            _credit(_earnings[task][update.contributor], amount, t.feesPerShare);
        }
        uint256 back = shared - earned;
        bool closed = t.current.openedAt == 0;
        (t.pot, t.shares) = (t.pot + (closed ? 0 : uint96(back)), t.shares + uint120(earned));
        if (fee != 0) {
            emit SettlerPaid(task, round.round, msg.sender, fee);
            _payOut(msg.sender, fee);
        }
        if (back != 0) {
            emit PayReturned(task, round.round, back);
            if (closed) _payOut(t.creator, back);
        }
    }

    /// What of one update's credit counts, 0 to full.
    function _count(uint64 task, SettledRound calldata round, uint256 index, bytes32 credit) private returns (uint256) {
        PayBook storage book = _books[task];
        address contributor = round.updates[index].contributor;
        int32 gain = int32(uint32(bytes4(credit)));
        int32 direct = int32(uint32(bytes4(credit << 32)));
        int32 novel = int32(uint32(bytes4(credit << 64)));
        emit UpdateCredited(task, round.round, contributor, gain, direct, novel);
        if (_examples[task].pay == FAIR) return novel > 0 ? Math.min(uint32(novel), book.full) : 0;
        CreditSums memory sums = book.sums[contributor];
        sums.gain += gain;
        sums.novel += novel;
        sums.direct += direct;
        int256 least = sums.gain < sums.novel ? sums.gain : sums.novel;
        int256 due = LEVERAGE * (least - DEPOSIT);
        if (sums.direct < due) due = sums.direct;
        uint256 counts = 0;
        if (due > sums.paid) {
            counts = Math.min(uint256(due - sums.paid), book.full);
            sums.paid += int64(uint64(counts));
        }
        book.sums[contributor] = sums;
        return counts;
    }

    /// The token, which is the pool's, reverts or answers true.
    function _payOut(address to, uint256 amount) private {
        bool moved = IERC20(_created(TOKEN_NONCE)).transfer(to, amount);
        assert(moved);
    }

    /// Whether a full round can be paid in one block, with eight full rounds in the memory, and all examples opened by then that can be. `work`: gas
    /// of one example's forward pass, at most.
    /// @dev The dearest that was measured, and more: int8, dense, values and atoms of which none stands out (linklearner.domain.capacity is the same
    /// in Python; a test pays such rounds).
    function _requireFit(uint256 updates, ShapeSize memory size, uint256 examples, uint256 work) private pure {
        uint256 weights = size.groupWeights;
        uint256 all = (MEMORY_ROUNDS + 1) * updates;
        // Each update int8 and dense, with eight owners; the base; each round's head.
        uint256 data = 500 + 2 * weights + (MEMORY_ROUNDS + 1) * 512 + all * (161 + BlockBounds.settleBytes(1, size));
        uint256 gas = 200_000 + 16 * data + all * 3_000 + data / 3 + updates * 40_000; // transaction, pool, calldata
        gas += (all + 3 * (MEMORY_ROUNDS + 1)) * 3 * weights; // reading them, and making the merges again
        gas += updates * (6 * (all + MEMORY_ROUNDS) * (60 + 31 * weights / 50) + 60 * weights); // what the memory explains
        gas += (5 * updates + 1) * examples * work; // what they did on the examples
        if (gas > BlockBounds.GAS || data > BlockBounds.CALLDATA) {
            revert PayDoesNotFit(gas, BlockBounds.GAS, data, BlockBounds.CALLDATA);
        }
    }
}
