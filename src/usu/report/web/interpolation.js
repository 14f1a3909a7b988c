// @ts-check
// The baselines: kernels made for photographs, as in usu.operators.interpolation. Each is a matrix along an axis,
// as rows of [cell, weight] pairs; pixel centres are at half-integers.

const CUBIC = -0.75;

/** @param {number} distance */
function cubic(distance) {
  const t = Math.abs(distance);
  if (t <= 1) return ((CUBIC + 2) * t - (CUBIC + 3)) * t * t + 1;
  return t < 2 ? ((CUBIC * t - 5 * CUBIC) * t + 8 * CUBIC) * t - 4 * CUBIC : 0;
}

/** @param {number} t */
function sinc(t) {
  return t === 0 ? 1 : Math.sin(Math.PI * t) / (Math.PI * t);
}

/** @param {number} cell @param {number} cells */
const clampCell = (cell, cells) => Math.min(Math.max(cell, 0), cells - 1);

/** @type {Record<"bilinear" | "bicubic" | "lanczos", Kernel>} */
const KERNELS = {
  bilinear(position, cells) {
    const inside = Math.max(position, 0);
    const first = Math.min(Math.floor(inside), cells - 1);
    const part = Math.min(inside - first, 1);
    return [[first, 1 - part], [clampCell(first + 1, cells), part]];
  },
  bicubic(position, cells) {
    const first = Math.floor(position);
    return [-1, 0, 1, 2].map((step) => [
      clampCell(first + step, cells),
      cubic(position - first - step),
    ]);
  },
  lanczos(position, cells, stretch) {
    const taps = [];
    for (let cell = 0; cell < cells; cell++) {
      const t = (cell - position) / stretch;
      if (Math.abs(t) < 3) taps.push([cell, sinc(t) * sinc(t / 3)]);
    }
    const total = taps.reduce((all, [, weight]) => all + weight, 0);
    return taps.map(([cell, weight]) => [cell, weight / total]);
  },
};

/** @param {Kernel} kernel @param {number} cells @param {number} length */
function axisRows(kernel, cells, length) {
  return Array.from({ length }, (_, pixel) =>
    kernel((pixel + 0.5) * (cells / length) - 0.5, cells, Math.max(cells / length, 1)),
  );
}

/** @param {keyof typeof KERNELS} name @param {Float64Array} densities @param {number[]} shape @param {Size} size */
function interpolate(name, densities, [rows, columns], [height, width]) {
  const across = axisRows(KERNELS[name], columns, width);
  const down = axisRows(KERNELS[name], rows, height);
  const wide = new Float64Array(rows * width);
  for (let row = 0; row < rows; row++) {
    for (let x = 0; x < width; x++) {
      for (const [cell, weight] of across[x]) wide[row * width + x] += weight * densities[row * columns + cell];
    }
  }
  const pixels = new Float64Array(height * width);
  for (let y = 0; y < height; y++) {
    for (const [cell, weight] of down[y]) {
      for (let x = 0; x < width; x++) pixels[y * width + x] += weight * wide[cell * width + x];
    }
  }
  return pixels;
}
