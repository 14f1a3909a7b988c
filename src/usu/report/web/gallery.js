// Several explanations: cards that can be searched and sorted by any figure.

const THUMBNAIL = 120;
const FIGURES = {
  name: { title: "name", of: ({ plain }) => plain.name },
  target: { title: "target", of: ({ plain }) => plain.title },
  probability: { title: "probability", of: ({ plain }) => plain.probability, words: percent },
  passes: { title: "forward passes", of: ({ plain }) => plain.forwardPasses },
  cells: { title: "number of cells", of: ({ cells }) => cells.count },
  mass: { title: "total mass", of: (one) => sum(one.masses) },
  error: { title: "D1 error, relative", of: (one) => one.figures(one.map(one.defaults.method, one.defaults)).relative },
  baseline: {
    title: "D1 error of the baseline, relative",
    of: (one) => one.figures(one.map(one.defaults.other, one.defaults)).relative,
  },
};

class Gallery {
  constructor(explanations, choose) {
    this.cards = explanations.map((explanation, index) => {
      const figures = Object.entries(FIGURES).map(([key, { of }]) => [key, of(explanation)]);
      return { explanation, index, figures: Object.fromEntries(figures), item: this.card(explanation, () => choose(index)) };
    });
    options(byId("sort"), Object.entries(FIGURES).map(([key, { title }]) => [key, title]), "name");
    byId("search").addEventListener("input", () => this.list());
    byId("sort").addEventListener("change", () => this.list());
    byId("spread").addEventListener("change", ({ target }) => byId("cards").classList.toggle("spread", target.checked));
    byId("cards").addEventListener("keydown", (event) => this.walk(event));
    document.addEventListener("keydown", (event) => this.pressed(event, choose));
    byId("gallery").hidden = false;
    this.list();
  }

  card(explanation, choose) {
    const item = element("li");
    const button = element("button");
    button.type = "button";
    button.append(
      thumbnail(explanation),
      element("strong", explanation.plain.title),
      element("span", explanation.plain.name),
      element("span", "", "figure"),
    );
    button.addEventListener("click", choose);
    item.append(button);
    return item;
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
    for (const { item, figures } of found) {
      const value = figures[key];
      const named = typeof value === "number";
      item.querySelector(".figure").textContent = named ? `${title} ${format(value)}` : "";
    }
    this.listed = found;
    byId("cards").replaceChildren(...found.map(({ item }) => item));
    byId("found").textContent = `${found.length} of ${this.cards.length}`;
  }

  mark(chosen) {
    this.chosen = chosen;
    for (const { item, index } of this.cards) {
      item.firstChild.setAttribute("aria-current", String(index === chosen));
      if (index === chosen) byId("cards").scrollLeft = item.offsetLeft - byId("cards").clientWidth / 2;
    }
  }

  // Arrow keys walk along the cards.
  walk(event) {
    const way = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!way) return;
    const item = event.target.closest("li");
    (way > 0 ? item.nextElementSibling : item.previousElementSibling)?.firstChild.focus();
    event.preventDefault();
  }

  // N and P show the next and the previous of the cards listed, wherever one does not type.
  pressed(event, choose) {
    const way = { n: 1, p: -1 }[event.key.toLowerCase()];
    const typing = event.target.closest?.("select, input:not([type=range], [type=checkbox], [type=radio])");
    if (!way || typing || event.ctrlKey || event.altKey || event.metaKey) return;
    const place = this.listed.findIndex(({ index }) => index === this.chosen);
    const next = this.listed[place < 0 ? 0 : place + way];
    if (next) choose(next.index);
  }
}

// Words from a to z, numbers from large to small, cards without a value last.
function ordered(a, b) {
  if (typeof a === "number" && typeof b === "number") return b - a;
  if (typeof a === "number" || typeof b === "number") return typeof a === "number" ? -1 : 1;
  return String(a).localeCompare(String(b), undefined, { numeric: true });
}

function thumbnail(explanation) {
  const [height, width] = explanation.size;
  const values = explanation.map(explanation.defaults.method, explanation.defaults);
  const limits = colourLimits([values], explanation.signed);
  const heat = layer(width, height);
  const image = heat.getContext("2d").createImageData(width, height);
  const name = limits.low < 0 ? DIVERGING[0] : SEQUENTIAL[0];
  paint(values, limits, colourTable(name), { most: 0.9 }, image);
  heat.getContext("2d").putImageData(image, 0, 0);
  const scale = THUMBNAIL / Math.min(height, width);
  const canvas = layer(Math.round(width * scale), Math.round(height * scale));
  canvas.setAttribute("aria-hidden", "true");
  const context = canvas.getContext("2d");
  context.drawImage(greyed(explanation.picture), 0, 0, canvas.width, canvas.height);
  context.drawImage(heat, 0, 0, canvas.width, canvas.height);
  return canvas;
}
