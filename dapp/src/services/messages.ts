// The messages of the protos, as protobuf's JSON has them: uint64 as text, bytes as base64. Of each, what this page reads.

export interface Terms {
  /** 1: mean, 2: evidence. */
  rule: number;
  quorumBps: number;
  maxUpdates: number;
  roundSeconds: number;
  minStakeUnits: string;
  rewardWei: string;
}
export interface Version {
  version: string;
  digest: string;
}
export interface RoundStatus {
  round: string;
  acceptedCount: number;
  presentUnits: string;
  eligibleUnits: string;
  phase: string;
  /** untilS: "0" where there is no such time. */
  due?: { step: string; fromS: string; untilS: string }[];
}
export interface Task {
  task: string;
  model: string;
  shape: string;
  terms: Terms;
  version?: Version;
  round: RoundStatus;
  creator: string;
  potWei: string;
  sharesWei: string;
  closing: boolean;
  /** Rule evidence. */
  examples?: { exampleCount: number; openedExampleCount: number };
}
export interface Receipt {
  blockNumber: string;
  gasUsed: string;
}
/** What rule evidence said of an update; gain and record in 2^-16. */
export interface Verdict {
  outcome: string;
  gainQ16: number;
  recordQ16: number;
}
export interface Contribution {
  contributor: string;
  digest: string;
  effectiveUnits: string;
  receipt?: Receipt;
  updateBytes: string;
  paidWei: string;
  verdict?: Verdict;
}
export interface Round {
  round: string;
  contributions?: Contribution[];
  version?: Version;
  settlements?: Receipt[];
  dropped: boolean;
  /** Rule evidence: what was opened to judge it. */
  examples?: { exampleCount: number; receipt?: Receipt };
}
export interface Chain {
  chainId: string;
  pool: string;
  token: string;
  aspect: string;
  vault: string;
  deployedBlockNumber: string;
}
export interface Stake {
  eligibleUnits: string;
  lockedUnits: string;
  maturesS: string;
}
export interface Balance {
  tokenWei: string;
  coinWei: string;
  stake?: Stake;
}
export interface Earnings {
  earnedWei: string;
  payWei: string;
  feesWei: string;
  /** Rule evidence: of the account, in 2^-16. */
  recordQ16?: number;
}
export interface InferParameter {
  stringParam?: string;
}
