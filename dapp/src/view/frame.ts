// The frame: where one is, who one is, and the one notice.

import { html, nothing } from "lit-html";

import { drawable } from "../domain/model";
import { amount, count, units, wei } from "../format";
import { changed, state } from "../state";
import { blockView } from "./block";
import { draw } from "./draw";
import { contributors, live } from "./live";
import { type Part, person } from "./parts";
import { ask, collection, purse, round, submit, train } from "./steps";

export function frame(page: "learn" | "live" | "block"): Part {
  const { task, taskNumber, start } = state;
  const learn = taskNumber === start?.task ? "#/" : `#/task/${taskNumber}/learn`;
  return html`
    <a class="skip" href="#main" @click=${skip}>Skip to the content</a>
    <header class="top">
      <a class="brand" href="#/"><img src="icon.svg" alt="" width="28" height="28" />LinkLearner</a>
      <nav aria-label="Views">
        <a href=${learn} aria-current=${page === "learn" ? "page" : nothing}>Contribute</a>
        <a href="#/task/${taskNumber}" aria-current=${page === "live" ? "page" : nothing}>Live</a>
      </nav>
      <div class="who">${state.account ? html`${person(state.account)}<span class="numbers">${state.balance ? `${amount(wei(state.balance.tokenWei))} $LL` : ""}</span>` : nothing}</div>
    </header>
    <main id="main" tabindex="-1">
      ${page === "block" ? blockView() : state.missing ? html`<section class="card narrow"><h1>Nothing here</h1><p>${state.missing}</p><p><a href="#/">To the first task</a></p></section>` : html`
        ${title(page)}
        ${!task
          ? html`<p class="loading" aria-busy="true">${state.away || "Asking the chain …"}</p>`
          : page === "live"
            ? live()
            : html`<div class="bench">${draw()}<div class="steps">${collection()}${purse()}${train()}${submit()}${round()}${ask()}</div></div>`}`}
    </main>
    <footer class="fine"><p>${state.chain ? `Network ${state.chain.chainId}` : ""}${state.task ? ` · task ${taskNumber}` : ""} · drawings stay in this browser</p></footer>
    ${notice()}`;
}

function title(page: string): Part {
  const { task, model, tasks, taskNumber } = state;
  if (!task) return nothing;
  const name = model?.name ?? `Task ${taskNumber}`;
  const choice = tasks.length > 1
    ? html`<label class="choice"><span class="unseen">Task</span><select @change=${(event: Event) => go((event.target as HTMLSelectElement).value, page)}>
        ${tasks.map((one) => html`<option value=${one.task} ?selected=${one.task === taskNumber}>Task ${one.task}</option>`)}</select></label>`
    : nothing;
  const people = contributors().size;
  const lead =
    page === "live" ? (people ? `One model, trained by ${people === 1 ? "one person" : `${people} people`} on data that stays with them.` : "")
    : !model?.layers || !drawable(model) ? ""
    : `Teach it your ${model.labels.length === 10 ? "handwriting: draw a few digits" : "eye: draw and label"}, train in this browser, earn $LL when your update is merged.`;
  return html`<div class="title"><div><h1 title=${name}>${name.slice(0, 80)}</h1>
      ${lead ? html`<p class="lead">${lead}</p>` : nothing}
      <p class="fine">${model?.summary ?? state.modelTrouble}${task.version ? html` · version ${task.version.version}` : ""}${state.shape ? html` · ${count(state.shape.weightCount)} weights` : ""} · ${amount(wei(task.potWei))} $LL in the pot${
        page === "learn" ? html` · ${units(task.round.eligibleUnits)} $LL of stake` : nothing}</p></div>${choice}</div>`;
}

function go(task: string, page: string): void {
  location.hash = page === "live" ? `#/task/${task}` : `#/task/${task}/learn`;
}

function skip(event: Event): void {
  event.preventDefault();
  document.querySelector<HTMLElement>("#main")?.focus();
}

function notice(): Part {
  const shown = state.notice ?? (state.away && state.task ? { tone: "bad" as const, text: `${state.away[0].toUpperCase()}${state.away.slice(1)}.` } : null);
  const close = (): void => {
    state.notice = null;
    changed();
  };
  return html`<div class="notice-place" role="status" aria-live="polite">${shown
    ? html`<div class="notice ${shown.tone}"><p>${shown.text}</p>
        ${"action" in shown && shown.action ? html`<button type="button" @click=${() => { const run = shown.action!.run; close(); run(); }}>${shown.action.label}</button>` : nothing}
        ${state.notice ? html`<button type="button" class="remove" aria-label="Close this notice" @click=${close}>×</button>` : nothing}</div>`
    : nothing}</div>`;
}


