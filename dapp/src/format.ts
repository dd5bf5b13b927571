// Numbers and names for people.

import { numberOf, ofBase64, hexOf } from "./domain/bytes";
import type { Verdict } from "./services/messages";

export const wei = (base64: string | undefined): bigint => (base64 ? numberOf(ofBase64(base64)) : 0n);
export const hex = (base64: string): string => hexOf(ofBase64(base64));

/** An amount of 10^18, with at most so many digits behind the point. */
export function amount(value: bigint, digits = 2): string {
  const whole = Number(value) / 1e18;
  if (value > 0n && whole < 10 ** -digits) return `<${10 ** -digits}`;
  return whole.toLocaleString("en", { maximumFractionDigits: digits });
}

export const units = (value: string | number | bigint): string => amount(BigInt(value) * 10n ** 15n);
export const count = (value: number | string | bigint): string => Number(value).toLocaleString("en");
export const percent = (share: number): string => (Number.isNaN(share) ? "–" : `${(100 * share).toFixed(share >= 0.9995 || share === 0 ? 0 : 1)}\u00a0%`);
export const short = (text: string): string => (text.length > 13 ? `${text.slice(0, 6)}…${text.slice(-4)}` : text);

export function seconds(value: number): string {
  if (value < 1) return "now";
  if (value < 90) return `${Math.ceil(value)} s`;
  return value < 5400 ? `${Math.round(value / 60)} min` : `${Math.round(value / 3600)} h`;
}

const SCALE = 65536; // of gains and records
/** A gain as a share of the loss, or a record, with its sign. */
export const gain = (q16: number): string => `${q16 > 0 ? "+" : q16 < 0 ? "−" : "±"}${((100 * Math.abs(q16)) / SCALE).toFixed(1)}\u00a0%`;
export const record = (q16: number): string => `${q16 > 0 ? "+" : q16 < 0 ? "−" : ""}${(Math.abs(q16) / SCALE).toFixed(3)}`;

const REASONS: Record<string, string> = {
  OUTCOME_EMPTY: "it moves no weight",
  OUTCOME_NO_RECORD: "the account's record is not above 0",
  OUTCOME_NO_GAIN: "the model is no better with it on the examples opened so far",
  OUTCOME_GUARDED: "with the round's updates the loss rose, so that none of them was taken",
};
/** Why rule evidence did not merge an update; empty if it did. */
export const refusal = ({ outcome }: Verdict): string => (outcome === "OUTCOME_MERGED" ? "" : (REASONS[outcome] ?? outcome));

/** A hue of an account, the same everywhere: one of twelve classes. */
export const hue = (account: string): number => parseInt(account.slice(2, 8), 16) % 12;
