// @ts-check
// Neighbourhoods: which cell each pixel belongs to (N and ν of the paper).

class Cells {
  /** @type {Size} */ size; // and the hats, of a grid alone
  /** @type {Hats} */ hats;

  // owner: Int32Array over the pixels, values 0..count-1.
  /** @param {Int32Array} owner @param {number} count @param {number[]} shape */
  constructor(owner, count, shape) {
    this.owner = owner;
    this.count = count;
    this.shape = shape;
    this.areas = new Float64Array(count);
    for (const cell of owner) this.areas[cell] += 1;
  }

  // A pixel belongs to the cell that contains its centre, in integers so that no rounding moves a border.
  /** @param {number[]} shape @param {Size} size */
  static grid([rows, columns], [height, width]) {
    const owner = new Int32Array(height * width);
    for (let y = 0, pixel = 0; y < height; y++) {
      const row = Math.floor(((2 * y + 1) * rows) / (2 * height)) * columns;
      for (let x = 0; x < width; x++, pixel++) {
        owner[pixel] = row + Math.floor(((2 * x + 1) * columns) / (2 * width));
      }
    }
    const cells = new Cells(owner, rows * columns, [rows, columns]);
    [cells.size, cells.hats] = [[height, width], new Hats([rows, columns], [height, width])];
    return cells;
  }

  /** @param {Float64Array} pixels */
  sum(pixels) {
    const sums = new Float64Array(this.count);
    for (let pixel = 0; pixel < pixels.length; pixel++) sums[this.owner[pixel]] += pixels[pixel];
    return sums;
  }

  /** @param {Float64Array} pixels */
  largest(pixels) {
    const found = new Float64Array(this.count).fill(-Infinity);
    for (let pixel = 0; pixel < pixels.length; pixel++) {
      const cell = this.owner[pixel];
      if (pixels[pixel] > found[cell]) found[cell] = pixels[pixel];
    }
    return found;
  }

  /** @param {Float64Array} values */
  spread(values) {
    const pixels = new Float64Array(this.owner.length);
    for (let pixel = 0; pixel < pixels.length; pixel++) pixels[pixel] = values[this.owner[pixel]];
    return pixels;
  }

  /** @param {number} cell */
  name(cell) {
    if (this.shape.length === 1) return `superpixel ${cell}`;
    const columns = this.shape[1];
    return `cell (${Math.floor(cell / columns)}, ${cell % columns})`;
  }
}
