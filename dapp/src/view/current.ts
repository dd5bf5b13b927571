// The one step that is next: it stands out, and its button is the one that is filled.

import * as actions from "../actions";
import { drawable } from "../domain/model";
import { state } from "../state";

export function current(): number {
  const { model, samples, wallet, trained, training, carried, outcome, answer, waits, task, balance } = state;
  if (!model?.layers || !drawable(model)) return wallet ? 6 : 2;
  if (waits["ask"]) return 6;
  if (waits["submit"]) return 4;
  if (carried.held) return 5;
  if (training) return 3;
  if (outcome && !trained && actions.isServed() && !answer) return 6;
  if (samples.length < actions.LEAST_SAMPLES) return 1;
  const staked = wallet && task && actions.onOurChain() && BigInt(balance?.stake?.lockedUnits ?? 0) >= actions.leastStake();
  if (!staked || waits["wallet"]) return 2;
  if (!trained || trained.base !== state.weightsVersion) return 3;
  return actions.isEligible() ? 4 : 2;
}
