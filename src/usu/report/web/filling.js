// @ts-check
// Words, figures and the controls' own state, after each change.

function fillAll() {
  const { explanation, state, figures, partition } = view;
  /** @type {[string, Figures][]} */
  const rows = [[nameOf(1), figures.method]];
  if (figures.other) rows.unshift([nameOf(0), figures.other]);
  fillFigures(rows, figures.method.mass);
  byId("sentence").textContent = sentenceOf(explanation, halfOf(explanation, view.maps.method), lineWords());
  byId("caution").textContent = cautionOf(explanation, state.method);
  fillBars();
  fillTags();
  const spoken = fillPixel(view, state.pixel);
  if (view.spoken) byId("spoken").textContent = spoken; // or a mouse would make a screen reader talk endlessly
  view.spoken = false;
  byId("frame").setAttribute("aria-label", `${explanation.plain.title}: ${inWords()} over the photograph. ${spoken}`);
  byId("call").textContent = callText(explanation, state);
  const shown = figures.other ? [state.method, state.other] : [state.method];
  if (String(shown) !== String(view.judged)) fillVerdicts(explanation, shown);
  view.judged = shown;
  fillControls();
  byId("partition-note").textContent = partitionWords(explanation, partition);
  byId("shown-note").textContent = SHOWN[look.shown].note?.() ?? "";
  byId("sharing-note").textContent = sharingWords();
}

// Where the half of the first sentence lies, and in which map if there are two.
function lineWords() {
  const drawn = look.lines.half && look.shown === "map";
  const map = compares() ? ` of the ${nameOf(1)} map` : "";
  return `${drawn ? "inside the blue line" : "in the brightest places"}${map}`;
}

/** @param {Explanation} explanation @param {Part} partition */
function partitionWords({ plain: { threshold, mixing } }, partition) {
  if (!partition.parts) return `${partition.count} segments, none split further.`;
  const split = partition.parts.filter((count) => count > 1).length;
  const why = threshold === null ? "no threshold is set, so all with finer parts are" : `max |H| above θ = ${short(threshold)}`;
  const alpha = mixing === "mean" ? ` All depths count equally: α = ${partition.depth + 1}/${partition.depth + 2}.` : "";
  return `${partition.count} segments, ${split} of them split: ${why}.${alpha}`;
}

function sharingWords() {
  const { explanation, beside, maps } = view;
  const { reason } = explanation.plain.redistribution;
  const patched = [beside, explanation].map((one, number) => {
    const map = number ? maps.method : maps.other;
    return map && one.patched.has(map)
      ? `${nameOf(sideOf(number))}: no continuous factor was found at this ε, so each cell has one of its own; try a higher ε.`
      : "";
  });
  return [reason, ...patched].filter(Boolean).join(" ");
}

function fillTags() {
  for (const [id, number] of /** @type {const} */ ([["tag-other", 0], ["tag-method", 1]])) {
    const tag = byId(id);
    tag.hidden = !compares();
    tag.textContent = tag.hidden ? "" : nameOf(number);
    tag.dataset.scale = look.scaling === "own" ? "colour scale of its own" : "one colour scale for both";
    const place = stage.places().find(({ side }) => side === number) ?? { x: 0, y: 0 };
    const half = stage.layout === "split";
    tag.classList.toggle("half", half);
    tag.classList.toggle("right", half && number === 1);
    tag.style.setProperty("--x", String(place.x));
    tag.style.setProperty("--y", String(place.y * stage.proportion));
  }
}

function fillBars() {
  const bars = shownBars();
  byId("scale-other").hidden = bars.length === 1;
  const last = bars[bars.length - 1];
  if (bars.length > 1) fillBar(byId("scale-other"), bars[0]);
  fillBar(byId("scale-method"), last);
  const { kind } = last;
  options(byId("colours"), (kind === "diverging" ? DIVERGING : SEQUENTIAL).map((name) => [name, name]), look.colours[kind]);
  byId("colours").dataset.kind = kind;
}

/** @param {HTMLElement} figure @param {Bar} bar */
function fillBar(figure, { limits, table, ends: [little, much], opacity, words }) {
  const [bar] = figure.getElementsByTagName("canvas");
  const context = contextOf(bar);
  const image = context.createImageData(256, 1);
  const { low, high } = limits;
  const steps = Float64Array.from({ length: 256 }, (_, step) => low + (step / 255) * (high - low));
  paint(steps, limits, table, opacity, image); // as over the photograph, whose grey is behind the bar
  context.putImageData(image, 0, 0);
  for (const [part, text] of Object.entries({ little, much, low: short(low), high: short(high), words })) {
    figure.getElementsByClassName(part)[0].textContent = text;
  }
  bar.setAttribute("aria-label", `Colours from ${short(low)} to ${short(high)}, ${words}`);
}

function fillControls() {
  const { explanation, state } = view;
  const used = view.maps.other ? [state.method, state.other] : [state.method];
  const moves = used.some((name) => /^(iwmr|hybrid)/.test(name));
  const shares = used.some((name) => REDISTRIBUTIONS.includes(name));
  const tied = state.importanceTemperature === null;
  byId("between").hidden = !moves;
  byId("tied").checked = tied;
  byId("temperature").disabled = !shares;
  byId("importance").disabled = tied;
  const { depthReason } = explanation.plain; // why the page cannot leave depths out
  byId("depth-row").hidden = byId("depth").disabled = explanation.depths === 1 || depthReason !== null;
  byId("depth-note").textContent = depthReason ?? "";
  setSlider("temperature", Math.log10(state.temperature), short(state.temperature));
  setSlider("importance", Math.log10(state.importanceTemperature ?? state.temperature), short(state.importanceTemperature ?? state.temperature));
  setSlider("depth", state.depth, `${state.depth} of ${explanation.depths}`);
  setSlider("opacity", look.opacity, `${look.opacity} %`);
  setSlider("split", look.split, `${Math.round(look.split)} %`);
  byId("split-row").hidden = stage.layout !== "split";
  byId("split").disabled = stage.layout !== "split";
  byId("compared").hidden = !view.maps.other;
  const chosen = { method: state.method, other: state.other, scaling: look.scaling, beside: view.besideIndex };
  for (const [id, value] of Object.entries(chosen)) byId(/** @type {keyof typeof chosen} */ (id)).value = String(value);
  byId("beside-row").hidden = view.all.length === 1;
  const layout = look.layout === "one" ? "one" : arrangement();
  for (const radio of layoutRadios()) radio.checked = radio.value === layout;
  byId("whole-row").hidden = !explanation.whole;
  const checked = { "by-magnitude": look.byMagnitude, "in-colour": look.inColour, loupe: look.loupe, whole: look.whole };
  for (const [id, value] of Object.entries(checked)) byId(/** @type {keyof typeof checked} */ (id)).checked = value;
  for (const name of LINES) byId(`lines-${name}`).checked = look.lines[name];
  const shown = Object.entries(SHOWN).filter(([, { available }]) => available());
  options(byId("shown"), shown.map(([key, { title }]) => [key, title]), look.shown);
  if (!byId("width").value) byId("width").value = String(Math.max(byId("canvas").width, 1200));
}

/** @param {Slider} id @param {number} value @param {string} words */
function setSlider(id, value, words) {
  const slider = byId(id);
  slider.min = String(Math.min(Number(slider.min), Math.floor(value * 100) / 100));
  slider.max = String(Math.max(Number(slider.max), Math.ceil(value * 100) / 100));
  if (document.activeElement !== slider) slider.value = String(value);
  slider.setAttribute("aria-valuetext", words);
  byId(`${id}-value`).textContent = words;
}
