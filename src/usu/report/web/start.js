// Read the data in the file, then show the first explanation.

async function start() {
  const data = JSON.parse(byId("data").textContent);
  const explanations = await Promise.all(data.map((plain) => Explanation.load(plain)));
  const gallery = explanations.length > 1 ? new Gallery(explanations, select) : null;
  function select(index) {
    choose(explanations[index]);
    gallery?.mark(index);
  }
  listenToControls();
  listenToPicture();
  select(0);
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
  state: () => ({ ...view.state, split: look.split, zoom: stage.zoom }),
};
