// @ts-check
// The state of the page: controls change it, and everything shown is updated one frame later.

const stage = new Stage(byId("frame"), byId("canvas"));
/** @type {Layout[]} */
const LAYOUTS = ["one", "split", "beside"];
// `beside` is the explanation that the compared map, side 0, is of: by default the same.
const view = /** @type {View} */ ({ index: 0, besideIndex: 0, pointed: false, spoken: false, judged: null });
/** @type {Look} */
const look = {
  layout: "one",
  scaling: "own",
  split: 50,
  shown: "map",
  colours: { sequential: SEQUENTIAL[0], diverging: DIVERGING[0] },
  opacity: 90,
  byMagnitude: true,
  inColour: false,
  loupe: false,
  whole: false,
  lines: { half: true, cells: false, segments: false, split: false },
};
const LINES = /** @type {(keyof Lines)[]} */ (Object.keys(look.lines));
let pending = false;

/** @type {Record<"map" | "difference" | "score" | "h" | "alpha", Layer>} */
const SHOWN = {
  map: { title: "the map", available: () => true },
  difference: {
    title: "map minus compared map",
    available: () => isSameSize(view.beside, view.explanation),
    note: () => `Blue: ${nameOf(0)} puts more there; red: ${nameOf(1)} does.`,
    values: () => view.maps.method.map((value, pixel) => value - (view.maps.other?.[pixel] ?? 0)),
  },
  score: {
    title: "score map Φ",
    available: () => true,
    note: () => "The scores by which the mass is shared: 1 matters most.",
    values: () => view.explanation.scores(view.state.depth),
    limits: { low: 0, high: 1, largest: 1 },
  },
  h: {
    title: "H-map of the scores",
    available: () => true,
    note: () => "Where scores change from pixel to pixel: |H| decides which segments are split.",
    values: () => view.explanation.h(view.state.depth),
  },
  alpha: {
    title: "α of the mixing",
    available: () => Boolean(view.partition.alpha),
    note: () => "1 keeps the coarser score, 0 takes that of the next depth.",
    values: () => Float64Array.from(view.partition.alpha ?? [], (value) => value / 255),
    limits: { low: 0, high: 1, largest: 1 },
  },
};

const compares = () => look.shown === "map" && look.layout !== "one";

function refresh() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    compute();
    draw();
    fillAll();
    writeAddress();
  });
}

function compute() {
  const { explanation, beside, state } = view;
  if (!SHOWN[look.shown].available()) look.shown = "map";
  const other = compares() || look.shown === "difference";
  const setting = { ...state, depth: Math.min(state.depth, beside.depths) };
  view.maps = { method: explanation.map(state.method, state), other: other ? beside.map(state.other, setting) : null };
  view.figures = {
    method: explanation.figures(view.maps.method),
    other: view.maps.other && beside.figures(view.maps.other),
  };
  stage.arrange(compares() ? arrangement() : "one");
}

/** @param {Explanation} one @param {Explanation} other */
const isSameSize = (one, other) => String(one.size) === String(other.size);

// Pictures of two sizes cannot share a frame.
/** @returns {Layout} */
function arrangement() {
  const { beside, explanation } = view;
  const frames = [beside, explanation].map((one) => String((look.whole && one.whole ? one.whole : one).size));
  return isSameSize(beside, explanation) && frames[0] === frames[1] ? look.layout : "beside";
}

/** @param {boolean} whole */
function showWhole(whole) {
  look.whole = whole;
  stage.ground(whole);
  stage.whole();
}

// What each side shows: its values, scale, colours and words.
/** @returns {Shown[]} */
function shownSides() {
  const { maps, explanation, beside } = view;
  const { values, limits: fixed } = SHOWN[look.shown];
  if (values) return [side(1, values(), fixed, look.shown === "difference" ? true : undefined)];
  if (!compares() || !maps.other) return [side(1, maps.method, null, explanation.signed)];
  const sides = [maps.other, maps.method];
  const signed = [beside.signed, explanation.signed];
  if (look.scaling === "own") return sides.map((map, number) => side(sideOf(number), map, null, signed[number]));
  const limits = colourLimits(sides, signed[0] || signed[1]);
  return sides.map((map, number) => side(sideOf(number), map, limits));
}

/** @param {Side} number @param {Float64Array} values @param {Limits | null | undefined} fixed @param {boolean} [signed] @returns {Shown} */
function side(number, values, fixed, signed) {
  const limits = fixed ?? colourLimits([values], signed);
  const kind = limits.low < 0 ? "diverging" : "sequential";
  return { side: number, values, limits, kind, table: colourTable(look.colours[kind]), fixed: SHOWN[look.shown].limits };
}

function shownBars() {
  const sides = view.sides;
  const both = sides.length > 1 && look.scaling === "shared";
  return (both ? sides.slice(1) : sides).map((one) => ({
    ...one,
    words: barWords(one, sides.length > 1 && !both),
    ends: barEnds(one),
    opacity: opacityOf(one),
  }));
}

// In words, what the two ends of a bar mean.
/** @param {Shown} shown @returns {[string, string]} */
function barEnds({ kind }) {
  if (look.shown === "difference") return ["less", "more"];
  if (look.shown !== "map") return ["", ""];
  if (kind === "diverging") return ["against", "for"];
  return [look.byMagnitude && !look.inColour ? "little (grey)" : "little", "much"];
}

// Small values let the photograph through.
/** @param {Shown} shown @returns {Opacity} */
const opacityOf = ({ fixed }) => (look.byMagnitude && !fixed ? { most: look.opacity / 100 } : look.opacity / 100);

/** @param {Shown} shown @param {boolean} named */
function barWords({ side: number, limits: { high, largest, peaks, kept } }, named) {
  const isMap = look.shown === "map" || look.shown === "difference";
  const unit = (number ? view.explanation : view.beside).plain.unit;
  const words = isMap ? `${unit} per pixel` : SHOWN[look.shown].title;
  const clipped = largest > high * 1.001 ? `; the last colour goes up to ${short(largest)}` : "";
  const pixels = peaks === 1 ? "one pixel holds" : `${peaks} pixels hold`;
  const crowd = peaks ? `; ${pixels} ${percent(kept ?? 0, 2)} of it, colours are for the rest` : "";
  return `${named ? `${nameOf(number)}: ` : ""}${words}${clipped}${crowd}`;
}

function draw() {
  view.sides = shownSides();
  for (const one of view.sides) stage.show(one.side, one.values, one.limits, one.table, opacityOf(one));
  stage.draw(scene());
}

function scene() {
  const place = placeOf(view.state.pixel);
  return {
    split: look.split / 100,
    inColour: look.inColour,
    lines,
    cursor: byId("pixel-panel").open || view.pointed ? place : null,
    loupe: look.loupe ? place : null,
  };
}

// The middle of a pixel, as shares of the picture.
/** @param {number} pixel */
function placeOf(pixel) {
  const [height, width] = view.explanation.size;
  return stage.outward({ x: ((pixel % width) + 0.5) / width, y: (Math.floor(pixel / width) + 0.5) / height });
}

/** @param {Side} number */
function nameOf(number) {
  if (number) return titleOf(view.explanation, view.state.method);
  const title = titleOf(view.beside, view.state.other);
  return view.beside === view.explanation ? title : `${view.beside.plain.title}, ${title}`;
}

function inWords() {
  if (look.shown !== "map") return SHOWN[look.shown].title;
  return compares() ? `${nameOf(1)} map beside ${nameOf(0)}` : `${nameOf(1)} map`;
}

/** @param {Side} number @returns {Line[]} */
function lines(number) {
  const { explanation, beside, partition, state, maps } = view;
  /** @type {Line[]} */
  const found = [];
  const own = number === 1 || beside === explanation;
  const { cells } = explanation;
  if (own && look.lines.cells) found.push({ key: "cells", labels: cells.owner, under: "#0008", over: "#fff", width: 1 });
  if (own && look.lines.segments) {
    found.push({ key: `segments ${partition.key}`, labels: partition.labels, under: "#000", over: "#f0e442", width: 1 });
  }
  const { parts } = partition;
  if (own && look.lines.split && parts) {
    /** @param {number} segment */
    const only = (segment) => parts[segment] > 1;
    found.push({ key: `split ${partition.key}`, labels: partition.labels, only, under: "#000", over: "#56b4e9", width: 2 });
  }
  if (look.lines.half && look.shown === "map") {
    const map = number ? maps.method : maps.other;
    const half = map && halfOf(number ? explanation : beside, map);
    if (half) found.push({ path: half.path, ...OUTLINE });
  }
  if (!own || !byId("pixel-panel").open) return found;
  const [cell, segment] = [cells.owner[state.pixel], partition.labels[state.pixel]];
  found.push({ key: `cell ${cell}`, labels: cells.owner, only: (/** @type {number} */ one) => one === cell, under: "#000", over: "#fff", width: 2 });
  const key = `segment ${partition.key} ${segment}`;
  found.push({ key, labels: partition.labels, only: (/** @type {number} */ one) => one === segment, under: "#000", over: "#f0e442", width: 2 });
  return found;
}

/** @param {Explanation} explanation @returns {[Method, string][]} */
function methodNames(explanation) {
  return explanation.methods.map((name) => [name, titleOf(explanation, name)]);
}

function layoutRadios() {
  return /** @type {NodeListOf<HTMLInputElement>} */ (document.getElementsByName("layout"));
}

function restart() {
  const { explanation } = view;
  view.judged = null;
  view.state = { ...explanation.defaults, pixel: view.state?.pixel ?? null };
  options(byId("method"), methodNames(explanation), view.state.method);
  compareWith(view.besideIndex);
  refresh();
}

// Take the compared map from another explanation.
/** @param {number} index */
function compareWith(index) {
  view.besideIndex = index;
  view.beside = view.all[index];
  const { methods, isGrid } = view.beside;
  if (!methods.includes(view.state.other)) view.state.other = isGrid ? "bilinear" : "nearest";
  options(byId("other"), methodNames(view.beside), view.state.other);
  stage.take([view.beside, view.explanation]);
  stage.ground(look.whole);
}

/** @param {number} index */
function choose(index) {
  const explanation = view.all[index];
  Object.assign(view, { explanation, index, besideIndex: index, state: null, pointed: false });
  const own = explanation.partitions;
  view.partition = own.findLast((part) => part.number === 0) ?? wholePicture(explanation);
  const parts = own.map((part) => /** @type {const} */ ([part.key, `${part.tree}, depth ${part.depth + 1}: ${part.count} segments`]));
  options(byId("partition"), parts, view.partition.key);
  byId("depth").max = String(explanation.depths);
  byId("main").hidden = false;
  stage.whole();
  fillHead(explanation);
  fillFacts(explanation);
  restart();
  const first = explanation.map(view.state.method, view.state);
  view.state.pixel = first.reduce((best, value, pixel) => (value > first[best] ? pixel : best), 0);
}

// A record without segments: the whole picture counts as one.
/** @param {Explanation} explanation @returns {Part} */
function wholePicture({ pixels }) {
  return { key: -1, number: 0, tree: "the whole picture", depth: 0, count: 1, labels: new Uint8Array(pixels), scores: new Float64Array([NaN]), raw: new Float64Array([NaN]) };
}
