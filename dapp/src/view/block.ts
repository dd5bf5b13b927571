// One block, as the node tells it: where numbers lead.

import { html, nothing } from "lit-html";

import { type Block, type Receipt, quantity, rpc } from "../chain/rpc";
import { count, hex, short } from "../format";
import { changed, state } from "../state";
import { type Part, person } from "./parts";

let shown: { number: string; block: Block | null; receipts: Receipt[]; trouble: string } | null = null;

export async function openBlock(number: string): Promise<void> {
  if (shown?.number === number && shown.block) return;
  const opened = (shown = { number, block: null as Block | null, receipts: [] as Receipt[], trouble: "" });
  changed();
  try {
    const block = await rpc<Block | null>("eth_getBlockByNumber", [quantity(Number(number)), true]);
    opened.receipts = await Promise.all((block?.transactions ?? []).slice(0, 100).map((one) => rpc<Receipt>("eth_getTransactionReceipt", [one.hash])));
    opened.block = block;
    if (!block) opened.trouble = "The chain has no such block.";
  } catch (error) {
    opened.trouble = (error as Error).message;
  }
  changed();
}

export function blockView(): Part {
  if (!shown) return nothing;
  const { block, receipts, trouble, number } = shown;
  const names = new Map(
    state.chain ? [[hex(state.chain.pool), "the pool"], [hex(state.chain.vault), "the vault"], [hex(state.chain.token), "the $LL token"]] : [],
  );
  return html`<section class="card narrow"><header><h1>Block ${count(number)}</h1></header>
    ${block
      ? html`<dl class="facts"><div><dt>Time</dt><dd>${new Date(Number(block.timestamp) * 1000).toLocaleString("en-GB")}</dd></div>
          <div><dt>Hash</dt><dd><code title=${block.hash}>${short(block.hash)}</code></dd></div></dl>
        <ul class="feed">${block.transactions.map((one, i) => html`<li class=${receipts[i]?.status === "0x1" ? "" : "bad"}>
          <span>${person(one.from)} → ${one.to ? (names.get(one.to.toLowerCase()) ?? short(one.to)) : "a new contract"}</span>
          <span class="fine"><code title=${one.hash}>${short(one.hash)}</code> ${receipts[i]?.status === "0x1" ? "" : "refused, "}${count(receipts[i]?.gasUsed ?? 0)} gas, ${count((one.input.length - 2) / 2)} B of data</span></li>`)}</ul>`
      : html`<p class="fine">${trouble || "Asking the chain …"}</p>`}
    <p><a href="#/" @click=${(event: Event) => { event.preventDefault(); history.back(); }}>Back</a></p></section>`;
}
