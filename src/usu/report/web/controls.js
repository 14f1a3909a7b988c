// @ts-check
// What mouse, touch and keyboard do.

const NEAR = 18; // screen pixels from the split within which it can be dragged
const STEP = 1.5;

/** @template {keyof Elements} K @param {K} id @param {string} event @param {(target: Elements[K]) => void} change */
function listen(id, event, change) {
  const element = byId(id);
  element.addEventListener(event, () => {
    change(element);
    refresh();
  });
}

function listenToControls() {
  /** @param {HTMLInputElement} target */
  const temperature = (target) => Number((10 ** Number(target.value)).toPrecision(6));
  listen("method", "change", ({ value }) => (view.state.method = /** @type {Method} */ (value)));
  listen("other", "change", ({ value }) => (view.state.other = /** @type {Method} */ (value)));
  listen("beside", "change", ({ value }) => compareWith(Number(value)));
  listen("scaling", "change", ({ value }) => (look.scaling = value === "shared" ? "shared" : "own"));
  for (const radio of layoutRadios()) {
    radio.addEventListener("change", () => {
      look.layout = /** @type {Layout} */ (radio.value);
      refresh();
    });
  }
  listen("temperature", "input", (target) => (view.state.temperature = temperature(target)));
  listen("importance", "input", (target) => (view.state.importanceTemperature = temperature(target)));
  listen("tied", "change", ({ checked }) => {
    view.state.importanceTemperature = checked ? null : view.state.temperature;
  });
  listen("depth", "input", ({ value }) => (view.state.depth = Number(value)));
  listen("split", "input", ({ value }) => (look.split = Number(value)));
  listen("shown", "change", ({ value }) => (look.shown = /** @type {keyof typeof SHOWN} */ (value)));
  listen("opacity", "input", ({ value }) => (look.opacity = Number(value)));
  listen("by-magnitude", "change", ({ checked }) => (look.byMagnitude = checked));
  listen("in-colour", "change", ({ checked }) => (look.inColour = checked));
  listen("loupe", "change", ({ checked }) => (look.loupe = checked));
  listen("whole", "change", ({ checked }) => showWhole(checked));
  listen("colours", "change", ({ value, dataset }) => {
    look.colours[/** @type {keyof typeof look.colours} */ (dataset.kind)] = /** @type {keyof typeof COLOURS} */ (value);
  });
  listen("partition", "change", ({ value }) => (view.partition = view.explanation.partitions[Number(value)]));
  for (const name of LINES) {
    listen(`lines-${name}`, "change", ({ checked }) => (look.lines[name] = checked));
  }
  listen("zoom-in", "click", () => zoomBy(STEP));
  listen("zoom-out", "click", () => zoomBy(1 / STEP));
  listen("zoom-reset", "click", () => stage.whole());
  listen("pixel-panel", "toggle", () => {});
  const plain = { reset: restart, copy: copyCall, "copy-link": copyLink, "save-png": savePng, "save-svg": saveSvg, "save-csv": saveCsv };
  for (const [id, action] of Object.entries(plain)) byId(/** @type {keyof typeof plain} */ (id)).addEventListener("click", action);
  new ResizeObserver(() => {
    stage.fitted = false;
    refresh();
  }).observe(/** @type {HTMLElement} */ (byId("frame").parentElement));
  window.addEventListener("beforeprint", () => {
    for (const id of /** @type {const} */ (["figures-panel", "facts-panel", "verdicts-panel"])) byId(id).open = true;
  });
}

/** @param {number} factor */
const zoomBy = (factor) => stage.zoomBy(factor, placeOf(view.state.pixel));

// Without access to the clipboard, as in a notebook's frame, the text is selected for the reader to copy.
async function copyCall() {
  const text = byId("call");
  try {
    await navigator.clipboard.writeText(text.textContent);
    byId("copied").textContent = "copied";
  } catch {
    getSelection()?.selectAllChildren(text);
    byId("copied").textContent = "selected: press Ctrl+C";
  }
}

async function copyLink() {
  const link = `${location.href.split("#")[0]}#${fragment()}`;
  try {
    await navigator.clipboard.writeText(link);
    byId("copied").textContent = "link copied";
  } catch {
    byId("copied").textContent = link;
  }
}

function listenToPicture() {
  const frame = byId("frame");
  /** @type {Held | null} */
  let held = null;
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    const kind = nearSplit(event) ? "split" : stage.zoom > 1 ? "pan" : "point";
    held = { kind, x: event.clientX, y: event.clientY };
    frame.setPointerCapture(event.pointerId);
    if (kind !== "split") point(event);
  });
  frame.addEventListener("pointermove", (event) => {
    frame.classList.toggle("holds-split", held?.kind === "split" || (!held && nearSplit(event)));
    if (held?.kind === "split") splitAt(event);
    else if (held?.kind === "pan") pan(held, event);
    else if (held || event.pointerType === "mouse") point(event);
  });
  const release = () => (held = null);
  frame.addEventListener("pointerup", release);
  frame.addEventListener("pointercancel", release);
  frame.addEventListener("pointerleave", () => {
    view.pointed = false;
    refresh();
  });
  frame.addEventListener("wheel", zoomWheel, { passive: false });
  frame.addEventListener("keydown", pressed);
}

/** @param {PointerEvent} event */
function nearSplit(event) {
  const box = byId("canvas").getBoundingClientRect();
  return stage.layout === "split" && Math.abs(event.clientX - box.left - (look.split / 100) * box.width) < NEAR;
}

/** @param {PointerEvent} event */
function splitAt(event) {
  const box = byId("canvas").getBoundingClientRect();
  look.split = Math.min(Math.max((100 * (event.clientX - box.left)) / box.width, 0), 100);
  refresh();
}

/** @param {Held} held @param {PointerEvent} event */
function pan(held, event) {
  const place = stage.placeAt(event);
  if (!place) return;
  const [wide, high] = [place.width * stage.zoom, place.height * stage.zoom];
  stage.moveTo(stage.left - (event.clientX - held.x) / wide, stage.top - (event.clientY - held.y) / high);
  [held.x, held.y] = [event.clientX, event.clientY];
  refresh();
}

/** @param {PointerEvent} event */
function point(event) {
  const place = stage.placeAt(event);
  if (!place) return;
  const [height, width] = view.explanation.size;
  const { x, y } = stage.inward(place);
  if (x < 0 || y < 0 || x >= 1 || y >= 1) return;
  const pixel = Math.floor(y * height) * width + Math.floor(x * width);
  if (pixel === view.state.pixel && view.pointed) return;
  view.state.pixel = pixel;
  view.pointed = true;
  refresh();
}

// The plain wheel scrolls the page; with Ctrl, and by pinching, it zooms.
/** @param {WheelEvent} event */
function zoomWheel(event) {
  if (!event.ctrlKey) return;
  event.preventDefault();
  stage.zoomBy(Math.exp(-event.deltaY / 200), stage.placeAt(event) ?? placeOf(view.state.pixel));
  refresh();
}

/** @type {Record<string, number[]>} */
const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
/** @type {Record<string, () => void>} */
const KEYS = {
  "[": () => (look.split = Math.max(look.split - 2, 0)),
  "]": () => (look.split = Math.min(look.split + 2, 100)),
  "+": () => zoomBy(STEP),
  "=": () => zoomBy(STEP),
  "-": () => zoomBy(1 / STEP),
  0: () => stage.whole(),
  l: () => (look.loupe = !look.loupe),
};

/** @param {KeyboardEvent} event */
function pressed(event) {
  const asCharacter = event.getModifierState("AltGraph"); // which sets Ctrl and Alt where [ and ] need it
  if (event.metaKey || (!asCharacter && (event.ctrlKey || event.altKey))) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (ARROWS[key]) step(ARROWS[key], event.shiftKey ? 10 : 1);
  else if (KEYS[key]) KEYS[key]();
  else return;
  event.preventDefault();
  refresh();
}

/** @param {number[]} way @param {number} length */
function step([down, right], length) {
  const [height, width] = view.explanation.size;
  const row = Math.floor(view.state.pixel / width) + down * length;
  const column = (view.state.pixel % width) + right * length;
  /** @param {number} value @param {number} count */
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  view.state.pixel = within(row, height) * width + within(column, width);
  stage.reveal(placeOf(view.state.pixel));
  view.spoken = view.pointed = true;
}
