// A task to look at: who is in the round, how good each version is, what it cost, and what was refused.

import { html, nothing, svg } from "lit-html";
import { keyed } from "lit-html/directives/keyed.js";

import type { Event } from "../chain/contracts";
import { best, predict } from "../domain/training";
import { amount, count, gain, hex, hue, percent, record, refusal, seconds, short, units, wei } from "../format";
import { type VersionPoint, state } from "../state";
import { type Part, inBlock, person } from "./parts";
import { phase } from "./phase";

const SEATS = 24;
const EVIDENCE = 2; // the rule

/** Who has ever had an update accepted. */
export const contributors = (): Set<string> =>
  new Set(state.live.events.filter((one) => one.name === "UpdateAccepted").map((one) => String(one.values["contributor"])));

export function live(): Part {
  const { task, model } = state;
  if (!task) return nothing;
  const points = state.live.points;
  const last = points.at(-1);
  const measured = points.filter((one) => one.accuracy !== null);
  const better = measured.length > 1 ? 100 * (measured.at(-1)!.accuracy! - measured[0].accuracy!) : 0;
  const merged = state.live.events.filter((one) => one.name === "UpdateAccepted").length;
  return html`<div class="live">
    <div class="column">
      <section class="card orbit-card" aria-label="The open round">${orbit()}${roundLine()}</section>
      ${judged()}
      <section class="card happened"><header><h2>What happened</h2></header>${feed()}</section>
    </div>
    <div class="column">
      <div class="tiles">
        ${stat("Accuracy", measured.length ? percent(measured.at(-1)!.accuracy!) : "–", !measured.length ? "not measured here" : better > 0 ? `${better.toFixed(0)} points more than version ${measured[0].version}` : "on 100 digits it never saw")}
        ${stat("Version", task.version?.version ?? "–", last ? html`block ${inBlock(last.block, count(last.block))}` : "")}
        ${stat("In the pot", html`${amount(wei(task.potWei), 0)} <small>$LL</small>`, html`${amount(wei(task.sharesWei))} $LL earned so far`)}
        ${stat("Contributors", count(contributors().size), `${count(merged)} updates`)}
      </div>
      <section class="card accuracy"><header><h2>Accuracy by version</h2></header>${chart(points)}</section>
      ${reads()}
    </div>
    <div class="column">
      <section class="card gas"><header><h2>Gas by version</h2><span class="hint">submitting and settling</span></header>${gasChart(points)}</section>
    </div>
    <div class="column">
      <section class="card refused"><header><h2>Refused</h2><span class="hint">in the newest blocks</span></header>
        ${state.live.refused.length
          ? html`<ul class="feed">${state.live.refused.slice(0, 8).map(
              (one) => html`<li class="bad"><span>${person(one.from)} <b>${one.reason}</b></span>${inBlock(one.block, `block ${count(one.block)}`)}<span class="fine whole">${one.text.slice(0, 160)}</span></li>`,
            )}</ul>`
          : html`<p class="fine">Nothing that reached the chain was refused lately.</p>`}
      </section>
    </div>
    <section class="card terms"><header><h2>Terms</h2>${task.terms.rule === EVIDENCE ? html`<span class="hint">rule evidence: an update is merged if it helps on examples that nobody knew</span>` : nothing}</header><dl class="facts">
      <div><dt>Model</dt><dd>${model?.summary ?? "unknown"}</dd></div>
      <div><dt>Weights</dt><dd>${state.shape ? count(state.shape.weightCount) : "–"}</dd></div>
      <div><dt>Creator</dt><dd>${person(hex(task.creator))}</dd></div>
      <div><dt>Reward of a full round</dt><dd>${amount(wei(task.terms.rewardWei))} $LL in ${seconds(task.terms.roundSeconds)}</dd></div>
      <div><dt>Quorum</dt><dd>${task.terms.quorumBps / 100} % of stake</dd></div>
      ${task.terms.rule === EVIDENCE
        ? html`<div><dt>Examples opened</dt><dd>${task.examples ? `${count(task.examples.openedExampleCount)} of ${count(task.examples.exampleCount)}` : "–"}</dd></div>`
        : nothing}
      <div><dt>Least stake</dt><dd>${units(task.terms.minStakeUnits)} $LL</dd></div>
    </dl></section>
  </div>`;
}

const stat = (name: string, value: unknown, more: unknown): Part =>
  html`<section class="card stat"><h2>${name}</h2><p class="big">${value}</p><p class="fine">${more}</p></section>`;

/** The model in the middle, people around it; whose update is in the open round is joined to it. */
function orbit(): Part {
  const task = state.task!;
  const stakes = new Map<string, number>();
  for (const one of state.live.events) {
    if (one.name === "StakeLocked") stakes.set(String(one.values["account"]).toLowerCase(), Number(one.values["units"]) + (stakes.get(String(one.values["account"]).toLowerCase()) ?? 0));
  }
  const here = new Set((state.round?.round === task.round.round ? (state.round?.contributions ?? []) : []).map((one) => hex(one.contributor)));
  for (const one of here) if (!stakes.has(one)) stakes.set(one, 1);
  const people = [...stakes].sort((a, b) => b[1] - a[1]).slice(0, SEATS).sort((a, b) => (a[0] < b[0] ? -1 : 1));
  const most = Math.max(1, ...people.map(([, stake]) => stake));
  const quorum = (Number(task.round.eligibleUnits) * task.terms.quorumBps) / 10_000;
  const share = quorum ? Math.min(1, Number(task.round.presentUnits) / quorum) : 0;
  const around = 2 * Math.PI * 34;
  const seats = people.map(([account, stake], i) => {
    const angle = (2 * Math.PI * i) / people.length - Math.PI / 2;
    return { account, angle, x: 100 + 74 * Math.cos(angle), y: 100 + 74 * Math.sin(angle), r: 4 + 6 * Math.sqrt(stake / most), in: here.has(account) };
  });
  const label = `Version ${task.version?.version ?? 0}; ${here.size} of ${people.length} people are in round ${task.round.round}, ${percent(share)} of the stake that it takes.`;
  return html`<svg class="orbit" viewBox="0 0 200 200" role="img" aria-label=${label}>
    <circle class="path" cx="100" cy="100" r="74" />
    ${seats.map((one) =>
      one.in
        ? svg`<line class="thread hue-${hue(one.account)}" x1=${one.x.toFixed(1)} y1=${one.y.toFixed(1)} x2=${(100 + 37 * Math.cos(one.angle)).toFixed(1)} y2=${(100 + 37 * Math.sin(one.angle)).toFixed(1)} />`
        : nothing,
    )}
    <circle class="track" cx="100" cy="100" r="34" />
    <circle class="ring" cx="100" cy="100" r="34" transform="rotate(-90 100 100)" stroke-dasharray="${(share * around).toFixed(1)} ${around.toFixed(1)}" />
    ${keyed(task.version?.version, svg`<circle class="wave" cx="100" cy="100" r="28" />`)}
    <circle class="core" cx="100" cy="100" r="28" />
    <text class="core-number" x="100" y="104" text-anchor="middle">${task.version?.version ?? "…"}</text>
    <text class="core-name" x="100" y="115" text-anchor="middle">version</text>
    ${seats.map(
      (one) => svg`<circle class="place" cx=${one.x.toFixed(1)} cy=${one.y.toFixed(1)} r=${(one.r + 2).toFixed(1)} />${one.account === state.account.toLowerCase() ? svg`<text class="you-name" x=${one.x.toFixed(1)} y=${(one.y + one.r + 9).toFixed(1)} text-anchor="middle">you</text>` : nothing}<circle class="seat hue-${hue(one.account)} ${one.in ? "in" : ""} ${one.account === state.account.toLowerCase() ? "you" : ""}" cx=${one.x.toFixed(1)} cy=${one.y.toFixed(1)} r=${one.r.toFixed(1)}><title>${one.account}</title></circle>`,
    )}
  </svg>`;
}

function roundLine(): Part {
  const task = state.task!;
  const { round, acceptedCount } = task.round;
  const has = acceptedCount ? `has ${acceptedCount} update${acceptedCount === 1 ? "" : "s"} and ` : "";
  return html`<p class="round-line">Round <b>${round}</b> ${has}${phase()}.<br /><a class="cta" href=${state.taskNumber === state.start?.task ? "#/" : `#/task/${task.task}/learn`}>Contribute</a></p>`;
}

/** By rule evidence: what was said of each update of the round before. */
function judged(): Part {
  const over = state.judged;
  if (!over) return nothing;
  const list = (over.contributions ?? []).filter((one) => one.verdict);
  const most = Math.max(1, ...list.map((one) => Math.abs(one.verdict!.gainQ16)));
  const fresh = over.examples?.exampleCount ?? 0;
  return html`<section class="card judged"><header><h2>Judged in round ${over.round}</h2>
      <span class="hint">${over.dropped ? "dropped" : fresh ? html`by ${fresh} examples opened ${over.examples!.receipt ? html`in block ${inBlock(over.examples!.receipt.blockNumber, count(over.examples!.receipt.blockNumber))}` : "afterwards"}` : ""}</span></header>
    ${list.length
      ? html`<ul class="feed verdicts">${list.map((one) => {
          const { gainQ16, recordQ16 } = one.verdict!;
          const why = refusal(one.verdict!);
          const width = (50 * Math.abs(gainQ16)) / most;
          return html`<li class=${why ? "bad" : ""}><span>${person(hex(one.contributor))} <b class=${why ? "" : "good"}>${why ? "not merged" : "merged"}</b></span>
            <svg class="gain" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="track" width="100" height="8" rx="2" /><rect class=${gainQ16 < 0 ? "loses" : "fill"} x=${(gainQ16 < 0 ? 50 - width : 50).toFixed(1)} width=${width.toFixed(1)} height="8" /></svg>
            <span class="numbers">${gain(gainQ16)}</span>
            <span class="fine whole">${why ? `${why[0].toUpperCase()}${why.slice(1)}. ` : ""}Record ${record(recordQ16)}${wei(one.paidWei) ? `, paid ${amount(wei(one.paidWei), 4)} $LL` : ""}</span></li>`;
        })}</ul>`
      : html`<p class="fine">No update of that round was judged.</p>`}</section>`;
}

let read: { version: string; answers: number[] } | null = null;

/** What the newest weights take the held-out digits for, worked out once a version. */
function answers(): number[] | null {
  const { test, weights, model, weightsVersion } = state;
  if (!test || !weights || !model?.layers) return null;
  if (read?.version !== weightsVersion) read = { version: weightsVersion, answers: predict(model, weights, test.x).map(best) };
  return read.answers;
}

const SIDE = 10; // cells of the picture, a digit of 8 by 8 and a gap each

/** The held-out digits themselves, those that it gets wrong in another colour. */
function reads(): Part {
  const found = answers();
  if (!found) return nothing;
  const { test, model } = state;
  const wrong = found.map((took, i) => [test!.y[i], took]).filter(([is, took]) => is !== took);
  const said = wrong.slice(0, 6).map(([is, took]) => `a ${model!.labels[is]} for a ${model!.labels[took]}`);
  const text = `${found.length - wrong.length} of ${found.length} right`;
  return html`<section class="card reads"><header><h2>What version ${state.weightsVersion} reads</h2><span class="hint">${text}</span></header>
    <canvas id="reads" width=${SIDE * SIDE} height=${SIDE * SIDE} role="img" aria-label="Digits that it never saw: ${text}"></canvas>
    <p class="fine">${wrong.length ? `It takes ${said.join(", ")}${wrong.length > said.length ? ", …" : "."}` : "It gets every one of them right."}</p></section>`;
}

/** Draws that picture, when it is another one. */
export function paintReads(): void {
  const canvas = document.querySelector<HTMLCanvasElement>("#reads");
  const found = canvas && answers();
  if (!canvas || !found) return;
  const style = getComputedStyle(canvas);
  const [ink, bad, ground, alarm] = ["--ink", "--bad", "--sunken", "--bad-soft"].map((name) => style.getPropertyValue(name));
  const key = `${state.weightsVersion} ${ink}`;
  if (canvas.dataset["shown"] === key) return;
  canvas.dataset["shown"] = key;
  const { x, y } = state.test!;
  const context = canvas.getContext("2d")!;
  context.clearRect(0, 0, canvas.width, canvas.height);
  found.forEach((took, i) => {
    const [left, top] = [(i % SIDE) * SIDE + 1, Math.floor(i / SIDE) * SIDE + 1];
    const wrong = took !== y[i];
    context.globalAlpha = 1;
    context.fillStyle = wrong ? alarm : ground;
    context.fillRect(left - 1, top - 1, SIDE, SIDE);
    context.fillStyle = wrong ? bad : ink;
    for (let p = 0; p < 64; p++) {
      context.globalAlpha = x[i * 64 + p] / 16;
      context.fillRect(left + (p % 8), top + (p >> 3), 1, 1);
    }
  });
}

const [W, H] = [320, 120];

function chart(points: VersionPoint[]): Part {
  const shown = points.filter((one) => one.accuracy !== null);
  if (!shown.length) return html`<p class="fine">${state.model?.layers ? "No held-out samples for this task here." : "This page cannot run this model by itself."}</p>`;
  const x = (i: number): number => (shown.length === 1 ? W / 2 : 34 + (i * (W - 42)) / (shown.length - 1));
  const y = (value: number): number => H - 14 - value * (H - 26);
  const line = shown.map((one, i) => `${x(i).toFixed(1)},${y(one.accuracy!).toFixed(1)}`).join(" ");
  const end = shown.at(-1)!;
  return html`<svg class="chart" viewBox="0 0 ${W} ${H}" role="img" aria-label="Accuracy from ${percent(shown[0].accuracy!)} in version ${shown[0].version} to ${percent(end.accuracy!)} in version ${end.version}">
      ${[0, 0.5, 1].map((value) => svg`<line class="rule" x1="34" x2=${W - 8} y1=${y(value)} y2=${y(value)} /><text class="axis" x="28" y=${y(value) + 3} text-anchor="end">${100 * value} %</text>`)}
      <polygon class="area" points="${x(0).toFixed(1)},${y(0)} ${line} ${x(shown.length - 1).toFixed(1)},${y(0)}" />
      <polyline class="line" points=${line} />
      ${shown.map((one, i) => svg`<circle class="point" cx=${x(i).toFixed(1)} cy=${y(one.accuracy!).toFixed(1)} r="2.6"><title>Version ${one.version}: ${percent(one.accuracy!)}, ${one.accepted} updates</title></circle>`)}
    </svg>
    <p class="fine ends"><span>version ${inBlock(shown[0].block, shown[0].version)}: ${percent(shown[0].accuracy!)}</span><span>version ${inBlock(end.block, end.version)}: <b>${percent(end.accuracy!)}</b></span></p>`;
}

function gasChart(points: VersionPoint[]): Part {
  const shown = points.filter((one) => one.submitGas + one.settleGas > 0).slice(-24);
  if (!shown.length) return html`<p class="fine">No round has been settled yet.</p>`;
  const most = Math.max(...shown.map((one) => one.submitGas + one.settleGas));
  const slot = (W - 16) / Math.max(shown.length, 6);
  const last = shown.at(-1)!;
  const height = (gas: number): number => ((H - 24) * gas) / most;
  return html`<svg class="chart" viewBox="0 0 ${W} ${H}" role="img" aria-label="Gas of the last ${shown.length} versions, at most ${count(most)}">
      ${shown.map((one, i) => {
        const [low, high] = [height(one.settleGas), height(one.submitGas)];
        const at = 8 + i * slot + slot * 0.15;
        return svg`<g><title>Version ${one.version}: ${count(one.submitGas)} gas for ${one.accepted} updates, ${count(one.settleGas)} to settle</title>
          <rect class="settle" x=${at.toFixed(1)} y=${(H - 8 - low).toFixed(1)} width=${(slot * 0.7).toFixed(1)} height=${low.toFixed(1)} rx="1.5" />
          <rect class="submit" x=${at.toFixed(1)} y=${(H - 9 - low - high).toFixed(1)} width=${(slot * 0.7).toFixed(1)} height=${high.toFixed(1)} rx="1.5" /></g>`;
      })}
    </svg>
    <p class="fine ends"><span><i class="key submit" aria-hidden="true"></i>${count(Math.round(last.submitGas / Math.max(1, last.accepted)))} an update (${count(Math.round(last.bytes / Math.max(1, last.accepted)))} B)</span>
      <span><i class="key settle" aria-hidden="true"></i>${count(last.settleGas)} to settle version ${inBlock(last.block, last.version)}</span></p>`;
}

/** The newest first; contributions to one round are one line. */
function feed(): Part {
  const lines: { text: unknown; block: number; strong: boolean }[] = [];
  const events = state.live.events.filter((one) => one.name !== "ContributionPaid").slice(-200).reverse();
  for (let i = 0; i < events.length && lines.length < 10; i++) {
    const event = events[i];
    let people = 1;
    const again = (next: Event | undefined): boolean =>
      next?.name === event.name && ["UpdateAccepted", "StakeLocked"].includes(event.name) && next.values["round"] === event.values["round"];
    while (again(events[i + people])) people++;
    const text = people === 1 ? line(event) : event.name === "StakeLocked" ? html`${people} people locked stake` : html`${people} people contributed to round ${event.values["round"]}`;
    lines.push({ text, block: event.block, strong: event.name === "ModelUpdated" });
    i += people - 1;
  }
  if (!lines.length) return html`<p class="fine">Nothing yet.</p>`;
  return html`<ul class="feed">${lines.map((one) => html`<li class=${one.strong ? "strong" : ""}><span>${one.text}</span>${inBlock(one.block, `block ${count(one.block)}`)}</li>`)}</ul>`;
}

function line(event: Event): unknown {
  const v = event.values;
  switch (event.name) {
    case "ModelUpdated":
      return v["round"] ? html`Version <b>${v["version"]}</b> out of ${v["accepted"]} update${String(v["accepted"]) === "1" ? "" : "s"} <code>${short(String(v["digest"]))}</code>` : html`Version <b>${v["version"]}</b>: the first weights`;
    case "UpdateAccepted":
      return html`${person(String(v["contributor"]))} contributed to round ${v["round"]}`;
    case "SettlerPaid":
      return html`${person(String(v["settler"]))} settled round ${v["round"]} for ${amount(v["amount"], 4)} $LL`;
    case "RoundDropped":
      return html`Round ${v["round"]} was dropped`;
    case "PotFunded":
      return html`${person(String(v["funder"]))} put ${amount(v["amount"])} $LL into the pot`;
    case "StakeLocked":
      return html`${person(String(v["account"]))} locked ${units(v["units"])} $LL`;
    default:
      return event.name;
  }
}
