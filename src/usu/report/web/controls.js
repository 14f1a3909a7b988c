// What mouse, touch and keyboard do.

const NEAR = 18; // screen pixels from the split within which it can be dragged
const STEP = 1.5;

function listen(id, event, change) {
  byId(id).addEventListener(event, (occasion) => {
    change(occasion.target);
    refresh();
  });
}

function listenToControls() {
  const temperature = (target) => Number((10 ** Number(target.value)).toPrecision(6));
  listen("method", "change", ({ value }) => (view.state.method = value));
  listen("other", "change", ({ value }) => (view.state.other = value));
  listen("temperature", "input", (target) => (view.state.temperature = temperature(target)));
  listen("importance", "input", (target) => (view.state.importanceTemperature = temperature(target)));
  listen("tied", "change", ({ checked }) => {
    view.state.importanceTemperature = checked ? null : view.state.temperature;
  });
  listen("depth", "input", ({ value }) => (view.state.depth = Number(value)));
  listen("split", "input", ({ value }) => (look.split = Number(value)));
  listen("shown", "change", ({ value }) => (look.shown = value));
  listen("opacity", "input", ({ value }) => (look.opacity = Number(value)));
  listen("by-magnitude", "change", ({ checked }) => (look.byMagnitude = checked));
  listen("in-colour", "change", ({ checked }) => (look.inColour = checked));
  listen("colours", "change", ({ value, dataset }) => (look.colours[dataset.kind] = value));
  listen("partition", "change", ({ value }) => (view.partition = view.explanation.partitions[Number(value)]));
  for (const name of ["cells", "segments", "split"]) {
    listen(`lines-${name}`, "change", ({ checked }) => (look.lines[name] = checked));
  }
  listen("zoom-in", "click", () => stage.zoomBy(STEP, view.state.pixel));
  listen("zoom-out", "click", () => stage.zoomBy(1 / STEP, view.state.pixel));
  listen("zoom-reset", "click", () => stage.whole());
  byId("reset").addEventListener("click", restart);
  byId("copy").addEventListener("click", copyCall);
  new ResizeObserver(() => {
    stage.fitted = false;
    refresh();
  }).observe(byId("frame"));
}

// Without access to the clipboard, as in a notebook's frame, the text is selected for the reader to copy.
async function copyCall() {
  const text = byId("call");
  try {
    await navigator.clipboard.writeText(text.textContent);
    byId("copied").textContent = "copied";
  } catch {
    getSelection().selectAllChildren(text);
    byId("copied").textContent = "selected: press Ctrl+C";
  }
}

function listenToPicture() {
  const frame = byId("frame");
  let held = null;
  frame.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    if (nearSplit(event)) held = { kind: "split" };
    else if (stage.zoom > 1) held = { kind: "pan", x: event.clientX, y: event.clientY };
    else held = { kind: "point" };
    frame.setPointerCapture(event.pointerId);
    if (held.kind !== "split") point(event);
  });
  frame.addEventListener("pointermove", (event) => {
    frame.classList.toggle("holds-split", held?.kind === "split" || (!held && nearSplit(event)));
    if (held?.kind === "split") splitAt(event);
    else if (held?.kind === "pan") pan(held, event);
    else if (held || event.pointerType === "mouse") point(event);
  });
  for (const end of ["pointerup", "pointercancel"]) frame.addEventListener(end, () => (held = null));
  frame.addEventListener("wheel", zoomWheel, { passive: false });
  frame.addEventListener("keydown", pressed);
}

function nearSplit(event) {
  const box = byId("canvas").getBoundingClientRect();
  const isSplit = look.shown === "map" && view.maps.other;
  return isSplit && Math.abs(event.clientX - box.left - (look.split / 100) * box.width) < NEAR;
}

function splitAt(event) {
  const box = byId("canvas").getBoundingClientRect();
  look.split = Math.min(Math.max((100 * (event.clientX - box.left)) / box.width, 0), 100);
  refresh();
}

function pan(held, event) {
  const unit = byId("canvas").getBoundingClientRect().width / view.explanation.size[1] * stage.zoom;
  stage.moveTo(stage.left - (event.clientX - held.x) / unit, stage.top - (event.clientY - held.y) / unit);
  [held.x, held.y] = [event.clientX, event.clientY];
  refresh();
}

function point(event) {
  const pixel = stage.pixelAt(event);
  if (pixel === null || pixel === view.state.pixel) return;
  view.state.pixel = pixel;
  refresh();
}

// The plain wheel scrolls the page; with Ctrl, and by pinching, it zooms.
function zoomWheel(event) {
  if (!event.ctrlKey) return;
  event.preventDefault();
  stage.zoomBy(Math.exp(-event.deltaY / 200), stage.pixelAt(event));
  refresh();
}

const ARROWS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
const KEYS = {
  "[": () => (look.split = Math.max(look.split - 2, 0)),
  "]": () => (look.split = Math.min(look.split + 2, 100)),
  "+": () => stage.zoomBy(STEP, view.state.pixel),
  "=": () => stage.zoomBy(STEP, view.state.pixel),
  "-": () => stage.zoomBy(1 / STEP, view.state.pixel),
  0: () => stage.whole(),
};

function pressed(event) {
  const asCharacter = event.getModifierState("AltGraph"); // which sets Ctrl and Alt where [ and ] need it
  if (event.metaKey || (!asCharacter && (event.ctrlKey || event.altKey))) return;
  if (ARROWS[event.key]) step(ARROWS[event.key], event.shiftKey ? 10 : 1);
  else if (KEYS[event.key]) KEYS[event.key]();
  else return;
  event.preventDefault();
  refresh();
}

function step([down, right], length) {
  const [height, width] = view.explanation.size;
  const row = Math.floor(view.state.pixel / width) + down * length;
  const column = (view.state.pixel % width) + right * length;
  const within = (value, count) => Math.min(Math.max(value, 0), count - 1);
  view.state.pixel = within(row, height) * width + within(column, width);
  stage.reveal(view.state.pixel);
  view.spoken = true;
}
