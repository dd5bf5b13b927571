// From strokes or a picture to what the model was made for: ink on a small square, centred and as thick as in the data it knows.
//
// Measured (scikit-learn's digits): box to full height, aspect kept, centred, and the stroke as thick as gives 312 of 1,024 pixels of ink.
// Strokes are kept as points of the unit square, so that screen and pixel ratio do not matter.

export interface Point {
  x: number;
  y: number;
}
export type Stroke = Point[];

const FINE = 4; // fine pixels in one of the model's, along a side
const INK = 312 / 1024;
const MARGIN = 0.075; // of the height, that the stroke's thickness takes on each side

/** (side * side) values from low to high; null where nothing is drawn. */
export function ofStrokes(strokes: readonly Stroke[], side: number, [low, high]: [number, number]): Float32Array | null {
  const points = strokes.flat();
  if (!points.length) return null;
  const size = side * FINE;
  const [left, right] = [Math.min(...points.map((p) => p.x)), Math.max(...points.map((p) => p.x))];
  const [top, bottom] = [Math.min(...points.map((p) => p.y)), Math.max(...points.map((p) => p.y))];
  const inner = size * (1 - 2 * MARGIN);
  const scale = inner / Math.max(bottom - top, (right - left) / 0.95, 0.02);
  const place = (p: Point): Point => ({
    x: size / 2 + (p.x - (left + right) / 2) * scale,
    y: size / 2 + (p.y - (top + bottom) / 2) * scale,
  });
  const distance = new Float32Array(size * size).fill(Infinity);
  for (const stroke of strokes) {
    const placed = stroke.map(place);
    placed.forEach((b, i) => near(distance, size, placed[Math.max(0, i - 1)], b));
  }
  return counted(distance, size, side, low, high);
}

/** The same from a picture. luminance: (rows, columns) from 0 to 1; what differs from the border is ink. */
export function ofPicture(luminance: Float32Array, columns: number, side: number, [low, high]: [number, number]): Float32Array | null {
  const rows = luminance.length / columns;
  const border: number[] = [];
  for (let c = 0; c < columns; c++) border.push(luminance[c], luminance[(rows - 1) * columns + c]);
  for (let r = 0; r < rows; r++) border.push(luminance[r * columns], luminance[r * columns + columns - 1]);
  const paper = border.sort((a, b) => a - b)[border.length >> 1];
  const ink = luminance.map((value) => Math.abs(value - paper));
  const most = ink.reduce((a, b) => Math.max(a, b), 0);
  if (most < 0.1) return null;
  let [left, right, top, bottom] = [columns, -1, rows, -1];
  ink.forEach((value, i) => {
    if (value < most / 2) return;
    const [r, c] = [Math.floor(i / columns), i % columns];
    [left, right, top, bottom] = [Math.min(left, c), Math.max(right, c), Math.min(top, r), Math.max(bottom, r)];
  });
  const size = side * FINE;
  const scale = Math.max(bottom - top + 1, right - left + 1) / size;
  const blank = new Float32Array(size * size);
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const r = (top + bottom + 1) / 2 + (y + 0.5 - size / 2) * scale;
      const c = (left + right + 1) / 2 + (x + 0.5 - size / 2) * scale;
      const inside = r >= 0 && c >= 0 && r < rows && c < columns;
      blank[y * size + x] = inside ? 1 - ink[Math.floor(r) * columns + Math.floor(c)] / most : 1;
    }
  }
  return counted(blank, size, side, low, high);
}

/** The nearest pixels are ink, as many as there should be; each of the model's pixels counts its own. */
function counted(distance: Float32Array, size: number, side: number, low: number, high: number): Float32Array {
  const limit = distance.slice().sort()[Math.round(INK * size * size) - 1];
  const values = new Float32Array(side * side).fill(low);
  const step = (high - low) / FINE ** 2;
  distance.forEach((away, i) => {
    if (away > limit) return;
    values[Math.floor(Math.floor(i / size) / FINE) * side + Math.floor((i % size) / FINE)] += step;
  });
  return values;
}

function near(distance: Float32Array, size: number, a: Point, b: Point): void {
  const [dx, dy] = [b.x - a.x, b.y - a.y];
  const square = dx * dx + dy * dy;
  for (let y = 0; y < size; y++) {
    for (let x = 0; x < size; x++) {
      const [px, py] = [x + 0.5 - a.x, y + 0.5 - a.y];
      const t = square ? Math.min(1, Math.max(0, (px * dx + py * dy) / square)) : 0;
      const away = (px - t * dx) ** 2 + (py - t * dy) ** 2;
      if (away < distance[y * size + x]) distance[y * size + x] = away;
    }
  }
}
