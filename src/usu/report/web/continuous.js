// @ts-check
// Continuous maps, as in usu.operators.continuous: Ã(x) = φ(s(x)) · exp(Σ_j c_j b_j(x)), with the heights c for
// which each cell sums to its mass, by Newton's method from the same first guess, so that a picture depends on
// its settings alone and not on the slider's way there.

const ENOUGH = Math.sqrt(2e-7); // after a step d, a gap is at most d²/2: far below what a screen shows
const BY_CELL = 400 * Math.LN2; // extent of all exponents from which each cell is taken relative to its largest
const HOPELESS = 1e8 * Math.LN2;
const LOG_ZERO = -1e30;
const [MOST_STEPS, SHORTEST] = [60, 2 ** -10];
const [MOST_TEMPERATURES, LEAST_GAIN] = [100, 1.01];

// { pixels, found }: found is false where there is no such factor, and each cell has one of its own.
/** @param {Grid} grid @param {Float64Array} levels @param {number} temperature @returns {Shared} */
function continuousShares({ cells, masses }, levels, temperature) {
  if (!masses.some(Boolean)) return { pixels: new Float64Array(levels.length), found: true };
  const search = new Search(cells, masses, levels, Math.max(temperature, SMALLEST));
  const heights = search.heights();
  const pixels = heights ? search.raised(heights) : weightsByCell(cells, levels, temperature);
  const sums = cells.sum(pixels);
  multiply(pixels, cells, masses.map((mass, cell) => (mass ? mass / sums[cell] : 0)));
  return { pixels, found: heights !== null };
}

// Ã(x) = Σ_k M_k · B(x) φ(s(x)) / Σ_y B(y) φ(s(y)), B the bilinear map, each sign apart.
/** @param {Grid} grid @param {Float64Array} levels @param {number} temperature @param {Float64Array} opposite */
function continuousTotal(grid, levels, temperature, opposite) {
  const { cells, masses } = grid;
  grid.smooth ??= {};
  const pixels = new Float64Array(levels.length);
  for (const sign of [1, -1]) {
    const part = masses.map((mass) => Math.max(sign * mass, 0));
    if (!part.some(Boolean)) continue;
    grid.smooth[sign] ??= interpolate("bilinear", part.map((mass, cell) => mass / cells.areas[cell]), cells.shape, cells.size);
    const weights = weightsOf(grid.smooth[sign], sign > 0 ? levels : opposite, Math.max(temperature, SMALLEST));
    const factor = (sign * sum(part)) / sum(weights);
    for (let pixel = 0; pixel < pixels.length; pixel++) pixels[pixel] += factor * weights[pixel];
  }
  return pixels;
}

// B(x) φ(s(x)), relative to the best level where there is mass: elsewhere a better one would overflow.
/** @param {Float64Array} smooth @param {Float64Array} levels @param {number} temperature */
function weightsOf(smooth, levels, temperature) {
  let best = -Infinity;
  for (let pixel = 0; pixel < levels.length; pixel++) {
    if (smooth[pixel] > 0 && levels[pixel] > best) best = levels[pixel];
  }
  const weights = new Float64Array(levels.length);
  for (let pixel = 0; pixel < weights.length; pixel++) {
    if (smooth[pixel] > 0) weights[pixel] = smooth[pixel] * Math.exp((levels[pixel] - best) / temperature);
  }
  return weights;
}

class Search {
  /** @type {Cells} */ cells;
  /** @type {Float64Array} */ levels;
  /** @type {Hats} */ hats;
  /** @type {number} */ least;
  /** @type {number} */ most;
  /** @type {Float64Array} */ base;

  /** @param {Cells} cells @param {Float64Array} masses @param {Float64Array} levels @param {number} temperature */
  constructor(cells, masses, levels, temperature) {
    [this.cells, this.levels, this.hats] = [cells, levels, cells.hats];
    this.signs = masses.map(Math.sign);
    this.kinds = [1, -1].filter((sign) => this.signs.includes(sign));
    const sizes = masses.filter(Boolean).map((mass) => Math.log(Math.abs(mass)));
    const [low, high] = bounds(sizes);
    this.wanted = masses.map((mass) => (mass ? Math.log(Math.abs(mass)) - high : 0));
    [this.least, this.most] = bounds(levels);
    this.temperature = temperature;
    this.extent = (this.most - this.least) / temperature + high - low;
    this.byCell = this.extent > BY_CELL;
    this.taper = this.signs.every((sign) => sign === this.kinds[0]) ? null : this.hats.taper(this.signs);
    this.buffer = new Float64Array(levels.length);
    this.tops = new Float64Array(cells.count);
  }

  heights() {
    if (!(this.extent < HOPELESS)) return null;
    this.warm(1);
    return this.newton(this.start()) ?? this.cooled();
  }

  // Take φ at a share of 1/ε; of all heights, a constant goes into φ's exponent.
  /** @param {number} part */
  warm(part) {
    const [unit, middle] = [part / this.temperature, (this.least + this.most) / 2];
    const { taper, byCell } = this;
    this.base = new Float64Array(this.levels.length);
    for (let pixel = 0; pixel < this.base.length; pixel++) {
      const exponent = (this.levels[pixel] - middle) * unit;
      const share = taper ? taper[pixel] : 1;
      if (!byCell) this.base[pixel] = Math.exp(exponent) * share;
      else this.base[pixel] = exponent + (share ? Math.log(share) : LOG_ZERO);
    }
  }

  start() {
    const flat = this.kinds.map(() => new Float64Array(this.cells.count));
    const { gap, parts } = this.look(flat);
    return this.solve(parts, gap);
  }

  /** @param {Float64Array[]} first */
  newton(first) {
    let heights = first;
    let { gap, parts } = this.look(heights);
    for (let count = 0; count < MOST_STEPS; count++) {
      if (!gap.every(Number.isFinite)) return null;
      const step = this.solve(parts, gap);
      const longest = Math.max(...step.map((one) => one.reduce((most, value) => Math.max(most, Math.abs(value)), 0)));
      if (!Number.isFinite(longest)) return null;
      if (longest <= ENOUGH) return stepped(heights, step, 1);
      const before = squares(gap);
      for (let length = 1; ; length /= 2) {
        if (length < SHORTEST) return null;
        const reached = stepped(heights, step, length);
        ({ gap, parts } = this.look(reached));
        if (!(squares(gap) < before)) continue;
        heights = reached;
        break;
      }
    }
    return null;
  }

  // Solve at higher temperatures first, and follow the heights down.
  cooled() {
    /** @type {Guess[]} */
    const known = [];
    for (let count = 0, part = 1 / 64, gain = 2; count < MOST_TEMPERATURES; count++) {
      this.warm(part);
      const heights = this.newton(this.guess(known, part));
      if (heights && part === 1) return heights;
      if (heights) {
        known.push({ part, heights });
        gain = Math.min(gain ** 2, 2);
      } else {
        gain = Math.sqrt(gain);
        if (gain < LEAST_GAIN) return null;
      }
      part = known.length ? Math.min(known[known.length - 1].part * gain, 1) : part / 16;
    }
    return null;
  }

  /** @param {Guess[]} known @param {number} part */
  guess(known, part) {
    if (!known.length) return this.start();
    const last = known[known.length - 1];
    if (known.length === 1) return last.heights;
    const before = known[known.length - 2];
    const far = (part - last.part) / (last.part - before.part);
    return last.heights.map((one, kind) => one.map((value, cell) => value + far * (value - before.heights[kind][cell])));
  }

  // By how much each cell's logarithm is short, and what a unit of each height adds.
  /** @param {Float64Array[]} heights */
  look(heights) {
    const moments = this.hats.moments(this.raised(heights));
    return { gap: this.lacking(this.hats.rowSums(moments)), parts: this.hats.shares(moments) };
  }

  /** @param {Float64Array} sums */
  lacking(sums) {
    return this.wanted.map((wanted, cell) => (this.signs[cell] ? wanted - Math.log(sums[cell]) - this.tops[cell] : 0));
  }

  // A cell of another sign, or without mass, has no sum to meet: its height is the mean of those around it.
  /** @param {Float64Array} parts @param {Float64Array} gap */
  solve(parts, gap) {
    if (!this.taper) return this.kinds.map(() => this.hats.solve(parts, gap));
    const { unevenness } = this.hats;
    return this.kinds.map((kind) => {
      const [entries, values] = [parts.slice(), gap.slice()];
      for (let cell = 0; cell < values.length; cell++) {
        if (this.signs[cell] === kind) continue;
        const [first, end] = [PAIRS * cell, PAIRS * (cell + 1)];
        entries.set(unevenness.subarray(first, end), first);
        values[cell] = 0;
      }
      return this.hats.solve(entries, values);
    });
  }

  // The map with these heights, in the buffer; up to the exponents `tops` of the cells if these are far apart.
  /** @param {Float64Array[]} heights */
  raised(heights) {
    const { hats, base, buffer, byCell } = this;
    const lines = heights.map(() => new Float64Array(hats.columns));
    hats.down.forEach(({ cell: row, beside, weight }, y) => {
      const [own, other] = [row * hats.columns, beside * hats.columns];
      heights.forEach((values, kind) => {
        const line = lines[kind];
        for (let column = 0; column < line.length; column++) {
          line[column] = (1 - weight) * values[own + column] + weight * values[other + column];
        }
      });
      for (const { from, to, cell, beside: column, start, step } of hats.across) {
        const line = lines[lines.length > 1 && this.signs[own + cell] === this.kinds[1] ? 1 : 0];
        const slope = line[column] - line[cell];
        const first = y * hats.width;
        if (byCell) fillSums(buffer, base, first + from, first + to, line[cell] + slope * start, slope * step);
        else fillProducts(buffer, base, first + from, first + to, Math.exp(line[cell] + slope * start), Math.exp(slope * step));
      }
    });
    if (byCell) this.tops = raiseByCell(this.cells, buffer);
    return buffer;
  }
}

/** @param {Float64Array} target @param {Float64Array} base @param {number} from @param {number} to @param {number} first @param {number} step */
function fillSums(target, base, from, to, first, step) {
  for (let pixel = from, value = first; pixel < to; pixel++, value += step) target[pixel] = base[pixel] + value;
}

// exp of a straight line is a geometric sequence: one exponential for a run of pixels.
/** @param {Float64Array} target @param {Float64Array} base @param {number} from @param {number} to @param {number} first @param {number} ratio */
function fillProducts(target, base, from, to, first, ratio) {
  for (let pixel = from, value = first; pixel < to; pixel++, value *= ratio) target[pixel] = base[pixel] * value;
}

/** @param {Cells} cells @param {Float64Array} exponents */
function raiseByCell(cells, exponents) {
  const tops = cells.largest(exponents);
  for (let pixel = 0; pixel < exponents.length; pixel++) {
    exponents[pixel] = Math.exp(exponents[pixel] - tops[cells.owner[pixel]]);
  }
  return tops;
}

/** @param {Float64Array[]} heights @param {Float64Array[]} step @param {number} length */
function stepped(heights, step, length) {
  return heights.map((one, kind) => one.map((value, cell) => value + length * step[kind][cell]));
}

/** @param {Float64Array} values */
function squares(values) {
  return values.reduce((total, value) => total + value * value, 0);
}

/** @param {ArrayLike<number>} values @returns {[number, number]} */
function bounds(values) {
  let [low, high] = [Infinity, -Infinity];
  for (let at = 0; at < values.length; at++) {
    if (values[at] < low) low = values[at];
    if (values[at] > high) high = values[at];
  }
  return [low, high];
}
