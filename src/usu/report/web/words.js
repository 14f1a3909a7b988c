// The page's first sentence, and the outline that it speaks of.

const OUTLINE = { under: "#0009", over: "#00e5ff", width: 1 };
const SMOOTH = 0.025; // of the shorter side: the outline leaves finer ragged edges out
const STRIDE = 64; // levels tried per power of two

// Around the brightest places that hold half of a map's positive values: { path, share, area }, or null.
function halfOf(view, explanation, map) {
  view.halves ??= new WeakMap();
  if (!view.halves.has(map)) view.halves.set(map, brightestHalf(explanation, map));
  return view.halves.get(map);
}

function brightestHalf({ size }, map) {
  const positive = map.map((value) => Math.max(value, 0));
  const whole = sum(positive);
  if (!whole) return null;
  const smooth = blurred(positive, size, Math.round(SMOOTH * Math.min(...size)));
  const [, largest] = bounds(smooth);
  const steps = smooth.map((value) => (value > 0 ? Math.min(-STRIDE * Math.log2(value / largest), 1023) : 1023));
  const masses = new Float64Array(1024);
  steps.forEach((step, pixel) => (masses[Math.floor(step)] += positive[pixel]));
  let [last, mass] = [0, masses[0]];
  while (mass < HALF * whole && last < 1023) mass += masses[++last];
  const labels = Uint8Array.from(steps, (step) => Number(Math.floor(step) <= last));
  return { path: borders(labels, size), share: mass / whole, area: sum(labels) / map.length };
}

// The mean over a square window, by running sums along each axis, twice.
function blurred(values, [height, width], radius) {
  let found = values;
  for (let round = 0; round < 2 && radius > 0; round++) {
    found = runningMeans(found, height, width, 1, width, radius);
    found = runningMeans(found, width, height, width, 1, radius);
  }
  return found;
}

// Along lines of `length` pixels that are `next` apart; the lines begin `line` apart.
function runningMeans(values, count, length, next, line, radius) {
  const means = new Float64Array(values.length);
  for (let start = 0, row = 0; row < count; row++, start += line) {
    let total = 0;
    for (let at = 0; at < Math.min(radius, length); at++) total += values[start + at * next];
    for (let at = 0; at < length; at++) {
      if (at + radius < length) total += values[start + (at + radius) * next];
      if (at > radius) total -= values[start + (at - radius - 1) * next];
      means[start + at * next] = Math.max(total, 0) / (Math.min(at + radius, length - 1) - Math.max(at - radius, 0) + 1);
    }
  }
  return means;
}

function sentenceOf(explanation, half) {
  const { plain, partitions } = explanation;
  const claim = plain.probability === null
    ? `What speaks for ${plain.title}, by the network.`
    : `The network gives ${plain.title} a probability of ${percent(plain.probability)}.`;
  const where = half
    ? `Of what speaks for it, ${percent(half.share, 2)} lies inside the outline, on ${percent(half.area, 2)} of the picture.`
    : "Nothing speaks for it in this map.";
  return [claim, where, coverWords(plain, partitions)].filter(Boolean).join(" ");
}

// What covering a segment did, where that is what was measured.
function coverWords({ settings }, partitions) {
  if ((settings.scoring ?? "mask") !== "mask" || settings.output !== "probability" || !partitions.length) return "";
  const most = partitions.reduce((found, { raw }) => raw.reduce((a, b) => Math.max(a, Math.abs(b)), found), 0);
  const parts = partitions.reduce((count, { raw }) => count + raw.length, 0);
  const points = short(Number((100 * most).toPrecision(2)));
  return `Covering any one of the ${parts} parts that were tried changes the probability by at most ${points} points.`;
}

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
