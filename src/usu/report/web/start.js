// @ts-check
// Read the data in the file, then show the first explanation, or the one that the address names.

/** @type {Gallery | null} */
let gallery = null;

/** @param {number} index */
function select(index) {
  choose(index);
  gallery?.mark(index);
}

async function start() {
  /** @type {Plain[]} */
  const data = JSON.parse(byId("data").textContent);
  view.all = await Promise.all(data.map((plain) => Explanation.load(plain)));
  gallery = view.all.length > 1 ? new Gallery(view.all, select) : null;
  const names = view.all.map(({ plain }, index) => /** @type {const} */ ([index, [plain.title, plain.name].filter(Boolean).join(", ")]));
  options(byId("beside"), names, 0);
  listenToControls();
  listenToPicture();
  select(0);
  readAddress(view.all);
  await new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve)));
}

// For the console and for tests: the map shown, flat; its figures; and a promise of the first picture.
window.usu = {
  ready: start().catch((problem) => {
    byId("problem").textContent = `This report cannot be shown: ${problem.message}. It needs a browser of 2023 or later.`;
    byId("problem").hidden = false;
    throw problem;
  }),
  map: (side = "method") => view.maps[side],
  figures: (side = "method") => view.figures[side],
  state: () => ({ ...view.state, ...look, zoom: stage.zoom, explanation: view.index }),
};
