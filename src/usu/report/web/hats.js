// @ts-check
// Hat functions on the cells' centres, as in usu.operators.hats: b_j(x) is the weight of cell j in bilinear
// interpolation. Inside cell k only those of k and of the eight around it differ from 0, so that a matrix over
// pairs of cells has nine entries a row, at 9k + 3 (step down + 1) + step right + 1.

const PAIRS = 9;
const SHIFT = 1e-9; // on the diagonal of a singular matrix
const [MOST_SWEEPS, SETTLED] = [60, 1e-7]; // a change in parts of the largest value

class Hats {
  /** @type {number} */ rows;
  /** @type {number} */ columns;
  /** @type {number} */ count;
  /** @type {Float64Array | undefined} */ uneven;
  /** @type {Int32Array} */ partners;

  /** @param {number[]} shape @param {Size} size */
  constructor([rows, columns], [height, width]) {
    [this.rows, this.columns, this.count] = [rows, columns, rows * columns];
    this.across = halves(columns, width);
    this.down = halves(rows, height).flatMap(({ from, to, cell, beside, start, step }) =>
      Array.from({ length: to - from }, (_, at) => ({ cell, beside, weight: start + at * step })),
    );
    this.width = width;
    this.bandwidth = (rows > 1 ? columns : 0) + (columns > 1 ? 1 : 0);
    this.partners = Int32Array.from({ length: PAIRS * this.count }, (_, at) => this.partner(Math.floor(at / PAIRS), at % PAIRS));
  }

  // Σ_{x ∈ N_k} A(x) b_j(x) for all pairs (k, j).
  /** @param {Float64Array} pixels */
  moments(pixels) {
    const found = new Float64Array(PAIRS * this.count);
    this.down.forEach(({ cell: row, beside, weight }, y) => {
      const down = 3 * (beside - row + 1) + 1;
      for (const { from, to, cell, beside: column, start, step } of this.across) {
        let [whole, part] = [0, 0];
        for (let x = from, share = start, pixel = y * this.width + from; x < to; x++, pixel++, share += step) {
          whole += pixels[pixel];
          part += pixels[pixel] * share;
        }
        const at = PAIRS * (row * this.columns + cell);
        const right = column - cell;
        found[at + 4] += (1 - weight) * (whole - part);
        found[at + 4 + right] += (1 - weight) * part;
        found[at + down] += weight * (whole - part);
        found[at + down + right] += weight * part;
      }
    });
    return found;
  }

  /** @param {Float64Array} entries */
  rowSums(entries) {
    const sums = new Float64Array(this.count);
    entries.forEach((entry, at) => (sums[Math.floor(at / PAIRS)] += entry));
    return sums;
  }

  /** @param {Float64Array} moments */
  shares(moments) {
    const sums = this.rowSums(moments);
    return moments.map((entry, at) => {
      const whole = sums[Math.floor(at / PAIRS)];
      return whole === 0 ? Number(at % PAIRS === 4) : entry / whole;
    });
  }

  // The entries of v_k minus the mean of v over the cells that touch k.
  get unevenness() {
    this.uneven ??= Float64Array.from({ length: PAIRS * this.count }, (_, at) => {
      const cell = Math.floor(at / PAIRS);
      const around = AROUND.filter((pair) => pair !== 4 && this.partners[PAIRS * cell + pair] >= 0).length;
      return at % PAIRS === 4 ? 1 : -1 / Math.max(around, 1);
    });
    return this.uneven;
  }

  // The cell that a pair leads to, or -1 beyond the grid.
  /** @param {number} cell @param {number} pair */
  partner(cell, pair) {
    const row = Math.floor(cell / this.columns) + Math.floor(pair / 3) - 1;
    const column = (cell % this.columns) + (pair % 3) - 1;
    const inside = row >= 0 && row < this.rows && column >= 0 && column < this.columns;
    return inside ? row * this.columns + column : -1;
  }

  // u with matrix · u = values.
  /** @param {Float64Array} entries @param {Float64Array} values @returns {Float64Array} */
  solve(entries, values) {
    return this.swept(entries, values) ??
      this.eliminated(entries, values, 0) ?? this.eliminated(entries, values, SHIFT) ?? values.map(() => NaN);
  }

  // By Gauss and Seidel, which takes a few sweeps where cells have mass at their centres; null if it takes many.
  /** @param {Float64Array} entries @param {Float64Array} values @returns {Float64Array | null} */
  swept(entries, values) {
    const result = new Float64Array(this.count);
    for (let sweep = 0; sweep < MOST_SWEEPS; sweep++) {
      let [change, largest] = [0, 0];
      for (let cell = 0, at = 0; cell < this.count; cell++) {
        let value = values[cell];
        for (let pair = 0; pair < PAIRS; pair++, at++) {
          const other = this.partners[at];
          if (pair !== 4 && other >= 0) value -= entries[at] * result[other];
        }
        value /= entries[at - 5];
        change = Math.max(change, Math.abs(value - result[cell]));
        largest = Math.max(largest, Math.abs(value));
        result[cell] = value;
      }
      if (!Number.isFinite(largest)) return null;
      if (change <= SETTLED * largest) return result;
    }
    return null;
  }

  /** @param {Float64Array} entries @param {Float64Array} values @param {number} shift @returns {Float64Array | null} */
  eliminated(entries, values, shift) {
    const [count, wide] = [this.count, this.bandwidth];
    const stride = 3 * wide + 1; // row i holds the columns i - wide to i + 2 wide
    const band = new Float64Array(count * stride);
    for (let cell = 0; cell < count; cell++) {
      for (const pair of AROUND) {
        const other = this.partners[PAIRS * cell + pair];
        if (other >= 0) band[cell * stride + other - cell + wide] = entries[PAIRS * cell + pair];
      }
      band[cell * stride + wide] += shift;
    }
    const result = Float64Array.from(values);
    // The last column of each row that may not be 0; it grows only where rows are exchanged.
    const ends = Int32Array.from({ length: count }, (_, row) => Math.min(row + wide, count - 1));
    for (let row = 0; row < count; row++) {
      if (!eliminate(band, result, ends, row, wide, stride)) return null;
    }
    for (let row = count - 1; row >= 0; row--) {
      const start = row * stride + wide - row;
      for (let column = row + 1; column <= ends[row]; column++) {
        result[row] -= band[start + column] * result[column];
      }
      result[row] /= band[start + row];
    }
    return result;
  }

  // 1 at the centres of cells that have a sign, and linearly down to 0 where another sign begins.
  /** @param {Float64Array} signs */
  taper(signs) {
    const [height, width] = [this.down.length, this.width];
    const across = nodes(signs, this.columns);
    const turned = nodes(transposed(across, 2 * this.columns + 1), this.rows);
    const values = transposed(turned, 2 * this.rows + 1);
    /** @param {number} cells @param {number} length */
    const spread = (cells, length) => Array.from({ length }, (_, pixel) => {
      const place = ((pixel + 0.5) * 2 * cells) / length;
      return [Math.floor(place), place - Math.floor(place)];
    });
    const [downwards, sideways] = [spread(this.rows, height), spread(this.columns, width)];
    const pixels = new Float64Array(height * width);
    const line = new Float64Array(2 * this.columns + 1);
    downwards.forEach(([above, lower], y) => {
      const first = above * line.length;
      for (let node = 0; node < line.length; node++) {
        line[node] = (1 - lower) * values[first + node] + lower * values[first + line.length + node];
      }
      sideways.forEach(([left, part], x) => {
        pixels[y * width + x] = Math.abs((1 - part) * line[left] + part * line[left + 1]);
      });
    });
    return pixels;
  }
}

const AROUND = Array.from({ length: PAIRS }, (_, pair) => pair);

// Runs of pixels along an axis that share a cell and the other cell whose hat reaches them; that one's weight
// is `start` at the first pixel and grows by `step`.
/** @param {number} cells @param {number} pixels @returns {Run[]} */
function halves(cells, pixels) {
  /** @type {Run[]} */
  const runs = [];
  for (let pixel = 0; pixel < pixels; pixel++) {
    const cell = Math.floor(((2 * pixel + 1) * cells) / (2 * pixels));
    const centre = Math.min(Math.max(((pixel + 0.5) * cells) / pixels - 0.5, 0), cells - 1);
    const side = Math.sign(centre - cell);
    const last = runs.at(-1);
    if (last?.cell === cell && last.beside === cell + side) last.to = pixel + 1;
    else {
      const start = Math.abs(centre - cell);
      runs.push({ from: pixel, to: pixel + 1, cell, beside: cell + side, start, step: (side * cells) / pixels });
    }
  }
  return runs;
}

// One step of the elimination; false if the matrix is singular.
/** @param {Float64Array} band @param {Float64Array} values @param {Int32Array} ends @param {number} row @param {number} wide @param {number} stride */
function eliminate(band, values, ends, row, wide, stride) {
  const lowest = Math.min(row + wide, values.length - 1);
  /** @param {number} at */
  const place = (at) => at * stride + wide - at;
  let pivot = row;
  for (let below = row + 1; below <= lowest; below++) {
    if (Math.abs(band[place(below) + row]) > Math.abs(band[place(pivot) + row])) pivot = below;
  }
  if (!band[place(pivot) + row]) return false;
  if (pivot !== row) {
    [ends[row], ends[pivot]] = [ends[pivot], ends[row]];
    for (let column = row; column <= Math.max(ends[row], ends[pivot]); column++) {
      const [one, other] = [place(row) + column, place(pivot) + column];
      [band[one], band[other]] = [band[other], band[one]];
    }
    [values[row], values[pivot]] = [values[pivot], values[row]];
  }
  const [own, last] = [place(row), ends[row]];
  for (let below = row + 1; below <= lowest; below++) {
    const start = place(below);
    const factor = band[start + row] / band[own + row];
    if (factor === 0) continue;
    if (last > ends[below]) ends[below] = last;
    for (let column = row + 1; column <= last; column++) band[start + column] -= factor * band[own + column];
    values[below] -= factor * values[row];
  }
  return true;
}

// Rows of `cells` signs, each as its 2 · cells + 1 ends and centres; an end has a sign if both cells share it.
/** @param {Float64Array} signs @param {number} cells */
function nodes(signs, cells) {
  const made = new Float64Array((signs.length / cells) * (2 * cells + 1));
  for (let from = 0, to = 0; from < signs.length; from += cells) {
    for (let cell = 0; cell < cells; cell++) {
      const before = signs[from + Math.max(cell - 1, 0)];
      made[to++] = before === signs[from + cell] ? before : 0;
      made[to++] = signs[from + cell];
    }
    made[to++] = signs[from + cells - 1];
  }
  return made;
}

/** @param {Float64Array} values @param {number} columns */
function transposed(values, columns) {
  const rows = values.length / columns;
  return Float64Array.from(values, (_, at) => values[(at % rows) * columns + Math.floor(at / rows)]);
}
