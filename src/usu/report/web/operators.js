// @ts-check
// The operators of the paper, in Float64 and with differences of log φ, which never overflow.
// A grid is { cells, masses }; a setting is { temperature, importanceTemperature, potential, negative }.

const SMALLEST = 2.2250738585072014e-308;
const TINY = 1e-300;
const CONTINUOUS = "-continuous"; // the end of the names of the modes' continuous versions
/** @param {number} score */
const logOf = (score) => Math.log(Math.max(score, TINY));

// u(s) of each potential φ(s) = exp(u(s) / ε).
/** @type {Record<"exponential" | "power" | "log-odds", (score: number) => number>} */
const UTILITIES = {
  exponential: (score) => score,
  power: logOf,
  "log-odds": (score) => logOf(score) - logOf(1 - score),
};

// u(s(x)) of all pixels; cells in `flipped` take u(1 - s). Plain loops, as callbacks take several times as long.
/** @param {Cells} cells @param {Float64Array} scores @param {Sharing} setting @param {ArrayLike<unknown> | null} flipped */
function levelsOf({ owner }, scores, { potential }, flipped) {
  const utility = UTILITIES[potential];
  const levels = new Float64Array(scores.length);
  for (let pixel = 0; pixel < levels.length; pixel++) {
    const turned = flipped && flipped[owner[pixel]];
    levels[pixel] = utility(turned ? 1 - scores[pixel] : scores[pixel]);
  }
  return levels;
}

// φ relative to the best in each cell.
/** @param {Cells} cells @param {Float64Array} levels @param {number} temperature */
function weightsByCell(cells, levels, temperature) {
  const best = cells.largest(levels);
  const unit = Math.max(temperature, SMALLEST);
  const weights = new Float64Array(levels.length);
  for (let pixel = 0; pixel < weights.length; pixel++) {
    weights[pixel] = Math.exp((levels[pixel] - best[cells.owner[pixel]]) / unit);
  }
  return weights;
}

/** @param {Float64Array} pixels @param {Cells} cells @param {Float64Array} factors */
function multiply(pixels, { owner }, factors) {
  for (let pixel = 0; pixel < pixels.length; pixel++) pixels[pixel] *= factors[owner[pixel]];
}

// Ã(x) = M_ν(x) · φ(s(x)) / Σ_{y ∈ N_ν(x)} φ(s(y)) (eq. 8 to 11).
/** @param {Grid} grid @param {Float64Array} levels @param {number} temperature @returns {Shared} */
function share({ cells, masses }, levels, temperature) {
  const pixels = weightsByCell(cells, levels, temperature);
  multiply(pixels, cells, cells.sum(pixels).map((total, cell) => masses[cell] / total));
  return { pixels, found: true };
}

// ρ_k ∝ prior_k · exp(λ_k / ε_Λ); all zeros if the whole prior is zero (eq. 13).
/** @param {Float64Array} prior @param {Float64Array} importances @param {number} temperature */
function portions(prior, importances, temperature) {
  let best = 0;
  prior.forEach((weight, cell) => {
    if (weight > 0) best = Math.max(best, importances[cell]);
  });
  const wide = Math.max(temperature, SMALLEST);
  const weights = prior.map((weight, cell) =>
    weight > 0 ? weight * Math.exp((importances[cell] - best) / wide) : 0,
  );
  const total = Math.max(sum(weights), SMALLEST);
  return weights.map((weight) => weight / total);
}

// The mass M̃_k that each mode promises its cells.
/** @type {Record<string, (grid: Grid, scores: Float64Array, temperature: number) => Float64Array>} */
const BUDGETS = {
  usu: ({ masses }) => masses,
  iwmr: ({ cells, masses }, scores, temperature) => {
    const total = sum(masses);
    return portions(cells.areas, cells.largest(scores), temperature).map((part) => part * total);
  },
  hybrid: ({ cells, masses }, scores, temperature) => {
    const importances = cells.largest(scores);
    const reassigned = new Float64Array(masses.length);
    for (const part of [masses.map((mass) => Math.max(mass, 0)), masses.map((mass) => Math.min(mass, 0))]) {
      const total = sum(part);
      const shares = portions(part.map(Math.abs), importances, temperature);
      shares.forEach((portion, cell) => (reassigned[cell] += portion * total));
    }
    return reassigned;
  },
};

// { pixels, found } of an upsampler that shares by scores; see `continuousShares`.
/** @param {Method} name @param {Grid} grid @param {Float64Array} scores @param {Sharing} setting @returns {Shared} */
function redistribute(name, grid, scores, setting) {
  const { cells, masses } = grid;
  const { temperature } = setting;
  const opposite = setting.negative === "opposite";
  /** @param {ArrayLike<unknown> | null} flipped */
  const levels = (flipped) => levelsOf(cells, scores, setting, flipped);
  if (name === "total-conserving") {
    const negative = opposite ? levels(masses.map(() => 1)) : levels(null);
    return { pixels: continuousTotal(grid, levels(null), temperature, negative), found: true };
  }
  const mode = name.replace(CONTINUOUS, "");
  const budget = BUDGETS[mode](grid, scores, setting.importanceTemperature ?? temperature);
  const flipped = mode === "usu" && opposite ? budget.map((mass) => Number(mass < 0)) : null;
  const operator = mode === name ? share : continuousShares;
  return operator({ cells, masses: budget }, levels(flipped), temperature);
}

// The H-map's kernels (eq. 16), with replicated borders.
/** @type {Record<"diagonal" | "gradient", (at: (x: number, y: number) => number, x: number, y: number) => number>} */
const H_KERNELS = {
  diagonal: (at, x, y) => at(x + 1, y - 1) + at(x - 1, y + 1) - at(x - 1, y - 1) - at(x + 1, y + 1),
  gradient: (at, x, y) => Math.hypot(at(x + 1, y) - at(x - 1, y), at(x, y + 1) - at(x, y - 1)),
};

/** @param {Float64Array} scores @param {Size} size @param {keyof typeof H_KERNELS} kernel */
function hMap(scores, [height, width], kernel) {
  /** @param {number} value @param {number} most */
  const clamp = (value, most) => Math.min(Math.max(value, 0), most);
  /** @param {number} x @param {number} y */
  const at = (x, y) => scores[clamp(y, height - 1) * width + clamp(x, width - 1)];
  const found = new Float64Array(scores.length);
  for (let y = 0, pixel = 0; y < height; y++) {
    for (let x = 0; x < width; x++, pixel++) found[pixel] = H_KERNELS[kernel](at, x, y);
  }
  return found;
}

/** @param {ArrayLike<number>} values */
function sum(values) {
  let total = 0;
  for (let at = 0; at < values.length; at++) total += values[at];
  return total;
}
