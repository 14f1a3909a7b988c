// @ts-check
// Several explanations: cards that can be searched and sorted by any figure.

const THUMBNAIL = 120;
/** @type {Record<string, Figure>} */
const FIGURES = {
  name: { title: "name", of: ({ plain }) => plain.name },
  target: { title: "target", of: ({ plain }) => plain.title },
  probability: { title: "probability", of: ({ plain }) => plain.probability, words: percent },
  passes: { title: "passes", of: ({ plain }) => plain.forwardPasses },
  cells: { title: "number of cells", of: ({ cells }) => cells.count },
  mass: { title: "total mass", of: (one) => sum(one.masses) },
  error: { title: "D1 error, relative", of: (one) => one.figures(one.map(one.defaults.method, one.defaults)).relative },
  baseline: {
    title: "D1 error of the baseline, relative",
    of: (one) => one.figures(one.map(one.defaults.other, one.defaults)).relative,
  },
};

class Gallery {
  chosen = 0;
  /** @type {Card[]} */ listed = [];

  /** @param {Explanation[]} explanations @param {(index: number) => void} choose */
  constructor(explanations, choose) {
    this.cards = explanations.map((explanation, index) => this.card(explanation, index, () => choose(index)));
    options(byId("sort"), Object.entries(FIGURES).map(([key, { title }]) => /** @type {const} */ ([key, title])), "name");
    byId("search").addEventListener("input", () => this.list());
    byId("sort").addEventListener("change", () => this.list());
    byId("spread").addEventListener("change", () => byId("cards").classList.toggle("spread", byId("spread").checked));
    byId("cards").addEventListener("keydown", (event) => this.walk(event));
    document.addEventListener("keydown", (event) => this.pressed(event, choose));
    byId("gallery").hidden = false;
    this.list();
  }

  /** @param {Explanation} explanation @param {number} index @param {() => void} choose @returns {Card} */
  card(explanation, index, choose) {
    const [item, button, label] = [element("li"), element("button"), element("span", "", "figure")];
    button.type = "button";
    button.append(
      thumbnail(explanation),
      element("strong", explanation.plain.title),
      element("span", explanation.plain.name),
      label,
      element("span", explanation.plain.source, "badge"),
    );
    button.addEventListener("click", choose);
    item.append(button);
    const figures = Object.entries(FIGURES).map(([key, { of }]) => [key, of(explanation)]);
    return { explanation, index, item, button, label, figures: Object.fromEntries(figures) };
  }

  list() {
    const words = byId("search").value.toLocaleLowerCase().split(/\s+/).filter(Boolean);
    const key = byId("sort").value;
    const { title, words: format = short } = FIGURES[key];
    const found = this.cards.filter(({ explanation: { plain } }) => {
      const text = [plain.name, plain.title, plain.target, plain.model, plain.source].join(" ").toLocaleLowerCase();
      return words.every((word) => text.includes(word));
    });
    found.sort((a, b) => ordered(a.figures[key], b.figures[key]));
    for (const { label, figures } of found) {
      const value = figures[key];
      label.textContent = typeof value === "number" ? `${title} ${format(value)}` : "";
    }
    this.listed = found;
    byId("cards").replaceChildren(...found.map(({ item }) => item));
    byId("found").textContent = `${found.length} of ${this.cards.length}`;
  }

  /** @param {number} chosen */
  mark(chosen) {
    this.chosen = chosen;
    for (const { item, button, index } of this.cards) {
      button.setAttribute("aria-current", String(index === chosen));
      if (index === chosen) byId("cards").scrollLeft = item.offsetLeft - byId("cards").clientWidth / 2;
    }
  }

  // Arrow keys walk along the cards.
  /** @param {KeyboardEvent} event */
  walk(event) {
    const way = wayOf(event.key, "ArrowRight", "ArrowLeft");
    if (!way) return;
    const place = this.listed.findIndex(({ button }) => button === document.activeElement);
    this.listed[place + way]?.button.focus();
    event.preventDefault();
  }

  // N and P show the next and the previous of the cards listed, wherever one does not type.
  /** @param {KeyboardEvent} event @param {(index: number) => void} choose */
  pressed(event, choose) {
    const way = wayOf(event.key.toLowerCase(), "n", "p");
    const typing = document.activeElement?.matches("select, input:not([type=range], [type=checkbox], [type=radio])");
    if (!way || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const place = this.listed.findIndex(({ index }) => index === this.chosen);
    const next = this.listed[place < 0 ? 0 : place + way];
    if (next) choose(next.index);
  }
}

/** @param {string} key @param {string} next @param {string} previous */
function wayOf(key, next, previous) {
  return Number(key === next) - Number(key === previous);
}

// Words from a to z, numbers from large to small, cards without a value last.
/** @param {number | string | null} a @param {number | string | null} b */
function ordered(a, b) {
  if (typeof a === "number" && typeof b === "number") return b - a;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

/** @param {Explanation} explanation */
function thumbnail(explanation) {
  const [height, width] = explanation.size;
  const values = explanation.map(explanation.defaults.method, explanation.defaults);
  const limits = colourLimits([values], explanation.signed);
  const heat = layer(width, height);
  const image = contextOf(heat).createImageData(width, height);
  const name = limits.low < 0 ? DIVERGING[0] : SEQUENTIAL[0];
  paint(values, limits, colourTable(name), { most: 0.9 }, image);
  contextOf(heat).putImageData(image, 0, 0);
  const scale = THUMBNAIL / Math.min(height, width);
  const canvas = layer(Math.round(width * scale), Math.round(height * scale));
  canvas.setAttribute("aria-hidden", "true");
  const context = contextOf(canvas);
  context.drawImage(greyed(explanation.picture), 0, 0, canvas.width, canvas.height);
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
  return canvas;
}
