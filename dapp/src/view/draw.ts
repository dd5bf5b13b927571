// Draw, see what the model sees, and label it. By hand, by keys, or from a picture.

import { html, nothing } from "lit-html";

import * as actions from "../actions";
import { drawable } from "../domain/model";
import { best } from "../domain/training";
import { changed, state } from "../state";
import { type Part, bars, button, tile } from "./parts";

const GRID = 12; // steps of the pen across the paper, by keys

export function draw(): Part {
  const { model, values, shares } = state;
  const side = model && drawable(model);
  if (!model) return html`<section class="card pad"><p class="why">${state.modelTrouble || "Reading the model …"}</p></section>`;
  if (!side) return numbers();
  const range = model.range ?? [0, 1];
  return html`<section class="card pad" aria-labelledby="draw-title">
    <header><h2 id="draw-title">Draw ${model.labels.length === 10 ? "a digit" : "something"}</h2>
      <div class="tools">
        <label class="file quiet">Picture<input type="file" accept="image/*" multiple @change=${picked} /></label>
        ${button("Clear", actions.clear, { kind: "quiet", off: !values && !state.strokes.length })}
      </div></header>
    ${state.pictures.length > 1 ? html`<p class="fine">${state.pictures.length} pictures to label</p>` : nothing}
    <div class="paper-box">
      <canvas
        id="paper"
        tabindex="0"
        role="img"
        aria-label="Paper to draw on. With keys: arrows move the pen, Space lowers and lifts it, Backspace clears, a label's key keeps it."
        aria-describedby="draw-help"
        @pointerdown=${down}
        @pointermove=${move}
        @pointerup=${up}
        @pointercancel=${up}
        @keydown=${key}
        @focus=${() => focus(true)}
        @blur=${() => focus(false)}
      ></canvas>
      ${values ? nothing : html`<p class="paper-hint" aria-hidden="true">${model.labels.length === 10 ? "Draw a digit here" : "Draw here"}</p>`}
    </div>
    <fieldset class="labels" ?disabled=${!values}>
      <legend>${values ? (shares ? html`It takes this for <b>${model.labels[best(shares)] ?? ""}</b>. What is it?` : "What is it?") : "Draw, then say what it is"}</legend>
      <div>${model.labels.slice(0, 64).map((label, i) => html`<button type="button" class="label" @click=${() => actions.keep(i)}>${label}</button>`)}</div>
    </fieldset>
    <div class="sees">
      <figure>${tile(values, side, range, values ? "What the model sees" : "Nothing drawn yet")}<figcaption>what the model sees</figcaption></figure>
      ${shares
        ? bars(shares, model.labels, "What the model takes it for")
        : bars(null, model.labels, model.layers ? "Nothing drawn yet" : "This page cannot run this model by itself")}
    </div>
    <p id="draw-help" class="fine">Your drawings never leave this device. By keys: arrows move the pen, <kbd>Space</kbd> lowers and lifts it.</p>
  </section>`;
}

/** A task whose samples are no images: one can be asked about by its numbers. */
function numbers(): Part {
  const { model, values } = state;
  const take = (event: Event): void => {
    const text = (event.target as HTMLTextAreaElement).value;
    const found = text.split(/[\s,;]+/).filter(Boolean).map(Number);
    state.values = found.length === model!.inputCount && found.every(Number.isFinite) ? Float32Array.from(found) : null;
    state.answer = null;
    actions.guess();
  };
  return html`<section class="card pad">
    <header><h2>One sample</h2></header>
    <label class="field">${model!.inputCount} numbers, as ${model!.inputName} (${model!.dimensions.join(" × ")})
      <textarea rows="6" spellcheck="false" @input=${take}></textarea></label>
    <p class="fine">${values ? "Ready to be asked about." : `This task's samples are no pictures that could be drawn. Paste ${model!.inputCount} numbers to ask about them.`}</p>
    ${state.shares ? bars(state.shares, model!.labels, "What the model takes it for") : nothing}
  </section>`;
}

const at = (event: PointerEvent): { x: number; y: number } => {
  const box = (event.currentTarget as HTMLCanvasElement).getBoundingClientRect();
  return { x: (event.clientX - box.left) / box.width, y: (event.clientY - box.top) / box.height };
};

function down(event: PointerEvent): void {
  if (event.button) return;
  (event.currentTarget as HTMLCanvasElement).setPointerCapture(event.pointerId);
  if (state.pictures.length) actions.clear();
  state.answer = null;
  state.drawing = true;
  state.strokes.push([at(event)]);
  changed();
}

function move(event: PointerEvent): void {
  if (!state.drawing) return;
  const events = event.getCoalescedEvents?.() ?? [];
  const box = (event.currentTarget as HTMLCanvasElement).getBoundingClientRect();
  for (const one of events.length ? events : [event]) {
    state.strokes.at(-1)!.push({ x: (one.clientX - box.left) / box.width, y: (one.clientY - box.top) / box.height });
  }
  later();
}

let waiting = false;
/** Looks at the drawing once a frame while it grows. */
function later(): void {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => {
    waiting = false;
    actions.guess();
  });
}

function up(): void {
  if (!state.drawing) return;
  state.drawing = false;
  actions.guess();
}

function focus(on: boolean): void {
  if (on && (document.activeElement as HTMLElement | null)?.matches(":focus-visible")) state.pen ??= { x: 0.5, y: 0.25, down: false };
  else state.pen = null;
  changed();
}

function key(event: KeyboardEvent): void {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const pen = (state.pen ??= { x: 0.5, y: 0.25, down: false });
  const [dx, dy] = ({ ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] } as Record<string, number[]>)[event.key] ?? [0, 0];
  const label = state.model!.labels.indexOf(event.key);
  if (dx || dy) {
    pen.x = Math.min(0.95, Math.max(0.05, pen.x + dx / GRID));
    pen.y = Math.min(0.95, Math.max(0.05, pen.y + dy / GRID));
    if (pen.down) state.strokes.at(-1)!.push({ x: pen.x, y: pen.y });
  } else if (event.key === " ") {
    if (state.pictures.length) actions.clear();
    pen.down = !pen.down;
    if (pen.down) state.strokes.push([{ x: pen.x, y: pen.y }]);
  } else if (event.key === "Backspace" || event.key === "Delete") actions.clear();
  else if (label >= 0 && state.values) {
    pen.down = false;
    void actions.keep(label);
  } else return;
  event.preventDefault();
  actions.guess();
}

function picked(event: Event): void {
  const input = event.target as HTMLInputElement;
  void actions.addPictures([...(input.files ?? [])]).then(() => (input.value = ""));
}

/** Draws the strokes as they are kept. After each change. */
export function paint(): void {
  const canvas = document.querySelector<HTMLCanvasElement>("#paper");
  if (!canvas) return;
  const size = Math.round(canvas.clientWidth * devicePixelRatio);
  if (size && canvas.width !== size) canvas.width = canvas.height = size;
  const context = canvas.getContext("2d")!;
  const colour = getComputedStyle(canvas);
  context.clearRect(0, 0, size, size);
  context.lineCap = context.lineJoin = "round";
  context.lineWidth = size * 0.075;
  context.strokeStyle = context.fillStyle = colour.color;
  if (state.pictures.length) {
    const side = drawable(state.model!)!;
    const [low, high] = state.model!.range ?? [0, 1];
    state.pictures[0].forEach((value, i) => {
      context.globalAlpha = (value - low) / (high - low || 1);
      context.fillRect(((i % side) * size) / side, (Math.floor(i / side) * size) / side, size / side + 0.5, size / side + 0.5);
    });
    context.globalAlpha = 1;
  }
  for (const stroke of state.strokes) {
    context.beginPath();
    stroke.forEach((p, i) => context[i ? "lineTo" : "moveTo"](p.x * size, p.y * size));
    if (stroke.length === 1) context.lineTo(stroke[0].x * size + 0.1, stroke[0].y * size);
    context.stroke();
  }
  if (state.pen) {
    context.beginPath();
    context.arc(state.pen.x * size, state.pen.y * size, size * 0.03, 0, 2 * Math.PI);
    context.lineWidth = size * 0.008;
    context.strokeStyle = context.fillStyle = colour.borderTopColor;
    context[state.pen.down ? "fill" : "stroke"]();
  }
}
