// SPDX-License-Identifier: MIT
pragma solidity 0.8.37;

import {IERC20} from "@openzeppelin/contracts/token/ERC20/IERC20.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";
import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";
import {ITrainingPool} from "./interfaces/ITrainingPool.sol";

/// @title Paid inference: deposits of $LL, and the vouchers that servers redeem from them.
///
/// A client deposits for one server. With its requests it hands that server vouchers, each for all that the client owes it in a task since
/// the beginning (`amount` only grows), signed and free of gas; the server keeps the highest and redeems now and then, in bulk. What a
/// redemption pays is split: the server's share of the task, the rest to the task's contributors and stake through the pool.
///
/// What a voucher is worth. It is a debt, not money: it pays `amount` less what was redeemed before in that task, out of what the channel
/// holds, and what the channel cannot cover stays owed until the voucher expires. So vouchers that were not redeemed before their client
/// withdrew are worth nothing while the channel is empty and become good again when it deposits again: the service was given. A client that
/// does not want that waits for their expiry before it deposits again. Deposits of a client for two servers have nothing to do with each
/// other; the tasks of one channel share its deposit, so a server sums over tasks what it is owed.
///
/// Withdrawing. Asking for it is visible at once (`channelOf`), and a server stops serving then; the money leaves no earlier than
/// `withdrawalDelay` later, and what the server redeems before it has left is the server's. A deposit revokes the wish: nobody but the client
/// deposits into its channels, so nobody else can delay it, and a channel that takes deposits never has a withdrawal that could be drawn at once.
///
/// Nobody owns this contract, nothing in it can be changed, and withdrawing depends on the token alone. Re-entrancy has no way in: the token
/// is the pool's, an ERC-20 without hooks; the pool calls the token and its own vault; contract signatures are asked for by STATICCALL. All
/// the same, every balance is written before a token moves. $LL sent here without `deposit` is lost.
contract InferenceEscrow is EIP712 {
    using SafeERC20 for IERC20;

    /// What a client signs (EIP-712).
    struct Voucher {
        address client;
        address server;
        uint64 task;
        uint256 amount; // wei of $LL that the client owes the server in this task, since the beginning
        uint64 expiry; // Unix seconds; the last second in which it is good
    }

    /// One storage slot.
    struct Channel {
        uint128 deposit; // wei
        uint64 withdrawableAt; // Unix seconds; 0 while no withdrawal is asked for
    }

    /// Vouchers of one task that stand together in a redemption.
    struct Run {
        uint64 task;
        uint16 serverBps;
        uint256 amount; // wei
    }

    /// Why a voucher was passed over.
    enum Reason {
        None,
        Expired,
        NothingNew, // as much or more was redeemed before
        NothingLeft, // the channel is empty
        UnknownTask,
        WrongSignature
    }

    bytes32 public constant VOUCHER_TYPEHASH =
        keccak256("Voucher(address client,address server,uint64 task,uint256 amount,uint64 expiry)");
    uint256 public constant MAX_WITHDRAWAL_DELAY = 30 days;
    /// Gas that a client's contract may use to check a signature: it must not be able to burn what the other vouchers of a redemption need.
    uint256 public constant SIGNATURE_GAS = 200_000;
    uint256 private constant BPS = 10_000;

    ITrainingPool public immutable pool;
    IERC20 public immutable token;
    /// Seconds between asking for a withdrawal and the withdrawal.
    uint64 public immutable withdrawalDelay;

    mapping(address client => mapping(address server => Channel)) private _channels;
    /// Wei, since the beginning. No withdrawal resets it: a voucher would pay twice.
    mapping(address client => mapping(address server => mapping(uint64 task => uint256))) private _redeemed;

    event Deposited(address indexed client, address indexed server, uint256 amount, uint256 deposit);
    event WithdrawalAsked(address indexed client, address indexed server, uint64 withdrawableAt);
    event WithdrawalRevoked(address indexed client, address indexed server);
    event Withdrawn(address indexed client, address indexed server, uint256 amount);
    /// `paid` now, `redeemed` since the beginning.
    event VoucherRedeemed(
        address indexed client, address indexed server, uint64 indexed task, uint256 paid, uint256 redeemed
    );
    event VoucherSkipped(
        address indexed client, address indexed server, uint64 indexed task, uint256 amount, Reason reason
    );
    event FeesSplit(address indexed server, uint64 indexed task, uint256 toServer, uint256 toPool);

    error BadDelay(uint256 delay, uint256 maximum);
    error ZeroAmount();
    error DepositLimit(uint256 amount, uint256 room);
    error NothingDeposited(address client, address server);
    error AlreadyAsked(uint64 withdrawableAt);
    error NotAsked(address client, address server);
    error NotYetWithdrawable(uint64 withdrawableAt);
    error UnequalLengths(uint256 vouchers, uint256 signatures);
    error NotTheServer(address server, address caller);

    /// @param withdrawalDelay_ seconds, 1 to 30 days: longer than the longest session and a server's time between redemptions together.
    constructor(ITrainingPool pool_, uint64 withdrawalDelay_) EIP712("LinkLearner InferenceEscrow", "1") {
        if (withdrawalDelay_ == 0 || withdrawalDelay_ > MAX_WITHDRAWAL_DELAY) {
            revert BadDelay(withdrawalDelay_, MAX_WITHDRAWAL_DELAY);
        }
        pool = pool_;
        token = IERC20(pool_.token());
        withdrawalDelay = withdrawalDelay_;
        // Once, instead of 25,000 gas a redemption. The pool takes from its own caller only, here from `redeem`.
        token.forceApprove(address(pool_), type(uint256).max);
    }

    // ── The client ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Adds `amount` wei of the caller's $LL to what `server` can redeem. Revokes a withdrawal that was asked for.
    function deposit(address server, uint256 amount) external {
        _deposit(server, amount);
    }

    /// @notice The same with an ERC-2612 permit of the caller for exactly `amount`.
    function depositWithPermit(address server, uint256 amount, uint256 deadline, uint8 v, bytes32 r, bytes32 s) external {
        // Whoever sees the permit may hand it to the token first. It has done its work then: the allowance decides.
        // The token calls nobody, and nothing was read before it.
        // slither-disable-next-line reentrancy-benign,reentrancy-events
        try IERC20Permit(address(token)).permit(msg.sender, address(this), amount, deadline, v, r, s) {} catch {}
        _deposit(server, amount);
    }

    /// @notice Asks for what is left of the caller's deposit for `server`. `withdraw` gives it in `withdrawalDelay` seconds.
    function askWithdrawal(address server) external {
        Channel storage channel = _channels[msg.sender][server];
        if (channel.withdrawableAt != 0) revert AlreadyAsked(channel.withdrawableAt);
        if (channel.deposit == 0) revert NothingDeposited(msg.sender, server);
        uint64 withdrawableAt = uint64(block.timestamp) + withdrawalDelay;
        channel.withdrawableAt = withdrawableAt;
        emit WithdrawalAsked(msg.sender, server, withdrawableAt);
    }

    /// @notice Pays the caller what is left of its deposit for `server`.
    function withdraw(address server) external returns (uint256 amount) {
        Channel memory channel = _channels[msg.sender][server];
        // slither-disable-next-line incorrect-equality: 0 is no time but the absence of one
        if (channel.withdrawableAt == 0) revert NotAsked(msg.sender, server);
        if (block.timestamp < channel.withdrawableAt) revert NotYetWithdrawable(channel.withdrawableAt);
        amount = channel.deposit;
        // slither-disable-next-line incorrect-equality: a channel's deposit, which nobody else can add to
        if (amount == 0) revert NothingDeposited(msg.sender, server);
        delete _channels[msg.sender][server];
        emit Withdrawn(msg.sender, server, amount);
        token.safeTransfer(msg.sender, amount);
    }

    // ── The server ───────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice Redeems vouchers for the caller, their server. A voucher that pays nothing is passed over and named by VoucherSkipped: of a
    /// redemption under way, time and clients can spoil some, and the others must not suffer. What only the caller can get wrong reverts:
    /// lists of unequal lengths, vouchers for another server.
    ///
    /// Only the server, because who redeems chooses: the moment (whose stake shares the fees), and among tasks of one channel which are paid
    /// from a deposit that does not cover all. Vouchers of a task that stand together are split and shared at once; each change of task costs
    /// one more sharing.
    /// @return paid by all clients together, in wei, before the split.
    function redeem(Voucher[] calldata vouchers, bytes[] calldata signatures) external returns (uint256 paid) {
        if (vouchers.length != signatures.length) revert UnequalLengths(vouchers.length, signatures.length);
        Run[] memory runs = new Run[](vouchers.length);
        uint256 count = 0;
        Run memory run = Run(0, 0, 0);
        for (uint256 i = 0; i < vouchers.length; i++) {
            Voucher calldata voucher = vouchers[i];
            if (voucher.server != msg.sender) revert NotTheServer(voucher.server, msg.sender);
            if (run.amount == 0 || run.task != voucher.task) {
                (bool known, uint16 serverBps) = _serverBps(voucher.task);
                if (!known) {
                    _skip(voucher, Reason.UnknownTask);
                    continue;
                }
                run = Run(voucher.task, serverBps, 0);
            }
            uint256 amount = _debit(voucher, signatures[i]);
            if (amount == 0) continue;
            if (run.amount == 0) runs[count++] = run;
            run.amount += amount;
            paid += amount;
        }
        _payOut(runs, count);
    }

    /// @notice Whether a signature makes a voucher good today, whatever its channel holds. A contract's answer may change any time: a server
    /// that takes vouchers of contracts trusts their code.
    /// @return whether it is the account's own signature, or the client's contract takes it (EIP-1271).
    function isSigned(Voucher calldata voucher, bytes calldata signature) public view returns (bool) {
        bytes32 digest = digestOf(voucher);
        // The key first, whatever code its account has: one that delegates to code later (EIP-7702) does not unsign what it has signed.
        if (_isSignedByKey(voucher.client, digest, signature)) return true;
        // A call, because only calls can be given so much gas and no more; for clients that are contracts, and forgeries.
        // slither-disable-next-line calls-loop,var-read-using-this
        try this.isSignedByContract{gas: SIGNATURE_GAS}(voucher.client, digest, signature) returns (bool signed) {
            return signed;
        } catch {
            return false;
        }
    }

    /// @notice Whether a contract takes a signature for its own; for `isSigned`.
    function isSignedByContract(address client, bytes32 digest, bytes calldata signature) external view returns (bool) {
        return SignatureChecker.isValidERC1271SignatureNowCalldata(client, digest, signature);
    }

    /// @notice What a client signs.
    function digestOf(Voucher calldata voucher) public view returns (bytes32) {
        return _hashTypedDataV4(keccak256(abi.encode(VOUCHER_TYPEHASH, voucher)));
    }

    // ── Views ────────────────────────────────────────────────────────────────────────────────────────────────────────────

    /// @notice What a server can still redeem from a client, in wei, and from when on the client can take it back: 0 while it has not asked.
    function channelOf(address client, address server) external view returns (uint256 deposit_, uint64 withdrawableAt) {
        Channel memory channel = _channels[client][server];
        return (channel.deposit, channel.withdrawableAt);
    }

    /// @notice What a server has redeemed from a client in a task since the beginning, in wei: later vouchers pay what exceeds it.
    function redeemedOf(address client, address server, uint64 task) external view returns (uint256) {
        return _redeemed[client][server][task];
    }

    // ── Inside ───────────────────────────────────────────────────────────────────────────────────────────────────────────

    function _deposit(address server, uint256 amount) private {
        if (amount == 0) revert ZeroAmount();
        Channel memory channel = _channels[msg.sender][server];
        uint256 room = type(uint128).max - channel.deposit;
        if (amount > room) revert DepositLimit(amount, room);
        if (channel.withdrawableAt != 0) emit WithdrawalRevoked(msg.sender, server);
        channel = Channel(channel.deposit + uint128(amount), 0);
        _channels[msg.sender][server] = channel;
        emit Deposited(msg.sender, server, amount, channel.deposit);
        token.safeTransferFrom(msg.sender, address(this), amount);
    }

    /// Takes what a voucher pays out of its channel. 0: nothing, and an event says why.
    function _debit(Voucher calldata voucher, bytes calldata signature) private returns (uint256 amount) {
        if (block.timestamp > voucher.expiry) return _skip(voucher, Reason.Expired);
        uint256 redeemed = _redeemed[voucher.client][voucher.server][voucher.task];
        if (voucher.amount <= redeemed) return _skip(voucher, Reason.NothingNew);
        Channel storage channel = _channels[voucher.client][voucher.server];
        uint128 left = channel.deposit;
        if (left == 0) return _skip(voucher, Reason.NothingLeft);
        if (!isSigned(voucher, signature)) return _skip(voucher, Reason.WrongSignature);
        amount = voucher.amount - redeemed;
        if (amount > left) amount = left;
        channel.deposit = left - uint128(amount); // amount <= left < 2^128
        _redeemed[voucher.client][voucher.server][voucher.task] = redeemed + amount; // <= voucher.amount
        emit VoucherRedeemed(voucher.client, voucher.server, voucher.task, amount, redeemed + amount);
    }

    /// The server's share is rounded down; the rest is the pool's, to the wei.
    function _payOut(Run[] memory runs, uint256 count) private {
        uint256 toServer = 0;
        for (uint256 i = 0; i < count; i++) {
            uint256 share = runs[i].amount * runs[i].serverBps / BPS; // < 2^(128 + 16 + vouchers)
            toServer += share;
            // slither-disable-next-line reentrancy-events: the pool calls nobody but the token and its own vault
            emit FeesSplit(msg.sender, runs[i].task, share, runs[i].amount - share);
            // The pool is trusted not to fail for a task that it has named; one that did could be left out of a redemption.
            // slither-disable-next-line calls-loop
            pool.shareFees(runs[i].task, runs[i].amount - share);
        }
        if (toServer != 0) token.safeTransfer(msg.sender, toServer);
    }

    function _serverBps(uint64 task) private view returns (bool known, uint16 serverBps) {
        // A view, once for each change of task: whoever redeems chose how many.
        // slither-disable-next-line calls-loop
        try pool.serverBpsOf(task) returns (uint16 bps) {
            return (true, bps);
        } catch {
            return (false, 0);
        }
    }

    function _isSignedByKey(address client, bytes32 digest, bytes calldata signature) private pure returns (bool) {
        // The third value tells a malformed signature's length or s: all faults are one here.
        // slither-disable-next-line unused-return
        (address signer, ECDSA.RecoverError fault,) = ECDSA.tryRecoverCalldata(digest, signature);
        return fault == ECDSA.RecoverError.NoError && signer == client;
    }

    function _skip(Voucher calldata voucher, Reason reason) private returns (uint256) {
        emit VoucherSkipped(voucher.client, voucher.server, voucher.task, voucher.amount, reason);
        return 0;
    }
}
