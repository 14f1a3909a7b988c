// @ts-check
// The view in the page's address, after #: what is shown and how, so that a link opens the same picture.

const PLACES = 1e5; // to which zoom and cursor are rounded
/** @param {number} value */
const rounded = (value) => Math.round(value * PLACES) / PLACES;

function fragment() {
  const { state } = view;
  const lines = LINES.filter((name) => look.lines[name]);
  const all = {
    explanation: view.index, map: state.method, epsilon: state.temperature, between: state.importanceTemperature ?? "",
    depth: state.depth, layout: look.layout, with: state.other, of: view.besideIndex, scale: look.scaling,
    split: rounded(look.split), show: look.shown, sequential: look.colours.sequential, diverging: look.colours.diverging,
    opacity: look.opacity, magnitude: Number(look.byMagnitude), colour: Number(look.inColour), lines: lines.join(" "),
    zoom: rounded(stage.zoom), left: rounded(stage.left), top: rounded(stage.top), pixel: state.pixel, loupe: Number(look.loupe), whole: Number(look.whole),
  };
  return new URLSearchParams(Object.entries(all).map(([name, value]) => [name, String(value)])).toString();
}

let writing = 0;

// Not at once: browsers refuse an address that changes with every frame.
function writeAddress() {
  clearTimeout(writing);
  writing = setTimeout(() => {
    if (location.protocol === "about:") return; // a notebook's frame has no address of its own
    try {
      history.replaceState(null, "", `#${fragment()}`);
    } catch {
      writing = 0;
    }
  }, 400);
}

// Take from an address what it says and this page knows; anything may stand there.
/** @param {Explanation[]} explanations */
function readAddress(explanations) {
  const asked = new URLSearchParams(location.hash.slice(1));
  /** @template {string} T @param {string} name @param {readonly T[]} allowed @param {(value: T) => void} take */
  const one = (name, allowed, take) => {
    const value = allowed.find((known) => known === asked.get(name));
    if (value !== undefined) take(value);
  };
  /** @param {string} name @param {number} low @param {number} high @param {(value: number) => void} take */
  const number = (name, low, high, take) => {
    const value = Number(asked.get(name) || NaN);
    if (value >= low && value <= high) take(value);
  };
  /** @param {string} name @param {(value: number) => void} take */
  const index = (name, take) => number(name, 0, explanations.length - 1, (value) => take(Math.floor(value)));
  if (!asked.size) return;
  index("explanation", (value) => select(value));
  index("of", (value) => compareWith(value));
  const { state, explanation } = view;
  one("map", explanation.methods, (value) => (state.method = value));
  one("with", view.beside.methods, (value) => (state.other = value));
  number("epsilon", 1e-12, 1e12, (value) => (state.temperature = value));
  number("between", 1e-12, 1e12, (value) => (state.importanceTemperature = value));
  number("depth", 1, explanation.depths, (value) => (state.depth = Math.floor(value)));
  number("pixel", 0, explanation.pixels - 1, (value) => (state.pixel = Math.floor(value)));
  one("layout", LAYOUTS, (value) => (look.layout = value));
  one("scale", /** @type {const} */ (["own", "shared"]), (value) => (look.scaling = value));
  number("split", 0, 100, (value) => (look.split = value));
  number("opacity", 0, 100, (value) => (look.opacity = value));
  one("show", /** @type {(keyof typeof SHOWN)[]} */ (Object.keys(SHOWN)), (value) => (look.shown = value));
  one("sequential", SEQUENTIAL, (value) => (look.colours.sequential = value));
  one("diverging", DIVERGING, (value) => (look.colours.diverging = value));
  for (const [name, key] of /** @type {const} */ ([["magnitude", "byMagnitude"], ["colour", "inColour"], ["loupe", "loupe"]])) {
    one(name, ["0", "1"], (value) => (look[key] = value === "1"));
  }
  const lines = asked.get("lines")?.split(" ");
  if (lines) {
    for (const name of LINES) look.lines[name] = lines.includes(name);
  }
  one("whole", ["0", "1"], (value) => showWhole(value === "1"));
  number("zoom", 1, MOST_ZOOM, (value) => (stage.zoom = value));
  stage.moveTo(Number(asked.get("left")) || 0, Number(asked.get("top")) || 0);
  refresh();
}
