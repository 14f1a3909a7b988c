// @ts-check
// What the reader takes away: the picture as PNG or SVG, its numbers as CSV.

const LINE = 22; // height of a line of text, of 16 in a picture of 1000
const BEHIND = "#5b5b5b"; // a colour bar: the grey of the photograph

/** @param {Blob | null} blob @param {string} ending */
function saved(blob, ending) {
  if (!blob) return; // a picture larger than the browser can make
  const { plain } = view.explanation;
  const name = `${plain.name || plain.title}`.replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "") || "map";
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = `usu-${name.slice(0, 60)}.${ending}`;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function chosenWidth() {
  const field = byId("width");
  const width = Math.round(Number(field.value)) || byId("canvas").width;
  field.value = String(Math.min(Math.max(width, Number(field.min)), Number(field.max)));
  return Number(field.value);
}

function savePng() {
  stage.exported(chosenWidth(), scene()).toBlob((blob) => saved(blob, "png"), "image/png");
}

function saveSvg() {
  const text = new XMLSerializer().serializeToString(drawing(chosenWidth()));
  saved(new Blob([text], { type: "image/svg+xml" }), "svg");
}

// The picture as an image; names, colour bars and caption as vectors and text.
/** @param {number} width */
function drawing(width) {
  const canvas = stage.exported(width, scene());
  const unit = width / 1000;
  const bars = shownBars();
  const height = canvas.height + unit * LINE * (2.6 * bars.length + 1.8);
  const root = svgElement("svg", { viewBox: `0 0 ${width} ${height}`, width, height, "font-family": "sans-serif", "font-size": 16 * unit });
  root.append(svgElement("image", { width, height: canvas.height, href: canvas.toDataURL("image/png") }));
  for (const { side, x, y } of stage.places()) {
    if (stage.layout === "one") continue;
    const words = stage.layout === "split" ? `${nameOf(0)} | ${nameOf(1)}` : nameOf(side);
    const place = { x: x * width + 8 * unit, y: y * width + LINE * unit };
    root.append(svgElement("text", { ...place, fill: "#fff", stroke: "#000", "stroke-width": 3 * unit, "paint-order": "stroke" }, words));
  }
  bars.forEach((bar, number) => {
    const top = canvas.height + unit * LINE * (2.6 * number + 0.4);
    const gradient = svgElement("linearGradient", { id: `colours-${number}` });
    for (let step = 0; step < 256; step += 15) {
      const colour = [0, 1, 2].map((channel) => bar.table[3 * step + channel]);
      gradient.append(svgElement("stop", { offset: step / 255, "stop-color": `rgb(${colour.join(",")})`, "stop-opacity": strength(bar, step / 255) }));
    }
    /** @param {number} x @param {string} anchor @param {string} words */
    const label = (x, anchor, words) => svgElement("text", { x, y: top + 1.9 * LINE * unit, "text-anchor": anchor }, words);
    root.append(
      gradient,
      svgElement("rect", { y: top, width, height: 0.8 * LINE * unit, fill: BEHIND }),
      svgElement("rect", { y: top, width, height: 0.8 * LINE * unit, fill: `url(#colours-${number})` }),
      label(0, "start", `${bar.ends[0]} ${short(bar.limits.low)}`.trim()),
      label(width / 2, "middle", bar.words),
      label(width, "end", `${bar.ends[1]} ${short(bar.limits.high)}`.trim()),
    );
  });
  root.append(svgElement("text", { y: height - 0.5 * LINE * unit, "font-size": 14 * unit }, captionOf(view)));
  return root;
}

// How opaque a colour is, at a place along its bar.
/** @param {Bar} bar @param {number} place */
function strength({ limits: { low, high }, opacity }, place) {
  return typeof opacity === "number" ? opacity : (opacity.most * Math.abs(low + place * (high - low))) / high;
}

/** @template {keyof SVGElementTagNameMap} K @param {K} tag @param {Record<string, string | number>} attributes @param {string} [text] @returns {SVGElementTagNameMap[K]} */
function svgElement(tag, attributes, text = "") {
  const made = /** @type {SVGElementTagNameMap[K]} */ (document.createElementNS(byId("vector").namespaceURI, tag));
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  if (text) made.append(text);
  return made;
}

function saveCsv() {
  const { explanation, state, maps } = view;
  const scores = explanation.scores(state.depth);
  /** @type {[string, Float64Array][]} */
  const columns = [["score", scores], [titleOf(explanation, state.method), maps.method]];
  if (maps.other?.length === maps.method.length) columns.push([`compared: ${nameOf(0)}`, maps.other]);
  /** @param {string} text */
  const quoted = (text) => `"${text.replaceAll('"', '""')}"`;
  const lines = [["row", "column", ...columns.map(([name]) => quoted(name))].join(",")];
  const width = explanation.size[1];
  for (let pixel = 0; pixel < explanation.pixels; pixel++) {
    lines.push([Math.floor(pixel / width), pixel % width, ...columns.map(([, values]) => values[pixel])].join(","));
  }
  saved(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }), "csv");
}
