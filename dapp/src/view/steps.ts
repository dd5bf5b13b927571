// The way from drawings to money and answers, a step each.

import { html, nothing } from "lit-html";

import * as actions from "../actions";
import { drawable } from "../domain/model";
import { STEPS } from "../domain/training";
import { amount, count, hex, percent, record, refusal, seconds, short, units, wei } from "../format";
import { state } from "../state";
import { type Part, bars, button, inBlock, person, spark, step, tile, wait, waits } from "./parts";
import { phase } from "./phase";

const TWICE = 2;

export function collection(): Part {
  const { model, samples } = state;
  if (!model || !drawable(model) || !model.layers) return nothing;
  const labels = model.labels.slice(0, 64);
  const counts = labels.map((_, i) => samples.filter((one) => one.label === i).length);
  const side = drawable(model)!;
  const enough = counts.every((n) => n >= TWICE);
  const hint = samples.length ? `${samples.length} drawing${samples.length === 1 ? "" : "s"}` : "none yet";
  return step(1, "Your collection", { done: enough, hint }, html`
    ${samples.length
      ? html`<ul class="samples" aria-label="Your drawings">
          ${samples.slice(-40).map(
            (one) => html`<li>${tile(one.values, side, model.range ?? [0, 1], `A drawing of ${labels[one.label] ?? one.label}`)}<span>${labels[one.label] ?? one.label}</span>
              <button type="button" class="remove" aria-label="Delete this drawing of ${labels[one.label] ?? one.label}" @click=${() => actions.remove(one.id)}>×</button></li>`,
          )}
        </ul>`
      : html`<p>Draw on the paper, then press what it is.</p>`}
    ${samples.length && !enough
      ? html`<p class="fine">Best with two of each: still ${labels.filter((_, i) => counts[i] < TWICE).slice(0, 12).join(", ")}.</p>`
      : nothing}
    <p class="fine">Kept in this browser alone; only the change of the model's weights is ever sent.${state.starter ? " 100 starter digits are mixed in, so that your handwriting adds to the rest." : ""}</p>`);
}

export function purse(): Part {
  const { wallet, wallets, balance, start, task, chain } = state;
  const stake = balance?.stake;
  const locked = BigInt(stake?.lockedUnits ?? 0);
  const busy = !!state.waits["wallet"];
  if (!wallet) {
    return step(2, "Wallet", { hint: "none connected" }, html`
      ${start?.faucet
        ? html`<p>No wallet at hand? One click makes one in this browser, with money and stake for this test network.</p>
            ${button("Start with a practice wallet", actions.practise, { kind: "primary", off: busy || !task })}`
        : nothing}
      ${wallets.length
        ? html`<div class="wallets">${wallets.map((one) =>
            button(html`${/^data:image\//.test(one.info.icon) ? html`<img src=${one.info.icon} alt="" width="20" height="20" />` : nothing}${one.info.name.slice(0, 40)}`, () => actions.connect(one), { off: busy }))}</div>`
        : html`<p class="fine">No browser wallet has announced itself.${start?.faucet ? "" : " Install one, then reload this page."}</p>`}
      ${waits("wallet")}`);
  }
  if (!actions.onOurChain()) {
    return step(2, "Wallet", { hint: wallet.info.name.slice(0, 24) }, html`
      <p>Your wallet is on network ${state.walletChain}; this task lives on ${chain?.chainId}.</p>
      ${button("Switch network", actions.switchChain, { kind: "primary", off: busy })} ${waits("wallet")}`);
  }
  const [coin, token] = [wei(balance?.coinWei), wei(balance?.tokenWei)];
  const poor = !!balance && (coin === 0n || (token === 0n && locked === 0n));
  const toLock = task && balance ? actions.stakeToLock() : 0n;
  const enough = task ? locked >= actions.leastStake() : false;
  const done = enough && actions.isEligible();
  return step(2, "Wallet", { done, hint: wallet.info.name.slice(0, 24) }, html`
    <dl class="facts">
      <div><dt>Account</dt><dd>${person(state.account)}</dd></div>
      <div><dt>Coin for gas</dt><dd>${balance ? amount(coin, 3) : "…"}</dd></div>
      <div><dt>$LL</dt><dd>${balance ? amount(token) : "…"}</dd></div>
      <div><dt>Stake here</dt><dd>${balance ? units(locked) : "…"}</dd></div>
    </dl>
    ${poor && start?.faucet ? html`<p>${button("Get test money", actions.faucet, { kind: "primary", off: busy })}</p>` : nothing}
    ${poor && !start?.faucet ? html`<p class="why">This account needs some coin and $LL on this network.</p>` : nothing}
    ${!poor && balance && !enough && toLock > 0n && task
      ? html`<p>Stake is what gives an update its weight. You get it back.</p>${button(`Lock ${units(toLock)} $LL`, actions.lock, { kind: "primary", off: busy })}`
      : nothing}
    ${enough && !done ? wait(waitsFor()) : nothing}
    ${enough && !done && actions.nobodyElse()
      ? html`<p>Nobody contributes just now, so that it stays empty. You may end it yourself.</p>${button(`Open round ${BigInt(task!.round.round) + 1n}`, actions.nextRound, { kind: "primary", off: busy })}`
      : nothing}
    ${waits("wallet")}
    <p class="fine">${button("Disconnect", actions.disconnect, { kind: "link", off: busy })}</p>`);
}

/** When fresh stake counts, in words. */
function waitsFor(): string {
  const { task, balance } = state;
  const matures = Number(balance?.stake?.maturesS ?? 0) - state.now / 1000;
  const round = BigInt(task!.round.round);
  return matures > 1
    ? `Your stake counts from the first round that opens in ${seconds(matures)} or later.`
    : `Your stake counts from round ${round + 1n} on, which opens when round ${round} is merged.${state.trained || !state.model?.layers ? "" : " You can train meanwhile."}`;
}

export function train(): Part {
  const { model, training, trained, samples } = state;
  if (!model) return nothing;
  if (!model.layers) {
    return step(3, "Train", { locked: `This page trains MLPs and small CNNs; this task is a ${model.summary}. A trainer on a computer can (linklearner train).` }, nothing);
  }
  const missing = actions.LEAST_SAMPLES - samples.length;
  const locked = !state.weights ? "The first weights are still being loaded." : missing > 0 ? `${missing} more drawing${missing === 1 ? "" : "s"}, and you can train.` : "";
  const stale = trained && trained.base !== state.weightsVersion;
  const hint = trained ? (stale ? "the model moved on" : "done, not sent yet") : state.weightsVersion ? `on version ${state.weightsVersion}` : "";
  return step(3, "Train", { done: !!trained && !stale, locked, hint }, html`
    ${training
      ? html`<div class="training"><progress max=${STEPS} .value=${training.step} aria-label="Training"></progress>
          <span class="numbers">step ${training.step} of ${STEPS}</span>${button("Stop", actions.stopTraining, { kind: "quiet" })}</div>
          ${spark(training.losses, `Loss ${training.losses.at(-1)?.toFixed(2) ?? ""}`)}`
      : nothing}
    ${trained && !training
      ? html`<table class="measure"><thead><tr><th></th><th scope="col">before</th><th scope="col">after</th></tr></thead><tbody>
            <tr><th scope="row">on your drawings</th><td>${percent(trained.before.own)}</td><td class="after">${percent(trained.after.own)}</td></tr>
            ${Number.isNaN(trained.before.starter) ? nothing : html`<tr><th scope="row">on 100 digits it never saw</th><td>${percent(trained.before.starter)}</td><td class="after">${percent(trained.after.starter)}</td></tr>`}
          </tbody></table>
          ${trained.lengths > 1 ? html`<p class="fine">Your change is ${trained.lengths.toFixed(1)} times as long as counts in full; it is scaled down when it is merged.</p>` : nothing}`
      : nothing}
    ${training
      ? nothing
      : button(trained ? "Train again" : "Train in this browser", actions.train, { kind: (trained && !stale) || state.carried.held ? "quiet" : "primary" })}`);
}

export function submit(): Part {
  const { trained, task, carried } = state;
  if (state.model && !state.model.layers) return nothing;
  const busy = !!state.waits["submit"];
  const held = carried.held;
  if (held && !busy) {
    return step(4, "Submit", { done: true, hint: `in round ${held.round}` }, html`<dl class="facts">
      <div><dt>Block</dt><dd>${inBlock(held.block, count(held.block))}</dd></div>
      <div><dt>Size</dt><dd>${count(held.bytes)} B</dd></div>
      <div><dt>Gas used</dt><dd>${count(held.gas)}</dd></div>
      <div><dt>Digest</dt><dd><code title=${held.digest}>${short(held.digest)}</code></dd></div></dl>`);
  }
  const obstacle = busy ? "" : actions.obstacle();
  const locked = !trained && !busy ? "Train first." : obstacle;
  return step(4, "Submit", { locked, hint: task ? `to round ${task.round.round}` : "" }, html`
    ${trained
      ? html`<dl class="facts">
          <div><dt>Size</dt><dd>${count(trained.bytes)} B</dd></div>
          <div><dt>Gas limit</dt><dd>${count(trained.gas)}</dd></div>
          <div><dt>Digest</dt><dd><code title=${trained.digest}>${short(trained.digest)}</code></dd></div></dl>`
      : nothing}
    ${busy ? nothing : button("Submit your update", actions.submit, { kind: "primary" })} ${waits("submit")}`);
}

export function round(): Part {
  const { task, earnings, outcome } = state;
  if (!task) return nothing;
  const { terms } = task;
  const status = task.round;
  const eligible = Number(status.eligibleUnits);
  const quorum = (eligible * terms.quorumBps) / 10_000;
  const present = Number(status.presentUnits);
  const claimable = wei(earnings?.payWei) + wei(earnings?.feesWei);
  return step(5, `Round ${status.round}`, { hint: phase() }, html`
    <div class="quorum"><svg viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="${units(present)} of ${units(Math.round(quorum))} $LL of stake have contributed">
        <rect class="track" width="100" height="6" rx="1.5" /><rect class="fill" width=${quorum ? Math.min(100, (100 * present) / quorum).toFixed(1) : 0} height="6" rx="1.5" /></svg>
      <span class="numbers">${units(present)} of ${units(Math.round(quorum))} $LL of stake</span></div>
    <ul class="contributors">${(state.round?.round === status.round ? (state.round?.contributions ?? []) : []).slice(0, 64).map(
      (one) => html`<li>${person(hex(one.contributor))}<span class="numbers">${units(one.effectiveUnits)} $LL</span>
        <span class="numbers">${one.receipt ? inBlock(one.receipt.blockNumber, `${count(one.receipt.gasUsed)} gas`) : nothing}</span></li>`,
    )}</ul>
    ${state.carried.held?.block ? wait(`Your update is in round ${state.carried.held.round}${state.carried.held.round === status.round && status.acceptedCount ? `, which ${phase()}` : ""}.`) : nothing}
    ${outcome ? became(outcome) : nothing}
    ${earnings
      ? html`<dl class="facts"><div><dt>Earned in all</dt><dd>${amount(wei(earnings.earnedWei), 4)} $LL</dd></div><div><dt>To be paid out</dt><dd>${amount(claimable, 4)} $LL</dd></div>
          ${earnings.recordQ16 === undefined ? nothing : html`<div><dt>Your record, to be above 0</dt><dd>${record(earnings.recordQ16)}</dd></div>`}</dl>
          ${claimable > 0n && actions.onOurChain() ? button("Pay out", actions.claim, { kind: "quiet", off: !!state.waits["round"] }) : nothing}`
      : nothing}
    ${waits("round")}
    <p class="fine"><a href="#/task/${task.task}">Watch it live</a></p>`);
}

/** What a round made of our update. */
function became({ round, version, paidWei, verdict, fresh }: NonNullable<typeof state.outcome>): Part {
  const taken = !verdict || verdict.outcome === "OUTCOME_MERGED";
  return html`<p class=${taken ? "good" : "bad-text"}>${
      taken
        ? html`Round ${round} made version ${version}${paidWei ? html`; you earned <b>${amount(paidWei, 4)} $LL</b>` : nothing}.`
        : html`Round ${round} did not take your update: ${refusal(verdict)}.`}</p>
    ${verdict ? html`<p class="fine">On ${fresh} examples that were opened afterwards, the loss is ${percent(Math.abs(verdict.gainQ16) / 65536)} ${verdict.gainQ16 < 0 ? "higher" : "lower"} with a quarter of your update. Your record is ${record(verdict.recordQ16)} since.</p>` : nothing}`;
}

export function ask(): Part {
  const { session, answer, model, account, values } = state;
  if (!model) return nothing;
  const busy = !!state.waits["ask"];
  const locked = !actions.isServed() ? "No model server answers for this task here." : !account ? "Connect a wallet first: who has stake may ask." : "";
  const expired = session && session.until < state.now;
  return step(6, "Ask the shared model", { done: !!answer, locked, hint: session && !expired ? "signed in" : "" }, html`
    ${!session || expired
      ? html`<p>The server answers those with stake in the task. Signing in costs nothing and moves nothing.</p>
          ${button(values ? "Sign in and ask" : "Sign in", actions.openSession, { kind: "primary", off: busy })}`
      : html`<p>${values ? "Ask about what you drew." : "Draw something, and ask what it is."}</p>
          ${button("Ask", actions.ask, { kind: "primary", off: busy || !values })}`}
    ${waits("ask")}
    ${answer
      ? html`<div class="answer" role="status"><p class="verdict">${model.loss === "cross-entropy" ? actions.bestLabel(answer.shares) : Array.from(answer.shares.slice(0, 6), (value) => value.toPrecision(3)).join(", ")}</p>
          ${model.loss === "cross-entropy" ? bars(answer.shares, model.labels, "The server's answer", 3) : nothing}
          <p class="fine">Version ${answer.version}, weights ${answer.digest ? html`<code title=${answer.digest}>${short(answer.digest)}</code>` : "unknown"}, ${Math.round(answer.ms)} ms
          ${sameWeights(answer.digest) ? html`<span class="good">the same weights that the chain has</span>` : nothing}</p></div>`
      : nothing}`);
}

function sameWeights(digest: string): boolean {
  const version = state.task?.version;
  return !!version && !!digest && hex(version.digest).slice(2) === digest.replace(/^0x/, "").toLowerCase();
}
