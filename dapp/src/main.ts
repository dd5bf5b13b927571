// The page: one state, one view, and a look at the chain every now and then.

import { render } from "lit-html";

import * as actions from "./actions";
import * as live from "./live";
import { gateway } from "./services/call";
import { changed, onChange, state } from "./state";
import { openBlock } from "./view/block";
import { paintReads } from "./view/live";
import { paint } from "./view/draw";
import { frame } from "./view/frame";
import { discover } from "./wallet/discover";

const LOOK_MS = 1500;

let page: "learn" | "live" | "block" = "learn";
const root = document.querySelector<HTMLElement>("#app")!;
root.replaceChildren();

onChange(() => {
  render(frame(page), root);
  paint();
  paintReads();
});

async function route(): Promise<void> {
  const [, block] = /^#\/block\/(\d{1,15})$/.exec(location.hash) ?? [];
  const [, task, learn] = /^#\/task\/(\d{1,20})(\/learn)?$/.exec(location.hash) ?? [];
  page = block ? "block" : task && !learn ? "live" : "learn";
  const wanted = task ?? (block && state.taskNumber ? state.taskNumber : state.start!.task);
  document.title = page === "live" ? `LinkLearner · task ${wanted}` : "LinkLearner";
  changed();
  if (wanted !== state.taskNumber) await actions.open(wanted);
  if (block) await openBlock(block);
  if (page === "live") void live.follow();
}

async function begin(): Promise<void> {
  for (let wait = 500; ; wait = Math.min(5000, 2 * wait)) {
    try {
      await actions.begin();
      break;
    } catch (error) {
      state.away = (error as Error).message;
      changed();
      await new Promise((resolve) => setTimeout(resolve, wait));
    }
  }
  state.away = "";
  discover((wallet) => {
    if (state.wallets.some((known) => known.info.uuid === wallet.info.uuid)) return;
    state.wallets = [...state.wallets, wallet];
    void actions.reconnect(wallet);
    changed();
  });
  if (state.start!.faucet && actions.claimsPractice()) void actions.practiceWallet().then(actions.reconnect);
  addEventListener("hashchange", () => void route());
  addEventListener("resize", changed);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", changed);
  await route();
  actions.wakeWorker();
  gateway.tasks().then((answer) => {
    state.tasks = answer.tasks ?? [];
    changed();
  }, () => {});
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS));
    if (document.hidden || state.missing) continue;
    await actions.look();
    if (page === "live") void live.follow();
  }
}

void begin();
