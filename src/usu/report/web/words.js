// @ts-check
// The page's first sentence, and the outline that it speaks of.

const OUTLINE = { under: "#0009", over: "#00e5ff", width: 1 };
const SMOOTH = 0.025; // of the shorter side: the outline leaves finer ragged edges out
const LEVELS = 4096;

// Around the brightest places that hold half of a map's positive values: { path, share, area }, or null.
/** @param {Explanation} explanation @param {Float64Array} map @returns {Half | null} */
function halfOf(explanation, map) {
  const { halves } = explanation;
  const found = halves.has(map) ? (halves.get(map) ?? null) : brightestHalf(explanation, map);
  halves.set(map, found);
  return found;
}

/** @param {Explanation} explanation @param {Float64Array} map @returns {Half | null} */
function brightestHalf({ size }, map) {
  const positive = new Float64Array(map.length);
  for (let pixel = 0; pixel < map.length; pixel++) positive[pixel] = map[pixel] > 0 ? map[pixel] : 0;
  const whole = sum(positive);
  if (!whole) return null;
  const smooth = blurred(positive, size, Math.round(SMOOTH * Math.min(...size)));
  const unit = (LEVELS - 1) / bounds(smooth)[1];
  const masses = new Float64Array(LEVELS);
  for (let pixel = 0; pixel < map.length; pixel++) masses[Math.floor(smooth[pixel] * unit)] += positive[pixel];
  let [level, mass] = [LEVELS - 1, masses[LEVELS - 1]];
  while (mass < HALF * whole && level > 0) mass += masses[--level];
  const labels = new Uint8Array(map.length);
  for (let pixel = 0; pixel < map.length; pixel++) labels[pixel] = Math.floor(smooth[pixel] * unit) >= level ? 1 : 0;
  return { path: borders(labels, size), share: mass / whole, area: sum(labels) / map.length };
}

// The mean over a square window, by running sums along rows and then of whole rows, twice.
/** @param {Float64Array} values @param {Size} size @param {number} radius */
function blurred(values, [height, width], radius) {
  if (radius < 1) return values;
  let found = values;
  const wide = new Float64Array(values.length);
  const made = new Float64Array(values.length);
  for (let round = 0; round < 2; round++) {
    for (let start = 0; start < found.length; start += width) meansAlong(found, wide, start, width, radius);
    meansDown(wide, made, height, width, radius);
    found = made;
  }
  return found;
}

/** @param {Float64Array} values @param {Float64Array} target @param {number} start @param {number} length @param {number} radius */
function meansAlong(values, target, start, length, radius) {
  let [total, seen] = [0, Math.min(radius, length)];
  for (let at = start; at < start + seen; at++) total += values[at];
  for (let at = 0; at < length; at++) {
    if (at + radius < length) {
      total += values[start + at + radius];
      seen += 1;
    }
    if (at > radius) {
      total -= values[start + at - radius - 1];
      seen -= 1;
    }
    target[start + at] = total > 0 ? total / seen : 0;
  }
}

/** @param {Float64Array} values @param {Float64Array} target @param {number} height @param {number} width @param {number} radius */
function meansDown(values, target, height, width, radius) {
  const totals = new Float64Array(width);
  /** @param {number} row @param {1 | -1} sign */
  const add = (row, sign) => {
    for (let x = 0, at = row * width; x < width; x++, at++) totals[x] += sign * values[at];
  };
  let seen = Math.min(radius, height);
  for (let row = 0; row < seen; row++) add(row, 1);
  for (let row = 0; row < height; row++) {
    if (row + radius < height) {
      add(row + radius, 1);
      seen += 1;
    }
    if (row > radius) {
      add(row - radius - 1, -1);
      seen -= 1;
    }
    for (let x = 0, at = row * width; x < width; x++, at++) target[at] = totals[x] > 0 ? totals[x] / seen : 0;
  }
}

/** @param {Explanation} explanation @param {Half | null} half @param {string} line */
function sentenceOf(explanation, half, line) {
  const { plain, partitions } = explanation;
  const claim = plain.probability === null
    ? `What speaks for ${plain.title}, by the network.`
    : `The network gives ${plain.title} a probability of ${percent(plain.probability)}.`;
  const where = half
    ? `${halfWords(half.share)} of what speaks for it lies on ${percent(half.area, 2)} of the picture, ${line}.`
    : "Nothing speaks for it in this map.";
  return [claim, where, hidingWords(plain, partitions)].filter(Boolean).join(" ");
}

// An outline goes by whole levels, so that few large values can hold more than half.
/** @param {number} share */
function halfWords(share) {
  const words = percent(share, 2);
  return words === "50 %" ? "Half" : words;
}

// What hiding a segment did, where that is what was measured. It may raise the probability.
/** @param {Plain} plain @param {Part[]} partitions */
function hidingWords(plain, partitions) {
  if (!isMasked(plain) || plain.settings.output !== "probability" || !partitions.length) return "";
  const most = partitions.reduce((found, { raw }) => raw.reduce((a, b) => Math.max(a, Math.abs(b)), found), 0);
  const points = short(Number((100 * most).toPrecision(2)));
  return `Hiding any one of ${countOf(partitions)} parts of the picture changes the probability by at most ${points} points, up or down.`;
}

/** @param {Plain} plain */
const isMasked = ({ settings }) => (settings.scoring ?? "mask") === "mask";
/** @param {Part[]} partitions */
const countOf = (partitions) => partitions.reduce((count, { raw }) => count + raw.length, 0);

// How coarse the numbers are, and where finer detail comes from: the map does not tell by itself.
/** @param {Explanation} explanation @param {Method} method */
function cautionOf({ plain, partitions }, method) {
  const finer = method === "nearest" ? "Nothing finer is shown" : INTERPOLATIONS.includes(method)
    ? "Finer detail is filled in between them"
    : isMasked(plain) && partitions.length
      ? "Finer detail comes from what hiding parts of the picture changes"
      : "Finer detail comes from the scores of the picture's parts";
  return `The method gave only one number for each of ${plain.cellsTitle.replaceAll(" ", "\u00a0")}. ${finer}. The map does not show where the network is wrong.`;
}

/** @param {View} view */
function captionOf({ explanation, state, figures }) {
  const { plain } = explanation;
  const parts = [
    plain.probability === null ? plain.title : `${plain.title}, ${percent(plain.probability)}`,
    plain.model,
    `${plain.source}, ${plain.cellsTitle}`,
    `${titleOf(explanation, state.method)}${REDISTRIBUTIONS.includes(state.method) ? `, ε = ${short(state.temperature)}` : ""}`,
    `relative D1 error ${short(Number(figures.method.relative.toPrecision(2)))}`,
  ];
  return parts.filter(Boolean).join(" · ");
}
