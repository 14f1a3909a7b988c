// The state of the page: controls change it, and everything shown is updated one frame later.

const stage = new Stage(byId("frame"), byId("canvas"));
const view = { explanation: null, state: null, maps: {}, figures: {}, partition: null };
const look = {
  split: 50,
  shown: "map",
  colours: { sequential: SEQUENTIAL[0], diverging: DIVERGING[0] },
  opacity: 90,
  byMagnitude: true,
  inColour: false,
  lines: { cells: false, segments: false, split: false },
};
let pending = false;

const SHOWN = {
  map: { title: "the map", available: () => true },
  difference: { title: "map minus compared map", available: () => view.state.other !== "none", note: () => `Blue: ${TITLES[view.state.other]} puts more there; red: ${TITLES[view.state.method]} does.`, values: () => view.maps.method.map((value, pixel) => value - view.maps.other[pixel]) },
  score: { title: "score map Φ", available: () => true, note: () => "The scores by which the mass is shared: 1 matters most.", values: () => view.explanation.scores(view.state.depth), limits: { low: 0, high: 1, largest: 1 } },
  h: { title: "H-map of the scores", available: () => true, note: () => "Where scores change from pixel to pixel: |H| decides which segments are split.", values: () => view.explanation.h(view.state.depth) },
  alpha: { title: "α of the mixing", available: () => Boolean(view.partition.alpha), note: () => "1 keeps the coarser score, 0 takes that of the next depth.", values: () => Float64Array.from(view.partition.alpha, (value) => value / 255), limits: { low: 0, high: 1, largest: 1 } },
};

function refresh() {
  if (pending) return;
  pending = true;
  requestAnimationFrame(() => {
    pending = false;
    compute();
    draw();
    fillAll();
  });
}

function compute() {
  const { explanation, state } = view;
  const compared = state.other !== "none";
  view.maps = { method: explanation.map(state.method, state), other: compared ? explanation.map(state.other, state) : null };
  view.figures = {
    method: explanation.figures(view.maps.method),
    other: compared ? explanation.figures(view.maps.other) : null,
  };
}

function paintSides() {
  const { maps } = view;
  if (!SHOWN[look.shown].available()) look.shown = "map";
  const { values, limits: fixed } = SHOWN[look.shown];
  const sides = values ? [null, values()] : [maps.other, maps.method];
  const limits = fixed ?? colourLimits(sides.filter(Boolean));
  const kind = limits.low < 0 ? "diverging" : "sequential";
  const table = colourTable(look.colours[kind]);
  const most = look.opacity / 100;
  const opacity = look.byMagnitude && !fixed ? { most } : most;
  sides.forEach((side, number) => side && stage.show(number, side, limits, table, opacity));
  fillBar(limits, table, kind);
  return !values && maps.other;
}

function draw() {
  const isSplit = paintSides();
  stage.draw({ split: isSplit ? look.split / 100 : null, inColour: look.inColour, lines: lines(), pixel: view.state.pixel });
  for (const id of ["tag-other", "tag-method"]) byId(id).hidden = !isSplit;
  byId("split").disabled = !isSplit;
  byId("tag-other").textContent = TITLES[view.state.other] ?? "";
  byId("tag-method").textContent = TITLES[view.state.method];
}

function inWords() {
  const { method, other } = view.state;
  if (look.shown !== "map") return SHOWN[look.shown].title;
  return view.maps.other ? `${TITLES[method]} map beside ${TITLES[other]}` : `${TITLES[method]} map`;
}

function lines() {
  const { explanation, partition, state } = view;
  const { cells } = explanation;
  const found = [];
  if (look.lines.cells) found.push({ key: "cells", labels: cells.owner, under: "#0008", over: "#fff", width: 1 });
  if (look.lines.segments) {
    found.push({ key: `segments ${partition.key}`, labels: partition.labels, under: "#000", over: "#f0e442", width: 1 });
  }
  if (look.lines.split && partition.parts) {
    const only = (segment) => partition.parts[segment] > 1;
    found.push({ key: `split ${partition.key}`, labels: partition.labels, only, under: "#000", over: "#56b4e9", width: 2 });
  }
  const [cell, segment] = [cells.owner[state.pixel], partition.labels[state.pixel]];
  found.push({ key: `cell ${cell}`, labels: cells.owner, only: (one) => one === cell, under: "#000", over: "#fff", width: 2 });
  const key = `segment ${partition.key} ${segment}`;
  found.push({ key, labels: partition.labels, only: (one) => one === segment, under: "#000", over: "#f0e442", width: 2 });
  return found;
}

function fillBar({ low, high, largest }, table, kind) {
  const context = byId("bar").getContext("2d");
  const image = context.createImageData(256, 1);
  for (let step = 0; step < 256; step++) {
    image.data.set([table[3 * step], table[3 * step + 1], table[3 * step + 2], 255], 4 * step);
  }
  context.putImageData(image, 0, 0);
  const words = look.shown === "map" || look.shown === "difference" ? `${view.explanation.plain.unit} per pixel` : SHOWN[look.shown].title;
  const clipped = largest > high * 1.001 ? `, clipped; largest ${short(largest)}` : "";
  byId("bar-low").textContent = short(low);
  byId("bar-high").textContent = short(high);
  byId("bar-label").textContent = `${words}${clipped}`;
  byId("bar").setAttribute("aria-label", `Colours from ${short(low)} to ${short(high)}, ${words}`);
  options(byId("colours"), (kind === "diverging" ? DIVERGING : SEQUENTIAL).map((name) => [name, name]), look.colours[kind]);
  byId("colours").dataset.kind = kind;
}

function fillAll() {
  const { explanation, state, figures, partition } = view;
  const rows = [[TITLES[state.method], figures.method]];
  if (figures.other) rows.unshift([TITLES[state.other], figures.other]);
  fillFigures(rows, figures.method.mass);
  const spoken = fillPixel(view, state.pixel);
  if (view.spoken) byId("spoken").textContent = spoken; // or a mouse would make a screen reader talk endlessly
  view.spoken = false;
  byId("frame").setAttribute("aria-label", `${explanation.plain.title}: ${inWords()} over the photograph. ${spoken}`);
  byId("call").textContent = callText(explanation, state);
  const shown = [state.method, state.other];
  if (String(shown) !== String(view.judged)) fillVerdicts(explanation, shown);
  view.judged = shown;
  fillControls();
  const split = partition.parts?.reduce((count, parts) => count + (parts > 1), 0);
  const { threshold, mixing, depthReason } = explanation.plain;
  const why = threshold === null ? "no threshold is set, so all with finer parts are" : `max |H| above θ = ${short(threshold)}`;
  const alpha = mixing === "mean" ? ` All depths count equally: α = ${partition.depth + 1}/${partition.depth + 2}.` : "";
  byId("partition-note").textContent = partition.parts
    ? `${partition.count} segments, ${split} of them split: ${why}.${alpha}`
    : `${partition.count} segments, none split further.`;
  byId("shown-note").textContent = SHOWN[look.shown].note?.() ?? "";
  const patched = Object.entries(view.maps).filter(([, map]) => map && explanation.patched.has(map));
  const unsolved = patched.map(([side]) => `${TITLES[state[side]]}: no continuous factor was found at this ε, so each cell has one of its own; try a higher ε.`);
  byId("sharing-note").textContent = [explanation.plain.redistribution.reason ?? depthReason, ...unsolved].filter(Boolean).join(" ");
}

function fillControls() {
  const { explanation, state } = view;
  const moves = [state.method, state.other].some((name) => /^(iwmr|hybrid)/.test(name));
  const shares = [state.method, state.other].some((name) => REDISTRIBUTIONS.includes(name));
  const tied = state.importanceTemperature === null;
  const between = state.importanceTemperature ?? state.temperature;
  byId("tied").checked = tied;
  byId("tied").disabled = !moves;
  byId("temperature").disabled = !shares;
  byId("importance").disabled = !moves || tied;
  byId("depth").disabled = explanation.depths === 1 || Boolean(explanation.plain.depthReason);
  setSlider("temperature", Math.log10(state.temperature), short(state.temperature));
  setSlider("importance", Math.log10(between), moves ? short(between) : "IWMR and hybrid only");
  setSlider("depth", state.depth, `${state.depth} of ${explanation.depths}`);
  setSlider("opacity", look.opacity, `${look.opacity} %`);
  setSlider("split", look.split, `${Math.round(look.split)} %`);
  byId("by-magnitude").checked = look.byMagnitude;
  byId("in-colour").checked = look.inColour;
  const shown = Object.entries(SHOWN).filter(([, { available }]) => available());
  options(byId("shown"), shown.map(([key, { title }]) => [key, title]), look.shown);
}

function setSlider(id, value, words) {
  const slider = byId(id);
  slider.min = Math.min(slider.min, Math.floor(value * 100) / 100);
  slider.max = Math.max(slider.max, Math.ceil(value * 100) / 100);
  if (document.activeElement !== slider) slider.value = value;
  slider.setAttribute("aria-valuetext", words);
  byId(`${id}-value`).textContent = words;
}

function restart() {
  const { explanation } = view;
  view.judged = null;
  view.state = { ...explanation.defaults, pixel: view.state?.pixel ?? null };
  options(byId("method"), explanation.methods.map((name) => [name, TITLES[name]]), view.state.method);
  options(byId("other"), [["none", "nothing"], ...explanation.methods.map((name) => [name, TITLES[name]])], view.state.other);
  refresh();
}

function choose(explanation) {
  view.explanation = explanation;
  view.state = null;
  const own = explanation.partitions;
  own.forEach((part, key) => (part.key = key));
  view.partition = own.findLast((part) => part.number === 0) ?? wholePicture(explanation);
  const parts = own.map((part) => [part.key, `${part.tree}, depth ${part.depth + 1}: ${part.count} segments`]);
  options(byId("partition"), parts, view.partition.key);
  byId("depth").max = explanation.depths;
  byId("main").hidden = false;
  stage.take(explanation);
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
