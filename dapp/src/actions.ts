// What the page does: read the task, learn, send, ask. Views call these; each says what it waits for.

import { type Stroke, ofPicture, ofStrokes } from "./bitmap";
import * as aspect from "./chain/aspect";
import { SEALED, calldata, readEvent, refusalOf } from "./chain/contracts";
import * as gas from "./chain/gas";
import { type Block, type Receipt, rpc } from "./chain/rpc";
import { Refusal, base64Of, bytesOf, hexOf, ofBase64 } from "./domain/bytes";
import { TWO_BITS } from "./domain/encodings";
import { dequantise } from "./domain/fixedpoint";
import { drawable, readModel } from "./domain/model";
import { quantise } from "./domain/quantise";
import { Shape } from "./domain/shape";
import { type Samples, best, predict, softmax } from "./domain/training";
import * as updates from "./domain/update";
import { count, hex, refusal, short, wei } from "./format";
import * as services from "./services/call";
import { signIn } from "./services/signIn";
import { changed, say, state } from "./state";
import { type Carried, type Sample, alone, carried as carriedStore, samples as samplesStore } from "./store";
import * as wallet from "./wallet/account";
import type { Announced } from "./wallet/discover";
import type { Order, Report } from "./worker";

const REMEMBERED = "linklearner wallet";
const STAKE_UNITS = 100_000n; // what one click locks at most: 100 $LL
export const LEAST_SAMPLES = 5;

// --- reading

export async function begin(): Promise<void> {
  state.start = await services.start();
  state.chain = await services.gateway.chain();
  state.genesis = await genesis();
  const known = localStorage.getItem(`genesis ${state.chain.chainId}`);
  if (known && state.genesis && known !== state.genesis) {
    say("info", "This chain began anew since your last visit. If your wallet complains about a nonce, clear its activity data for this network.");
  }
  if (state.genesis) localStorage.setItem(`genesis ${state.chain.chainId}`, state.genesis);
}

/** The first block's hash, by which chains are told apart; empty if nobody says. */
async function genesis(): Promise<string> {
  return (await rpc<Block | null>("eth_getBlockByNumber", ["0x1", false]).catch(() => null))?.hash ?? "";
}

/** Whether it is another chain by now that answers: then everything here is of the past, and the page begins anew, too. */
async function replaced(): Promise<boolean> {
  const now = await genesis();
  if (!now || now === state.genesis) return false;
  location.reload();
  return true;
}

const place = (): string => `${state.chain!.chainId}/${hex(state.chain!.pool)}/${state.taskNumber}`;
const mine = (): string => `${state.genesis}/${place()}/${state.account.toLowerCase()}`;

/** Goes to a task: what belongs to another one is forgotten, and this one's drawings are there again. */
export async function open(task: string): Promise<void> {
  const number = (state.taskNumber = task);
  Object.assign(state, {
    task: null, missing: "", model: null, modelTrouble: "", shape: null, weights: null, weightsVersion: "", round: null, judged: null, strokes: [], values: null,
    pictures: [], shares: null, samples: [], starter: null, test: null, balance: null, earnings: null, training: null, trained: null,
    carried: { residual: null, held: null }, outcome: null, session: null, answer: null,
    live: { events: [], points: [], refused: [], until: 0 },
  });
  changed();
  await look();
  if (state.taskNumber === number) guess();
}

const fitsStarter = (): boolean => state.model?.inputCount === 64 && state.model!.labels.join() === "0,1,2,3,4,5,6,7,8,9" && !!state.model!.layers;

async function readStarter(): Promise<void> {
  const task = state.taskNumber;
  const bytes = new Uint8Array(await services.file("starter.bin"));
  if (state.taskNumber !== task) return;
  const half = (from: number): Samples => {
    const x = new Float32Array(100 * 64);
    const y = new Uint8Array(100);
    for (let i = 0; i < 100; i++) {
      y[i] = bytes[(from + i) * 65];
      x.set(bytes.subarray((from + i) * 65 + 1, (from + i + 1) * 65), i * 64);
    }
    return { x, y };
  };
  state.starter = half(0);
  state.test = half(100);
}

const EVIDENCE = 2; // the rule
const before = (round: string): string => String(BigInt(round) - 1n);

let looking: Promise<void> | null = null;

/** Reads where the task stands; what has changed since is read, too. Never raises: who is away is asked again. */
export function look(): Promise<void> {
  return (looking ??= look_().finally(() => (looking = null)));
}

async function look_(): Promise<void> {
  const number = state.taskNumber;
  try {
    const task = await services.gateway.task(number);
    if (state.taskNumber !== number) return;
    if ((state.away || BigInt(task.round.round) < BigInt(state.task?.round.round ?? 0)) && (await replaced())) return;
    const first = !state.task;
    const moved = state.task?.round.round !== task.round.round || state.task?.round.acceptedCount !== task.round.acceptedCount;
    state.task = task;
    if (first) {
      try {
        state.shape = Shape.decode(ofBase64(task.shape));
        state.model = await readModel(task.model);
      } catch (error) {
        state.modelTrouble = (error as Error).message;
      }
      const samples = (await samplesStore.read(place())).filter((one) => one.values.length === state.model?.inputCount);
      if (state.taskNumber !== number) return;
      state.samples = samples;
      await takeUp();
    }
    if (!state.starter && fitsStarter()) await readStarter();
    if (state.taskNumber !== number) return;
    if (task.version && task.version.version !== "0" && task.version.version !== state.weightsVersion && state.shape) {
      const { version, digest } = task.version;
      const raw = await aspect.weights(hex(state.chain!.aspect), BigInt(number), state.shape, BigInt(version), ofBase64(digest));
      if (state.taskNumber !== number) return;
      state.weights = dequantise(raw, state.shape);
      state.weightsVersion = version;
      guess();
    }
    await settled();
    if (moved || !state.round) {
      state.round = await services.gateway.round(number, task.round.round);
      if (task.terms.rule === EVIDENCE && task.round.round !== "1" && state.judged?.round !== before(task.round.round)) {
        state.judged = await services.gateway.round(number, before(task.round.round));
      }
    }
    if (state.account) await readAccount();
    state.away = "";
  } catch (error) {
    const refusal = refusalOf(error);
    if (state.task && (await replaced())) return;
    if (refusal.reason === "UnknownTask" || refusal.facts["code"] === "invalid_argument") state.missing = `There is no task ${number} in this pool.`;
    else if (refusal.reason !== "Moved") state.away = refusal.message;
  }
  state.now = Date.now();
  changed();
}

async function readAccount(): Promise<void> {
  const account = base64Of(bytesOf(state.account));
  const number = state.taskNumber;
  const [balance, earnings] = await Promise.all([services.gateway.balance(account, number), services.gateway.earnings(account, number)]);
  if (state.taskNumber === number) Object.assign(state, { balance, earnings });
}

/** What an earlier visit of this account left here; an update that was on its way then is followed to its block. */
async function takeUp(): Promise<void> {
  if (!state.account || !state.task) return;
  const key = mine();
  const carried = await carriedStore.read(key);
  if (mine() !== key) return;
  state.carried = carried;
  const held = carried.held;
  if (!held || held.block || state.waits["submit"]) return;
  void alone(`submit ${place()}/${state.account}`, () =>
    waiting("submit", `Your update is on its way: waiting for a block … (${short(held.transaction)})`, async () => {
      try {
        await accepted(key, await wallet.landed(held.transaction));
      } catch (error) {
        await keepCarried(key, { residual: carried.residual, held: null });
        throw error;
      }
    }),
  );
}

/** Keeps it for the account and task that it is of, whoever is shown by now. Returns whether the browser had room. */
async function keepCarried(key: string, carried: Carried): Promise<boolean> {
  if (mine() === key) state.carried = carried;
  changed();
  return carriedStore.write(key, carried);
}

/** When the round of our update is over, with a version or without: what rounding left over is carried on, and what was earned is said. */
async function settled(): Promise<void> {
  const held = state.carried.held;
  if (held && !held.block && !state.waits["submit"]) return takeUp(); // another tab was at it
  if (!held?.block || !state.task || BigInt(state.task.round.round) <= BigInt(held.round)) return;
  const [key, residual] = [mine(), state.carried.residual];
  const over = await services.gateway.round(state.taskNumber, held.round);
  if (mine() !== key || state.carried.held !== held) return;
  const ours = over.contributions?.find((one) => hexOf(ofBase64(one.digest)) === held.digest);
  const verdict = ours?.verdict ?? null;
  const merged = !over.dropped && !!ours && (!verdict || verdict.outcome === "OUTCOME_MERGED");
  await keepCarried(key, { residual: merged ? held.residual : residual, held: null });
  if (ours && !over.dropped) {
    const paid = wei(ours.paidWei);
    state.outcome = { round: held.round, version: over.version?.version ?? "", paidWei: paid, verdict, fresh: over.examples?.exampleCount ?? 0 };
    if (merged) say("good", `Your update is in version ${over.version?.version}${paid ? `, and earned ${(Number(paid) / 1e18).toFixed(2)} $LL` : ""}.`);
    else say("info", `Round ${held.round} did not take your update: ${refusal(verdict!)}. Draw more, and train again.`);
  } else say("info", `Round ${held.round} ended without a merge. Train again and submit to the round that is open now.`);
}

// --- drawing

export function guess(): void {
  const { model, weights, strokes, pictures } = state;
  if (!model) return;
  const side = drawable(model);
  if (side) {
    const range = model.range ?? [0, 1];
    const tile = pictures.length ? pictures[0] : ofStrokes(strokes, side, range as [number, number]);
    state.values = tile && spread(tile, model.inputCount);
  }
  state.shares = state.values && weights && model.layers ? predict(model, weights, state.values)[0] : null;
  changed();
}

/** Images of several channels get the same ink in each. */
function spread(tile: Float32Array, inputs: number): Float32Array {
  const values = new Float32Array(inputs);
  for (let at = 0; at < inputs; at += tile.length) values.set(tile, at);
  return values;
}

export function clear(): void {
  state.strokes = [];
  state.pictures = [];
  state.values = null;
  state.answer = null;
  if (state.pen) state.pen.down = false;
  guess();
}

export async function addPictures(files: Iterable<File>): Promise<void> {
  const side = drawable(state.model!)!;
  const range = (state.model!.range ?? [0, 1]) as [number, number];
  for (const file of [...files].slice(0, 50)) {
    try {
      const image = await createImageBitmap(file);
      const scale = Math.min(1, 256 / Math.max(image.width, image.height));
      const canvas = new OffscreenCanvas(Math.max(8, Math.round(image.width * scale)), Math.max(8, Math.round(image.height * scale)));
      const context = canvas.getContext("2d", { willReadFrequently: true })!;
      context.fillStyle = "#fff";
      context.fillRect(0, 0, canvas.width, canvas.height);
      context.drawImage(image, 0, 0, canvas.width, canvas.height);
      const { data } = context.getImageData(0, 0, canvas.width, canvas.height);
      const luminance = new Float32Array(canvas.width * canvas.height);
      for (let i = 0; i < luminance.length; i++) luminance[i] = (0.299 * data[4 * i] + 0.587 * data[4 * i + 1] + 0.114 * data[4 * i + 2]) / 255;
      const tile = ofPicture(luminance, canvas.width, side, range);
      if (tile) state.pictures.push(tile);
      else say("bad", `${file.name.slice(0, 60)} shows nothing but paper.`);
    } catch {
      say("bad", `${file.name.slice(0, 60)} is no picture that this browser can open.`);
    }
  }
  state.strokes = [];
  guess();
}

export async function keep(label: number): Promise<void> {
  if (!state.values) return;
  const sample: Sample = { id: `${Date.now().toString(36)}${Math.random().toString(36).slice(2, 8)}`, label, values: state.values };
  if (state.strokes.length) sample.strokes = state.strokes as Stroke[];
  state.samples = [...state.samples, sample];
  state.pictures = state.pictures.slice(1);
  state.strokes = [];
  state.values = null;
  state.answer = null;
  guess();
  await write();
}

export async function remove(id: string): Promise<void> {
  state.samples = state.samples.filter((one) => one.id !== id);
  removed.add(id);
  changed();
  await write();
}

/** Here: another tab may have them still. */
const removed = new Set<string>();

async function write(): Promise<void> {
  const task = state.taskNumber;
  const kept = await samplesStore.read(place());
  if (task !== state.taskNumber) return;
  const others = kept.filter((one) => !removed.has(one.id) && !state.samples.some((known) => known.id === one.id));
  state.samples = [...others, ...state.samples];
  changed();
  if (!(await samplesStore.write(place(), state.samples))) {
    say("bad", "This browser has no room to keep your drawings. They stay until you close the page.");
  }
}

// --- wallet

let listening: (() => void) | null = null;

export async function connect(chosen: Announced): Promise<boolean> {
  return waiting("wallet", `Waiting for ${chosen.info.name} …`, async () => {
    const account = await wallet.connect(chosen.provider);
    await use(chosen, account);
    localStorage.setItem(REMEMBERED, chosen.info.rdns);
  });
}

/** Takes a wallet up again that has been here before and still agrees; asks nobody. */
export async function reconnect(chosen: Announced): Promise<void> {
  if (state.wallet || localStorage.getItem(REMEMBERED) !== chosen.info.rdns) return;
  const accounts: string[] = await chosen.provider.request({ method: "eth_accounts" }).catch(() => []);
  if (accounts[0] && !state.wallet) await use(chosen, accounts[0]);
}

async function use(chosen: Announced, account: string): Promise<void> {
  listening?.();
  state.wallet = chosen;
  state.account = account;
  state.session = null;
  state.trained = null;
  state.walletChain = await wallet.chainOf(chosen.provider);
  const onAccounts = (accounts: string[]): void => {
    if (accounts[0]) void use(chosen, accounts[0]);
    else disconnect();
  };
  const onChain = (chain: string): void => {
    state.walletChain = BigInt(chain).toString();
    changed();
  };
  chosen.provider.on?.("accountsChanged", onAccounts);
  chosen.provider.on?.("chainChanged", onChain);
  listening = () => {
    chosen.provider.removeListener?.("accountsChanged", onAccounts);
    chosen.provider.removeListener?.("chainChanged", onChain);
  };
  if (state.task) {
    await takeUp();
    await readAccount().catch(() => {});
    await settled().catch(() => {});
  }
  changed();
}

export function disconnect(): void {
  listening?.();
  listening = null;
  localStorage.removeItem(REMEMBERED);
  Object.assign(state, { wallet: null, account: "", walletChain: "", balance: null, earnings: null, session: null, trained: null, carried: { residual: null, held: null } });
  changed();
}

export const onOurChain = (): boolean => state.walletChain === state.chain?.chainId;

export async function switchChain(): Promise<boolean> {
  return waiting("wallet", "Waiting for the wallet to change its network …", async () => {
    await wallet.toChain(state.wallet!.provider, { chainId: state.chain!.chainId, name: `LinkLearner ${state.chain!.chainId}`, symbol: "ART" });
    state.walletChain = await wallet.chainOf(state.wallet!.provider);
  });
}

export async function faucet(): Promise<boolean> {
  return waiting("wallet", "The faucet sends coin and $LL …", async () => {
    await services.askFaucet(state.account);
    await counted("wallet", () => wei(state.balance?.coinWei) > 0n);
  });
}

/** What one click locks: as much as an update needs and more, at most what is there. */
export function stakeToLock(): bigint {
  const has = wei(state.balance?.tokenWei) / 10n ** 15n;
  const needed = leastStake();
  const wanted = needed > STAKE_UNITS ? needed : STAKE_UNITS;
  return has < wanted ? has : wanted;
}

/** Units that an update of the open round takes. */
export function leastStake(): bigint {
  const { terms, round } = state.task!;
  const dust = BigInt(round.eligibleUnits) / BigInt(4 * terms.maxUpdates);
  return dust > BigInt(terms.minStakeUnits) ? dust : BigInt(terms.minStakeUnits);
}

export async function lock(): Promise<boolean> {
  const amount = stakeToLock();
  const had = BigInt(state.balance?.stake?.lockedUnits ?? 0);
  return waiting("wallet", "Confirm the lock in your wallet …", async () => {
    const call = { to: hex(state.chain!.vault), data: calldata("lock", BigInt(state.taskNumber), amount), gas: had ? gas.LOCK : gas.FIRST_LOCK };
    await send("wallet", call, "Locking your stake: waiting for a block …");
    await counted("wallet", () => BigInt(state.balance?.stake?.lockedUnits ?? 0) > had);
  });
}

/** A newcomer's whole way to a stake in one click: practice wallet, money, stake. */
export async function practise(): Promise<void> {
  const practice = await practiceWallet();
  if (!(await connect(practice))) return;
  if (wei(state.balance?.tokenWei) === 0n && BigInt(state.balance?.stake?.lockedUnits ?? 0) === 0n && !(await faucet())) return;
  if (BigInt(state.balance?.stake?.lockedUnits ?? 0) < leastStake()) await lock();
}

const ALONE_S = 6;

/** Whether our stake waits for a round that nobody else makes: the open one is empty, and has been since the stake became ripe. An empty round
 * may be ended by anybody then, and by us. */
export function nobodyElse(): boolean {
  const ripe = Number(state.balance?.stake?.maturesS ?? 0);
  return !!ripe && !state.task?.round.acceptedCount && state.now / 1000 > ripe + ALONE_S;
}

/** Opens the next round, in which our stake counts, by ending the empty one. */
export async function nextRound(): Promise<boolean> {
  return waiting("wallet", "Confirm in your wallet that the empty round ends …", async () => {
    const call = { to: hex(state.chain!.pool), data: calldata("drop", BigInt(state.taskNumber)), gas: gas.DROP, unasked: true };
    try {
      await send("wallet", call, "Opening the next round: waiting for a block …");
      await counted("wallet", isEligible);
    } finally {
      await look(); // somebody may have contributed meanwhile
    }
  });
}

const COUNTED_LOOKS = 40;

/** Reads the account until what is in a block is in the gateway's books, too, which are a moment behind. */
async function counted(step: string, there: () => boolean): Promise<void> {
  for (let looks = 0; looks < COUNTED_LOOKS; looks++) {
    await readAccount();
    if (there()) return;
    state.waits[step] = "In a block: waiting until it is counted …";
    changed();
    await new Promise((resolve) => setTimeout(resolve, 300));
  }
}

let practice: Promise<Announced> | undefined;
export function practiceWallet(): Promise<Announced> {
  return (practice ??= import("./wallet/practice").then((module) => module.practiceWallet()));
}

export const claimsPractice = (): boolean => localStorage.getItem(REMEMBERED) === "linklearner.practice";

export const isEligible = (): boolean => BigInt(state.balance?.stake?.eligibleUnits ?? 0) >= (state.task ? leastStake() : 1n);

/** Why nothing can be submitted by this account just now; empty if it can. */
export function obstacle(): string {
  if (!state.account) return "Connect a wallet first.";
  if (!onOurChain()) return "Your wallet is on another network.";
  if (state.task?.closing) return "The task is closing: it takes no more updates.";
  const locked = BigInt(state.balance?.stake?.lockedUnits ?? 0);
  if (locked === 0n) return "Lock stake first.";
  if (!isEligible()) return `Your stake counts from the next round on.`;
  if (state.carried.held) return `Your update is in round ${state.carried.held.round}.`;
  const { phase, round, acceptedCount } = state.task!.round;
  if (phase === "PHASE_SETTLING") return `Round ${round} is being merged: the next one opens in a moment.`;
  if (state.task!.round.due?.some((one) => one.step === "STEP_COMMITTED")) return SEALED;
  const taken = state.task!.round.due?.find((one) => one.step === "STEP_ACCEPTED");
  const over = !taken || (Number(taken.untilS) > 0 && Number(taken.untilS) <= state.now / 1000);
  if (state.task!.terms.rule === EVIDENCE && over) return `Round ${round} takes no more updates: it is being judged. Yours can go into the next one.`;
  if (acceptedCount >= state.task!.terms.maxUpdates) return `Round ${round} is full: the next one opens when it is merged.`;
  const us = state.account.toLowerCase();
  if (state.round?.contributions?.some((one) => hex(one.contributor) === us)) return "Your update is in this round already.";
  return "";
}

// --- training

let running: Worker | null = null;
let spare: Worker | null = null;

/** Sees to it that a worker is loaded before it is needed: whoever has the page open can train, whatever has gone away since. */
export function wakeWorker(): void {
  if (spare) return;
  const woken = (spare = new Worker(workerUrl() as string, { type: "module" }));
  woken.onerror = () => spare === woken && (spare = null);
}


export async function train(): Promise<void> {
  if (running || !state.model?.layers || !state.weights) return;
  const outcome = await alone(`train ${place()}/${state.account}`, train_);
  if (outcome === "elsewhere") say("info", "Another tab is training for this account: wait for it, or close it.");
}

async function train_(): Promise<void> {
  const { model, weights, weightsVersion, shape, samples, starter, test, taskNumber } = state;
  const inputs = model!.inputCount;
  const of = (list: readonly Sample[]): Samples => {
    const x = new Float32Array(list.length * inputs);
    list.forEach((one, i) => x.set(one.values, i * inputs));
    return { x, y: Uint8Array.from(list, (one) => one.label) };
  };
  const own = of(samples);
  const all: Samples = starter
    ? { x: Float32Array.from([...own.x, ...starter.x]), y: Uint8Array.from([...own.y, ...starter.y]) }
    : own;
  state.training = { step: 0, losses: [] };
  state.trained = null;
  changed();
  const order: Order = { model: model!, base: weights!, samples: all, own, starter: test, seed: crypto.getRandomValues(new Uint32Array(1))[0] };
  try {
    const done = await work(order);
    if (state.taskNumber !== taskNumber) return;
    const delta = done.delta;
    if (state.carried.residual?.length === delta.length) state.carried.residual.forEach((left, i) => (delta[i] += left));
    const quantised = quantise(delta, shape!, BigInt(taskNumber), BigInt(weightsVersion), TWO_BITS);
    if (!quantised.update.pages.length) throw new Refusal("EmptyUpdate", "The training moved nothing: draw something that the model gets wrong.");
    const digest = updates.digest(quantised.update, shape!);
    const groups = updates.groups(quantised.update, shape!);
    const header = updates.header(quantised.update, shape!);
    const data = calldata("submit", BigInt(taskNumber), hexOf(digest), hexOf(header), groups.map(hexOf));
    state.trained = {
      base: weightsVersion,
      before: done.before,
      after: done.after,
      quantised,
      bytes: header.length + groups.reduce((sum, group) => sum + group.length, 0),
      digest: hexOf(digest),
      gas: gas.submitLimit(data, quantised.update, shape!),
      data,
      lengths: updates.norm(quantised.update, shape!) / Number(shape!.normBound),
    };
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.reason !== "Stopped") say("bad", refusal.message);
  } finally {
    running?.terminate();
    running = null;
    wakeWorker();
    state.training = null;
    changed();
  }
}

function work(order: Order): Promise<Extract<Report, { kind: "done" }>> {
  return new Promise((resolve, reject) => {
    wakeWorker();
    running = spare!;
    spare = null;
    stop = () => reject(new Refusal("Stopped", "Stopped."));
    running.onerror = () => reject(new Refusal("NoWorker", "The training could not be started: reload the page, and try again."));
    running.onmessage = (event: MessageEvent<Report>) => {
      const report = event.data;
      if (report.kind === "done") resolve(report);
      else if (report.kind === "failed") reject(new Refusal("Diverged", report.message));
      else if (state.training) {
        state.training.step = report.step;
        state.training.losses.push(report.loss);
        changed();
      }
    };
    running.postMessage(order);
  });
}

let stop: () => void = () => {};
export const stopTraining = (): void => stop();

/** Our own worker's address, in the one form that the page's policy lets a worker start from. */
function workerUrl(): unknown {
  const url = new URL(document.querySelector<HTMLScriptElement>("script[data-worker]")!.dataset["worker"]!, location.href).href;
  const policies = (globalThis as any).trustedTypes;
  if (!policies) return url;
  policy ??= policies.createPolicy("page", { createScriptURL: (text: string) => text });
  return policy.createScriptURL(url);
}
let policy: any;

// --- submitting

/** Refusals that say that the round or the model moved on while an update was on its way, and what is waited for then. */
const MOVED_ON: Record<string, string> = {
  StaleBase: "The model moved on: reading the new version …",
  RoundSettling: "The round is being merged just now: waiting for its version …",
  PhaseOver: "The round takes no more updates: waiting for the next one …",
};
const LOOK_AGAIN_MS = 700;
/** So often an update is trained again by itself: where others are quick, the next version may come while this one is being read. */
const TRAINED_AGAIN = 3;

export async function submit(): Promise<void> {
  const outcome = await alone(`submit ${place()}/${state.account}`, async () => {
    await waiting("submit", "Confirm the update in your wallet …", async () => {
      for (let again = 0; ; again++) {
        const [key, base, round] = [mine(), state.trained?.base, state.task?.round.round];
        try {
          return await submit_();
        } catch (error) {
          const text = error instanceof Refusal ? MOVED_ON[error.reason] : undefined;
          if (again === TRAINED_AGAIN || !text) throw error;
          state.waits["submit"] = text;
          for (; state.weightsVersion === base && state.task?.round.round === round; await new Promise((resolve) => setTimeout(resolve, LOOK_AGAIN_MS))) {
            await look();
            if (mine() !== key) throw error;
          }
          state.waits["submit"] = "The model moved on: training again on the new version …";
          changed();
          await train();
          if (!state.trained || mine() !== key) throw error;
          state.waits["submit"] = "Trained again. Confirm the update in your wallet …";
          changed();
        }
      }
    });
  });
  if (outcome === "elsewhere") say("info", "Another tab is submitting for this account.");
}

async function submit_(): Promise<void> {
  const { trained, task } = state;
  if (!trained || !task) return;
  const key = mine();
  const residual = state.carried.residual;
  const held = {
    round: task.round.round, digest: trained.digest, transaction: "", block: 0,
    bytes: trained.bytes, gas: 0, residual: trained.quantised.residual,
  };
  const call = { to: hex(state.chain!.pool), data: trained.data, gas: trained.gas };
  let receipt: Receipt;
  try {
    receipt = await send("submit", call, "Your update is on its way: waiting for a block …", (transaction) => {
      // should the page be closed now, it finds its update again
      void keepCarried(key, { residual, held: { ...held, transaction } });
    });
  } catch (error) {
    await keepCarried(key, { residual, held: null });
    throw error;
  }
  await accepted(key, receipt);
}

/** The update that `key` holds is in a block: in which round, the chain says, because another one may have opened meanwhile. */
async function accepted(key: string, receipt: Receipt): Promise<void> {
  const { residual, held } = mine() === key ? state.carried : await carriedStore.read(key);
  if (!held) return;
  const round = String(receipt.logs.map(readEvent).find((one) => one?.name === "UpdateAccepted")?.values["round"] ?? held.round);
  const block = Number(receipt.blockNumber);
  const kept = await keepCarried(key, { residual, held: { ...held, round, block, gas: Number(receipt.gasUsed) } });
  if (mine() !== key) return;
  if (!kept) say("bad", "This browser has no room to remember your update; keep the page open until the round is over.");
  else say("good", `Accepted in round ${round}, block ${count(block)}.`);
  state.trained = null;
  state.outcome = null;
  await look();
}

export async function claim(): Promise<boolean> {
  return waiting("round", "Confirm the payout in your wallet …", async () => {
    await send("round", { to: hex(state.chain!.pool), data: calldata("claim", BigInt(state.taskNumber)), gas: gas.CLAIM }, "Paying out: waiting for a block …");
    await counted("round", () => wei(state.earnings?.payWei) + wei(state.earnings?.feesWei) === 0n);
    say("good", "Your earnings are in your wallet.");
  });
}

async function send(step: string, call: wallet.Call, sentText: string, sent: (hash: string) => void = () => {}): Promise<Receipt> {
  return wallet.send(state.wallet!.provider, state.account, state.chain!.chainId, call, (hash) => {
    sent(hash);
    state.waits[step] = `${sentText} (${short(hash)})`;
    changed();
  });
}

/** Whether `work` came to its end. Its errors become the notice; what a person declined is no error. */
async function waiting(step: string, text: string, work: () => Promise<void>): Promise<boolean> {
  if (state.waits[step]) return false;
  state.waits[step] = text;
  state.notice = null;
  changed();
  try {
    await work();
    return true;
  } catch (error) {
    const refusal = refusalOf(error);
    if (refusal.reason === "WrongChain") say("bad", refusal.message, { label: "Switch network", run: switchChain });
    else say(refusal.reason === "Declined" ? "info" : "bad", refusal.message);
    return false;
  } finally {
    delete state.waits[step];
    changed();
  }
}

// --- asking

/** Signs in, and asks at once where there is something to ask about. */
export async function openSession(): Promise<boolean> {
  const open = await waiting("ask", "Sign the text in your wallet …", async () => {
    state.session = await signIn(state.account, state.chain!.chainId, state.taskNumber, (text) =>
      wallet.signText(state.wallet!.provider, state.account, text),
    );
  });
  return open && state.values ? ask() : open;
}

export async function ask(): Promise<boolean> {
  return waiting("ask", "Asking …", async () => {
    const { model, values } = state;
    const began = performance.now();
    const request = {
      modelName: model!.name,
      inputs: [{ name: model!.inputName, datatype: "FP32", shape: ["1", ...model!.dimensions.map(String)] }],
      rawInputContents: [base64Of(new Uint8Array(values!.slice().buffer))],
    };
    let answer;
    try {
      answer = await services.modelServer.infer(request, state.session!.token);
    } catch (error) {
      if (error instanceof Refusal && error.facts["code"] === "unauthenticated") state.session = null;
      throw error;
    }
    const raw = ofBase64(answer.rawOutputContents[0]);
    const logits = new Float32Array(raw.buffer, raw.byteOffset, raw.length >> 2);
    state.answer = {
      shares: model!.loss === "cross-entropy" ? softmax(logits) : logits,
      version: answer.modelVersion,
      digest: answer.parameters?.["digest"]?.stringParam ?? "",
      ms: performance.now() - began,
    };
  });
}

export const bestLabel = (shares: ArrayLike<number>): string => state.model!.labels[best(shares)] ?? String(best(shares));
export const isServed = (): boolean => !!state.start?.modelServer && state.taskNumber === state.start.task;
