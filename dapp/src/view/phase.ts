// What the open round does just now, and until when.

import { seconds } from "../format";
import { state } from "../state";

const EVIDENCE = 2;

/** As the rest of a sentence that begins "Round 4 …". */
export function phase(): string {
  const { round, terms } = state.task!;
  const due = (step: string): { from: number; until: number } | null => {
    const found = round.due?.find((one) => one.step === step);
    return found ? { from: Number(found.fromS) - state.now / 1000, until: Number(found.untilS) ? Number(found.untilS) - state.now / 1000 : Infinity } : null;
  };
  const settle = due("STEP_SETTLED");
  switch (round.phase) {
    case "PHASE_LOADING": return "waits for the first weights";
    case "PHASE_CLOSED": return "is over: the task is closed";
    case "PHASE_SETTLING": return "is being merged";
    case "PHASE_OPENED": return "is being judged by the examples that were opened for it";
    case "PHASE_OPEN": return "waits for its first update";
  }
  if (terms.rule === EVIDENCE) {
    const sealed = due("STEP_COMMITTED");
    if (sealed) return Number.isFinite(sealed.until) ? `takes sealed updates for ${seconds(sealed.until)} more` : "takes sealed updates";
    const taken = due("STEP_ACCEPTED");
    const opened = due("STEP_EXAMPLES_OPENED");
    if (taken && taken.until > 0) return Number.isFinite(taken.until) ? `takes updates for ${seconds(taken.until)} more, then its examples are opened` : "takes updates";
    return opened && Number.isFinite(opened.until) ? `waits for its examples, ${seconds(opened.until)} at most` : "waits for its examples";
  }
  const present = Number(round.presentUnits) >= (Number(round.eligibleUnits) * terms.quorumBps) / 10_000;
  if (!settle) return "takes updates";
  if (present) return settle.from > 1 ? `is merged in ${seconds(settle.from)}` : "is merged now";
  return settle.from > 1 ? `is merged in ${seconds(settle.from)}, sooner if more contribute` : "is merged as soon as somebody settles it";
}
