// The state of the page: controls change it, and everything shown is updated one frame later.

const stage = new Stage(byId("frame"), byId("canvas"));
const LAYOUTS = ["one", "split", "beside"];
// `beside` is the explanation that the compared map, side 0, is of: by default the same.
const view = { explanation: null, beside: null, index: 0, besideIndex: 0, state: null, maps: {}, figures: {}, partition: null };
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
let pending = false;

const SHOWN = {
  map: { title: "the map", available: () => true },
  difference: {
    title: "map minus compared map",
    available: () => isSameSize(view.beside, view.explanation),
    note: () => `Blue: ${nameOf(0)} puts more there; red: ${nameOf(1)} does.`,
    values: () => view.maps.method.map((value, pixel) => value - view.maps.other[pixel]),
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
    values: () => Float64Array.from(view.partition.alpha, (value) => value / 255),
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
    other: other ? beside.figures(view.maps.other) : null,
  };
  stage.arrange(compares() ? arrangement() : "one");
}

const isSameSize = (one, other) => String(one.size) === String(other.size);

// Pictures of two sizes cannot share a frame.
function arrangement() {
  const { beside, explanation } = view;
  const frames = [beside, explanation].map((one) => String((look.whole && one.whole ? one.whole : one).size));
  return isSameSize(beside, explanation) && frames[0] === frames[1] ? look.layout : "beside";
}

function showWhole(whole) {
  look.whole = whole;
  stage.ground(whole);
  stage.whole();
}

// What each side shows: its values, scale, colours and words.
function shownSides() {
  const { maps, explanation, beside } = view;
  const { values, limits: fixed } = SHOWN[look.shown];
  if (values) return [side(1, values(), fixed, look.shown === "difference" ? true : undefined)];
  if (!compares()) return [side(1, maps.method, null, explanation.signed)];
  const sides = [maps.other, maps.method];
  const signed = [beside.signed, explanation.signed];
  if (look.scaling === "own") return sides.map((map, number) => side(number, map, null, signed[number]));
  const limits = colourLimits(sides, signed[0] || signed[1]);
  return sides.map((map, number) => side(number, map, limits));
}

function side(number, values, fixed, signed) {
  const limits = fixed ?? colourLimits([values], signed);
  const kind = limits.low < 0 ? "diverging" : "sequential";
  return { side: number, values, limits, kind, table: colourTable(look.colours[kind]), fixed: SHOWN[look.shown].limits };
}

function shownBars() {
  const sides = view.sides;
  const both = sides.length > 1 && look.scaling === "shared";
  return (both ? sides.slice(1) : sides).map((one) => ({ ...one, words: barWords(one, sides.length > 1 && !both) }));
}

function barWords({ side: number, limits: { high, largest, peaks, kept } }, named) {
  const isMap = look.shown === "map" || look.shown === "difference";
  const unit = (number ? view.explanation : view.beside).plain.unit;
  const words = isMap ? `${unit} per pixel` : SHOWN[look.shown].title;
  const clipped = largest > high * 1.001 ? `; clipped, largest ${short(largest)}` : "";
  const pixels = peaks === 1 ? "one pixel holds" : `${peaks} pixels hold`;
  const crowd = peaks ? `; ${pixels} ${percent(kept, 2)} of it, colours are for the rest` : "";
  return `${named ? `${nameOf(number)}: ` : ""}${words}${clipped}${crowd}`;
}

function draw() {
  view.sides = shownSides();
  const most = look.opacity / 100;
  for (const { side: number, values, limits, table, fixed } of view.sides) {
    stage.show(number, values, limits, table, look.byMagnitude && !fixed ? { most } : most);
  }
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
function placeOf(pixel) {
  const [height, width] = view.explanation.size;
  return stage.outward({ x: ((pixel % width) + 0.5) / width, y: (Math.floor(pixel / width) + 0.5) / height });
}

function nameOf(number) {
  if (number) return titleOf(view.explanation, view.state.method);
  const title = titleOf(view.beside, view.state.other);
  return view.beside === view.explanation ? title : `${view.beside.plain.title}, ${title}`;
}

function inWords() {
  if (look.shown !== "map") return SHOWN[look.shown].title;
  return compares() ? `${nameOf(1)} map beside ${nameOf(0)}` : `${nameOf(1)} map`;
}

function lines(number) {
  const { explanation, beside, partition, state, maps } = view;
  const found = [];
  const own = number === 1 || beside === explanation;
  const { cells } = explanation;
  if (own && look.lines.cells) found.push({ key: "cells", labels: cells.owner, under: "#0008", over: "#fff", width: 1 });
  if (own && look.lines.segments) {
    found.push({ key: `segments ${partition.key}`, labels: partition.labels, under: "#000", over: "#f0e442", width: 1 });
  }
  if (own && look.lines.split && partition.parts) {
    const only = (segment) => partition.parts[segment] > 1;
    found.push({ key: `split ${partition.key}`, labels: partition.labels, only, under: "#000", over: "#56b4e9", width: 2 });
  }
  if (look.lines.half && look.shown === "map") {
    const half = number ? halfOf(view, explanation, maps.method) : halfOf(view, beside, maps.other);
    if (half) found.push({ path: half.path, ...OUTLINE });
  }
  if (!own || !byId("pixel-panel").open) return found;
  const [cell, segment] = [cells.owner[state.pixel], partition.labels[state.pixel]];
  found.push({ key: `cell ${cell}`, labels: cells.owner, only: (one) => one === cell, under: "#000", over: "#fff", width: 2 });
  const key = `segment ${partition.key} ${segment}`;
  found.push({ key, labels: partition.labels, only: (one) => one === segment, under: "#000", over: "#f0e442", width: 2 });
  return found;
}

function restart() {
  const { explanation } = view;
  view.judged = null;
  view.state = { ...explanation.defaults, pixel: view.state?.pixel ?? null };
  options(byId("method"), explanation.methods.map((name) => [name, titleOf(explanation, name)]), view.state.method);
  compareWith(view.besideIndex);
  refresh();
}

// Take the compared map from another explanation.
function compareWith(index) {
  view.besideIndex = index;
  view.beside = view.all[index];
  const { methods, isGrid } = view.beside;
  if (!methods.includes(view.state.other)) view.state.other = isGrid ? "bilinear" : "nearest";
  options(byId("other"), methods.map((name) => [name, titleOf(view.beside, name)]), view.state.other);
  stage.take([view.beside, view.explanation]);
  stage.ground(look.whole);
}

function choose(index) {
  const explanation = view.all[index];
  Object.assign(view, { explanation, index, besideIndex: index, state: null, pointed: false });
  const own = explanation.partitions;
  own.forEach((part, key) => (part.key = key));
  view.partition = own.findLast((part) => part.number === 0) ?? wholePicture(explanation);
  const parts = own.map((part) => [part.key, `${part.tree}, depth ${part.depth + 1}: ${part.count} segments`]);
  options(byId("partition"), parts, view.partition.key);
  byId("depth").max = explanation.depths;
  byId("main").hidden = false;
  stage.whole();
  fillHead(explanation);
  fillFacts(explanation);
  restart();
  const first = explanation.map(view.state.method, view.state);
  view.state.pixel = first.reduce((best, value, pixel) => (value > first[best] ? pixel : best), 0);
}

// A record without segments: the whole picture counts as one.
function wholePicture({ pixels }) {
  return { key: -1, tree: "the whole picture", depth: 0, count: 1, labels: new Uint8Array(pixels), scores: [NaN], raw: [NaN] };
}
