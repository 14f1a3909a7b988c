// @ts-check
// One explanation: its arrays, and the maps and figures that follow from them.

const TITLES = {
  usu: "USU",
  "usu-continuous": "USU, continuous",
  iwmr: "Soft IWMR",
  "iwmr-continuous": "Soft IWMR, continuous",
  hybrid: "Hybrid",
  "hybrid-continuous": "Hybrid, continuous",
  "total-conserving": "Total-conserving",
  conserving: "Conserving, without scores",
  nearest: "Nearest",
  bilinear: "Bilinear",
  bicubic: "Bicubic",
  lanczos: "Lanczos-3",
  recorded: "As recorded",
};
const MODES = ["usu", "iwmr", "hybrid"];
const ON_GRIDS = [...MODES.map((mode) => mode + CONTINUOUS), "total-conserving"];
const REDISTRIBUTIONS = [...MODES, ...ON_GRIDS];
/** @type {string[]} */
const INTERPOLATIONS = ["conserving", "bilinear", "bicubic", "lanczos"];

// The input at the photograph's own resolution.
/** @param {NonNullable<Explanation["whole"]>} whole */
function cropped({ picture, box }) {
  const [wide, high] = [picture.naturalWidth, picture.naturalHeight];
  const canvas = layer(Math.max(1, Math.round(box.width * wide)), Math.max(1, Math.round(box.height * high)));
  contextOf(canvas).drawImage(picture, -box.left * wide, -box.top * high);
  return canvas;
}

// A record of Owen values is shared as USU does, and is called what it is.
/** @param {Explanation} explanation @param {Method} method */
function titleOf({ plain }, method) {
  const title = TITLES[method];
  return plain.recordedMode === "complete" ? title.replace(/^USU/, "Complete") : title;
}

class Explanation {
  /** @type {Plain} */ plain;
  /** @type {Size} */ size;
  /** @type {number} */ pixels;
  /** @type {Picture} */ picture;
  /** @type {Ground & { picture: HTMLImageElement } | undefined} */ whole; // photograph
  /** @type {Ground | undefined} */ ground; // the input as a ground
  /** @type {Grid[]} */ grids;
  /** @type {boolean} */ isGrid;
  /** @type {Float64Array | undefined} */ recorded;
  /** @type {Float64Array} */ recordedScores;
  /** @type {Part[]} */ partitions;
  /** @type {number} */ depths;
  /** @type {Cells} */ cells;
  /** @type {Float64Array} */ masses; // in each cell of the first grid; that of further grids is added where their cells lie
  /** @type {Map<string, Float64Array>} */ kept = new Map();
  /** @type {Map<Method, { key: string, pixels: Float64Array }>} */ last = new Map(); // of each method
  /** @type {WeakMap<Float64Array, Figures>} */ known = new WeakMap();
  /** @type {WeakSet<Float64Array>} */ patched = new WeakSet(); // continuous maps that have one factor per cell after all
  /** @type {WeakMap<Float64Array, Half | null>} */ halves = new WeakMap();

  /** @param {Plain} plain */
  static async load(plain) {
    const found = new Explanation();
    found.plain = plain;
    found.size = plain.size;
    found.pixels = plain.size[0] * plain.size[1];
    found.picture = await loadPicture(plain.photograph);
    if (plain.whole) found.whole = { ...plain.whole, picture: await loadPicture(plain.whole.picture) };
    if (found.whole) found.picture = cropped(found.whole);
    const maps = [plain.coarse, ...plain.further];
    const values = await Promise.all(maps.map((map) => unpack(map.values)));
    const regions = plain.neighbourhoods && Int32Array.from(await unpack(plain.neighbourhoods));
    found.grids = maps.map(({ shape }, number) => {
      const own = number === 0 && regions;
      const cells = own ? new Cells(regions, shape[0], shape) : Cells.grid(shape, plain.size);
      const coarse = Float64Array.from(values[number]);
      const masses = plain.mass === "density" ? coarse.map((a, k) => a * cells.areas[k]) : coarse;
      return { cells, masses };
    });
    found.isGrid = !plain.neighbourhoods;
    await found.loadScores(plain);
    if (plain.redistribution.recorded) found.recorded = Float64Array.from(await unpack(plain.redistribution.recorded));
    found.cells = found.grids[0].cells;
    found.masses = found.massesOfAllGrids();
    return found;
  }

  /** @param {Plain} plain */
  async loadScores({ scoreMap, partitions }) {
    const [values, index] = [await unpack(scoreMap.values), await unpack(scoreMap.index)];
    this.recordedScores = Float64Array.from(index, (position) => values[position]);
    this.partitions = await Promise.all(
      partitions.map(async (part, key) => ({
        ...part,
        key,
        labels: /** @type {Labels} */ (await unpack(part.labels)),
        scores: Float64Array.from(await unpack(part.scores)),
        raw: Float64Array.from(await unpack(part.raw)),
        parts: part.parts && Float64Array.from(await unpack(part.parts)),
        strongest: part.strongest && (await unpack(part.strongest)),
        alpha: part.alpha && (await unpack(part.alpha)),
      })),
    );
    this.depths = Math.max(1, ...this.partitions.map((part) => part.depth + 1));
  }

  massesOfAllGrids() {
    const masses = Float64Array.from(this.grids[0].masses);
    for (const grid of this.grids.slice(1)) {
      this.cells.sum(this.spreadEvenly(grid)).forEach((mass, cell) => (masses[cell] += mass));
    }
    return masses;
  }

  /** @param {Grid} grid */
  spreadEvenly({ cells, masses }) {
    return cells.spread(masses.map((mass, cell) => mass / cells.areas[cell]));
  }

  // The upsamplers that are defined on these cells.
  /** @returns {Method[]} */
  get methods() {
    const all = /** @type {Method[]} */ (Object.keys(TITLES));
    const known = all.filter((name) => this.isGrid || MODES.includes(name) || name === "nearest");
    if (!this.recorded) return known.filter((name) => name !== "recorded");
    return ["recorded", ...known.filter((name) => name !== "recorded" && !REDISTRIBUTIONS.includes(name))];
  }

  // Whether one explanation's maps diverge about zero, all alike.
  get signed() {
    const [low, high] = bounds(this.masses);
    return low < -NEGLIGIBLE * Math.max(high, -low);
  }

  /** @returns {Setting & { method: Method, other: Method }} */
  get defaults() {
    const { temperature, importanceTemperature } = this.plain.redistribution;
    return {
      method: this.recorded ? "recorded" : this.plain.mode,
      other: this.isGrid ? "bilinear" : "nearest",
      temperature,
      importanceTemperature,
      depth: this.depths,
    };
  }

  // Φ of the first `depth` depths; for all depths the recorded one, to the last bit.
  /** @param {number} depth @returns {Float64Array} */
  scores(depth) {
    if (depth >= this.depths || this.plain.depthReason) return this.recordedScores;
    return this.once(`scores ${depth}`, () => {
      const used = this.partitions.filter((part) => part.depth < depth);
      const mean = new Float64Array(this.pixels);
      for (const { labels, scores } of used) {
        for (let pixel = 0; pixel < mean.length; pixel++) mean[pixel] += scores[labels[pixel]] / used.length;
      }
      return mean.map((score) => Math.min(Math.max(score, 0), 1));
    });
  }

  /** @param {number} depth @returns {Float64Array} */
  h(depth) {
    return this.once(`h ${depth}`, () => hMap(this.scores(depth), this.size, this.plain.kernel));
  }

  // The pixel map Ã of a method: the sum over grids. The last one of each method is kept.
  /** @param {Method} method @param {Setting} setting @returns {Float64Array} */
  map(method, { temperature, importanceTemperature, depth }) {
    if (method === "recorded" && this.recorded) return this.recorded;
    if (!REDISTRIBUTIONS.includes(method)) return this.once(method, () => this.interpolated(method));
    const key = [temperature, importanceTemperature, depth].join();
    const kept = this.last.get(method);
    if (kept?.key === key) return kept.pixels;
    const setting = { ...this.plain.redistribution, temperature, importanceTemperature };
    const pixels = this.shared((grid) => redistribute(method, grid, this.scores(depth), setting));
    this.last.set(method, { key, pixels });
    return pixels;
  }

  /** @param {Method} method */
  interpolated(method) {
    if (method === "nearest") return this.added((grid) => this.spreadEvenly(grid));
    if (method === "conserving") return this.shared((grid) => continuousShares(grid, new Float64Array(this.pixels), 1));
    return this.added(({ cells, masses }) => {
      const densities = masses.map((mass, cell) => mass / cells.areas[cell]);
      return interpolate(/** @type {keyof typeof KERNELS} */ (method), densities, cells.shape, this.size);
    });
  }

  // The sum over grids of { pixels, found }; a map without a continuous factor is remembered as such.
  /** @param {(grid: Grid) => Shared} make */
  shared(make) {
    let all = true;
    const pixels = this.added((grid) => {
      const { pixels: own, found } = make(grid);
      all &&= found;
      return own;
    });
    if (!all) this.patched.add(pixels);
    return pixels;
  }

  /** @param {(grid: Grid) => Float64Array} make */
  added(make) {
    const [total, ...rest] = this.grids.map(make);
    for (const pixels of rest) pixels.forEach((value, pixel) => (total[pixel] += value));
    return total;
  }

  // The D1 error, mean over cells of |Σ Ã - M_k|, absolute and over the mean |M_k|; and the total mass.
  /** @param {Float64Array} pixels @returns {Figures} */
  figures(pixels) {
    const found = this.known.get(pixels) ?? this.measured(pixels);
    this.known.set(pixels, found);
    return found;
  }

  /** @param {Float64Array} pixels @returns {Figures} */
  measured(pixels) {
    const sums = this.cells.sum(pixels);
    const error = sum(sums.map((total, cell) => Math.abs(total - this.masses[cell]))) / this.cells.count;
    const unit = sum(this.masses.map(Math.abs)) / this.cells.count;
    return { error, relative: unit ? error / unit : 0, total: sum(sums), mass: sum(this.masses), sums };
  }

  /** @param {string} key @param {() => Float64Array} make @returns {Float64Array} */
  once(key, make) {
    const found = this.kept.get(key) ?? make();
    this.kept.set(key, found);
    return found;
  }
}
