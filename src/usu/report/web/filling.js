// Words, figures and the controls' own state, after each change.

function fillAll() {
  const { explanation, state, figures, partition } = view;
  const rows = [[nameOf(1), figures.method]];
  if (figures.other) rows.unshift([nameOf(0), figures.other]);
  fillFigures(rows, figures.method.mass);
  byId("sentence").textContent = sentenceOf(explanation, halfOf(view, explanation, view.maps.method));
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

function partitionWords({ plain: { threshold, mixing } }, partition) {
  if (!partition.parts) return `${partition.count} segments, none split further.`;
  const split = partition.parts.reduce((count, parts) => count + (parts > 1), 0);
  const why = threshold === null ? "no threshold is set, so all with finer parts are" : `max |H| above θ = ${short(threshold)}`;
  const alpha = mixing === "mean" ? ` All depths count equally: α = ${partition.depth + 1}/${partition.depth + 2}.` : "";
  return `${partition.count} segments, ${split} of them split: ${why}.${alpha}`;
}

function sharingWords() {
  const { explanation, beside, maps } = view;
  const { redistribution, depthReason } = explanation.plain;
  const patched = [beside, explanation].map((one, number) => {
    const map = number ? maps.method : maps.other;
    return map && one.patched.has(map)
      ? `${nameOf(number)}: no continuous factor was found at this ε, so each cell has one of its own; try a higher ε.`
      : "";
  });
  return [redistribution.reason ?? depthReason, ...patched].filter(Boolean).join(" ");
}

function fillTags() {
  for (const [id, number] of [["tag-other", 0], ["tag-method", 1]]) {
    const tag = byId(id);
    tag.hidden = !compares();
    tag.textContent = tag.hidden ? "" : nameOf(number);
    const place = stage.places().find(({ side }) => side === number) ?? { x: 0, y: 0 };
    const half = stage.layout === "split";
    tag.classList.toggle("half", half);
    tag.classList.toggle("right", half && number === 1);
    tag.style.setProperty("--x", place.x);
    tag.style.setProperty("--y", place.y * stage.proportion);
  }
}

function fillBars() {
  const bars = shownBars();
  byId("scale-other").hidden = bars.length === 1;
  const [last, first] = [bars.at(-1), bars.at(-2)];
  if (first) fillBar(byId("scale-other"), first);
  fillBar(byId("scale-method"), last);
  const { kind } = last;
  options(byId("colours"), (kind === "diverging" ? DIVERGING : SEQUENTIAL).map((name) => [name, name]), look.colours[kind]);
  byId("colours").dataset.kind = kind;
}

function fillBar(figure, { limits: { low, high }, table, words }) {
  const bar = figure.querySelector("canvas");
  const context = bar.getContext("2d");
  const image = context.createImageData(256, 1);
  for (let step = 0; step < 256; step++) {
    image.data.set([table[3 * step], table[3 * step + 1], table[3 * step + 2], 255], 4 * step);
  }
  context.putImageData(image, 0, 0);
  figure.querySelector(".low").textContent = short(low);
  figure.querySelector(".high").textContent = short(high);
  figure.querySelector(".words").textContent = words;
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
  byId("depth-row").hidden = explanation.depths === 1;
  byId("depth").disabled = explanation.depths === 1 || Boolean(explanation.plain.depthReason);
  setSlider("temperature", Math.log10(state.temperature), short(state.temperature));
  setSlider("importance", Math.log10(state.importanceTemperature ?? state.temperature), short(state.importanceTemperature ?? state.temperature));
  setSlider("depth", state.depth, `${state.depth} of ${explanation.depths}`);
  setSlider("opacity", look.opacity, `${look.opacity} %`);
  setSlider("split", look.split, `${Math.round(look.split)} %`);
  byId("split-row").hidden = stage.layout !== "split";
  byId("split").disabled = stage.layout !== "split";
  byId("compared").hidden = !view.maps.other;
  for (const [id, value] of [["method", state.method], ["other", state.other], ["scaling", look.scaling], ["beside", view.besideIndex]]) {
    byId(id).value = value;
  }
  byId("beside-row").hidden = view.all.length === 1;
  const layout = look.layout === "one" ? "one" : arrangement();
  for (const radio of document.getElementsByName("layout")) radio.checked = radio.value === layout;
  byId("whole-row").hidden = !explanation.whole;
  for (const [id, value] of [["by-magnitude", look.byMagnitude], ["in-colour", look.inColour], ["loupe", look.loupe], ["whole", look.whole]]) {
    byId(id).checked = value;
  }
  for (const name of Object.keys(look.lines)) byId(`lines-${name}`).checked = look.lines[name];
  const shown = Object.entries(SHOWN).filter(([, { available }]) => available());
  options(byId("shown"), shown.map(([key, { title }]) => [key, title]), look.shown);
  if (!byId("width").value) byId("width").value = Math.max(byId("canvas").width, 1200);
}

function setSlider(id, value, words) {
  const slider = byId(id);
  slider.min = Math.min(slider.min, Math.floor(value * 100) / 100);
  slider.max = Math.max(slider.max, Math.ceil(value * 100) / 100);
  if (document.activeElement !== slider) slider.value = value;
  slider.setAttribute("aria-valuetext", words);
  byId(`${id}-value`).textContent = words;
}
