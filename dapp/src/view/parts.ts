// Small parts that several screens share.

import { type TemplateResult, html, nothing, svg } from "lit-html";

import { hue, percent, short } from "../format";
import { state } from "../state";
import { current } from "./current";

export type Part = TemplateResult | typeof nothing;

/** A number that leads to its block. */
export const inBlock = (block: number | string, text: unknown): Part =>
  html`<a class="block-link" href="#/block/${block}" title="Block ${block}">${text}</a>`;

export const person = (account: string): Part =>
  html`<span class="person"><i class="dot hue-${hue(account)}" aria-hidden="true"></i><code title=${account}>${
    account.toLowerCase() === state.account.toLowerCase() ? "you" : short(account)
  }</code></span>`;

/** What is waited for, in words. */
export const wait = (text: string): Part => html`<p class="waits"><span class="spinner" aria-hidden="true"></span>${text}</p>`;
/** What a step waits for, if it does. */
export const waits = (step: string): Part => (state.waits[step] ? wait(state.waits[step]) : nothing);

export const button = (text: unknown, run: () => unknown, options: { kind?: string; off?: boolean } = {}): Part =>
  html`<button type="button" class=${options.kind ?? ""} ?disabled=${options.off ?? false} @click=${run}>${text}</button>`;

/** The model's answer as bars: one a label, or only the likeliest `most` of them. */
export function bars(shares: Float32Array | null, labels: readonly string[], name: string, most = labels.length): Part {
  const ranked = labels.map((_, i) => i).sort((a, b) => (shares ? shares[b] - shares[a] : 0));
  const [top, few] = [shares ? ranked[0] : -1, most < labels.length || labels.length > 12];
  const shown = (few ? ranked.slice(0, Math.min(most, 12)) : [...labels.keys()]).map((i) => [i, labels[i]] as const);
  return html`<ol class="bars" aria-label=${name}>
    ${shown.map(
      ([i, label]) => html`<li class=${i === top ? "best" : ""}>
        <span class="bar-label">${label}</span>
        <svg viewBox="0 0 100 10" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="10" rx="2" /><rect
            class="fill"
            width=${shares ? Math.max(0, 100 * shares[i]).toFixed(1) : 0}
            height="10"
            rx="2" /></svg>
        <span class="bar-value">${shares ? percent(shares[i]) : "–"}</span>
      </li>`,
    )}
  </ol>`;
}

/** An image as the model sees it. values: (side * side) from low to high. */
export function tile(values: Float32Array | null, side: number, [low, high]: readonly number[], name: string): Part {
  const cells = [];
  for (let i = 0; values && i < side * side; i++) {
    const level = Math.round((9 * (values[i] - low)) / (high - low || 1));
    if (level > 0) cells.push(svg`<rect class="ink" x=${i % side} y=${Math.floor(i / side)} width="1.02" height="1.02" fill-opacity=${(level / 9).toFixed(2)} />`);
  }
  return html`<svg class="tile" viewBox="0 0 ${side} ${side}" role="img" aria-label=${name} shape-rendering="crispEdges">
    <rect class="paper" width=${side} height=${side} />${cells}
  </svg>`;
}

/** A line through numbers, for the eye; its text says the same. */
export function spark(values: readonly number[], name: string): Part {
  if (values.length < 2) return html`<svg class="spark" viewBox="0 0 100 30" aria-hidden="true"></svg>`;
  const most = Math.max(...values, 1e-9);
  const points = values.map((value, i) => `${((100 * i) / (values.length - 1)).toFixed(1)},${(28 - (26 * value) / most).toFixed(1)}`);
  return html`<svg class="spark" viewBox="0 0 100 30" preserveAspectRatio="none" role="img" aria-label=${name}>
    <polyline points=${points.join(" ")} />
  </svg>`;
}

export interface StepState {
  done?: boolean;
  /** Why it cannot be done yet; empty if it can. */
  locked?: string;
  hint?: string;
}

export function step(number: number, title: string, { done, locked, hint }: StepState, body: unknown): Part {
  const now = number === current();
  return html`<section class="step card ${done ? "done" : ""} ${locked ? "locked" : ""} ${now ? "now" : ""}" aria-labelledby="step-${number}" aria-current=${now ? "step" : nothing}>
    <header>
      <span class="step-number" aria-hidden="true">${done ? "✓" : number}</span>
      <h2 id="step-${number}">${title}</h2>
      ${hint ? html`<span class="hint">${hint}</span>` : nothing}
    </header>
    ${locked ? html`<p class="why">${locked}</p>` : body}
  </section>`;
}
