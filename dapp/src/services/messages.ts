// The messages of the protos, as protobuf's JSON has them: uint64 as text, bytes as base64. Of each, what this page reads.

export interface Terms {
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
  due?: { step: string; fromS: string }[];
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
}
export interface Receipt {
  blockNumber: string;
  gasUsed: string;
}
export interface Contribution {
  contributor: string;
  digest: string;
  effectiveUnits: string;
  receipt?: Receipt;
  updateBytes: string;
  paidWei: string;
}
export interface Round {
  round: string;
  contributions?: Contribution[];
  version?: Version;
  settlements?: Receipt[];
  dropped: boolean;
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
}
export interface InferParameter {
  stringParam?: string;
}
