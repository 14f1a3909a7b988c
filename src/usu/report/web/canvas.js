// The picture: photograph, two maps beside a split, lines and the cursor, at any zoom.

const DIM = { base: 0.1, gain: 0.6 }; // the photograph in grey, so dark that every colour is the map's
const MOST_ZOOM = 32;

class Stage {
  constructor(frame, canvas) {
    this.frame = frame;
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.whole();
  }

  whole() {
    this.zoom = 1;
    this.left = this.top = 0; // of the visible part, in pixels of the map
  }

  take(explanation) {
    this.explanation = explanation;
    const [height, width] = explanation.size;
    this.frame.style.setProperty("--ratio", width / height);
    this.colour = explanation.picture;
    this.grey = greyed(explanation.picture, width, height);
    this.sides = [layer(width, height), layer(width, height)];
    this.paths = new Map();
    this.fitted = false;
    this.whole();
  }

  // Screen pixels of the canvas per pixel of the map.
  get scale() {
    return (this.canvas.width / this.explanation.size[1]) * this.zoom;
  }

  // Reading the width makes the browser lay out the page: only where it may have changed.
  fit() {
    if (this.fitted) return;
    this.fitted = true;
    const ratio = window.devicePixelRatio || 1;
    const [height, width] = this.explanation.size;
    const wide = Math.max(1, Math.round(this.frame.clientWidth * ratio));
    const high = Math.max(1, Math.round((wide * height) / width));
    if (this.canvas.width !== wide || this.canvas.height !== high) {
      this.canvas.width = wide;
      this.canvas.height = high;
    }
  }

  // The pixel under a pointer, or null outside.
  pixelAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [height, width] = this.explanation.size;
    const x = Math.floor(this.left + ((event.clientX - box.left) / box.width) * (width / this.zoom));
    const y = Math.floor(this.top + ((event.clientY - box.top) / box.height) * (height / this.zoom));
    return x >= 0 && y >= 0 && x < width && y < height ? y * width + x : null;
  }

  // Zoom by a factor around the middle, or around a pixel.
  zoomBy(factor, pixel) {
    const [height, width] = this.explanation.size;
    const x = pixel === null ? this.left + width / this.zoom / 2 : (pixel % width) + 0.5;
    const y = pixel === null ? this.top + height / this.zoom / 2 : Math.floor(pixel / width) + 0.5;
    this.zoom = Math.min(Math.max(this.zoom * factor, 1), MOST_ZOOM);
    this.moveTo(x - width / this.zoom / 2, y - height / this.zoom / 2);
  }

  moveTo(left, top) {
    const [height, width] = this.explanation.size;
    this.left = Math.min(Math.max(left, 0), width - width / this.zoom);
    this.top = Math.min(Math.max(top, 0), height - height / this.zoom);
  }

  reveal(pixel) {
    const [height, width] = this.explanation.size;
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    const [wide, high] = [width / this.zoom, height / this.zoom];
    const outside = x < this.left || y < this.top || x + 1 > this.left + wide || y + 1 > this.top + high;
    if (outside) this.moveTo(x - wide / 2, y - high / 2);
  }

  // Put values on one side: 0 is left of the split, 1 right of it.
  show(side, values, limits, table, opacity) {
    const context = this.sides[side].getContext("2d");
    const [height, width] = this.explanation.size;
    const image = context.createImageData(width, height);
    paint(values, limits, table, opacity, image);
    context.putImageData(image, 0, 0);
  }

  // `split` is a share of the width, or null for one map; `lines` are as `trace` takes them.
  draw({ split, inColour, lines, pixel, contrast }) {
    this.fit();
    const { context, canvas, scale } = this;
    const [height, width] = this.explanation.size;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    context.setTransform(scale, 0, 0, scale, -this.left * scale, -this.top * scale);
    context.imageSmoothingEnabled = true;
    context.drawImage(inColour ? this.colour : this.grey, 0, 0, width, height);
    context.imageSmoothingEnabled = false;
    const border = split === null ? 0 : this.left + (split * width) / this.zoom;
    this.clipped(0, border, () => context.drawImage(this.sides[0], 0, 0));
    this.clipped(border, width, () => context.drawImage(this.sides[1], 0, 0));
    for (const line of lines) this.trace(line);
    if (pixel !== null) this.cross(pixel);
    if (split !== null) this.divider(split * canvas.width, contrast);
  }

  clipped(from, to, draw) {
    if (to <= from) return;
    this.context.save();
    this.context.beginPath();
    this.context.rect(from, 0, to - from, this.explanation.size[0]);
    this.context.clip();
    draw();
    this.context.restore();
  }

  // The borders of `labels`, or of those that `only` accepts: `over` on a wider line of `under`.
  trace({ key, labels, only, under, over, width }) {
    const path = this.once(key, () => borders(labels, this.explanation.size, only));
    const unit = (window.devicePixelRatio || 1) / this.scale;
    this.context.lineCap = "square";
    for (const [colour, extra] of [[under, 2], [over, 0]]) {
      if (!colour) continue;
      this.context.strokeStyle = colour;
      this.context.lineWidth = (width + extra) * unit;
      this.context.stroke(path);
    }
  }

  cross(pixel) {
    const width = this.explanation.size[1];
    const [x, y] = [pixel % width, Math.floor(pixel / width)];
    const unit = (window.devicePixelRatio || 1) / this.scale;
    const room = Math.max(0, 4 * unit - 0.5);
    for (const [colour, line] of [["#000", 4], ["#fff", 2]]) {
      this.context.strokeStyle = colour;
      this.context.lineWidth = line * unit;
      this.context.strokeRect(x - room, y - room, 1 + 2 * room, 1 + 2 * room);
    }
  }

  divider(x) {
    const { context, canvas } = this;
    const ratio = window.devicePixelRatio || 1;
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(x - 2 * ratio, 0, 4 * ratio, canvas.height);
    context.fillStyle = "#fff";
    context.fillRect(x - ratio, 0, 2 * ratio, canvas.height);
    context.beginPath();
    context.arc(x, canvas.height / 2, 11 * ratio, 0, 2 * Math.PI);
    context.fill();
    context.strokeStyle = "#000";
    context.lineWidth = 1.5 * ratio;
    context.stroke();
    context.beginPath();
    for (const side of [-1, 1]) {
      context.moveTo(x + side * 3 * ratio, canvas.height / 2 - 4 * ratio);
      context.lineTo(x + side * 7 * ratio, canvas.height / 2);
      context.lineTo(x + side * 3 * ratio, canvas.height / 2 + 4 * ratio);
    }
    context.stroke();
  }

  once(key, make) {
    if (!this.paths.has(key)) this.paths.set(key, make());
    return this.paths.get(key);
  }
}

function layer(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

function greyed(picture, width, height) {
  const canvas = layer(width, height);
  const context = canvas.getContext("2d");
  context.drawImage(picture, 0, 0, width, height);
  const image = context.getImageData(0, 0, width, height);
  for (let at = 0; at < image.data.length; at += 4) {
    const [red, green, blue] = image.data.subarray(at, at + 3);
    const grey = 255 * DIM.base + DIM.gain * (0.299 * red + 0.587 * green + 0.114 * blue);
    image.data.fill(grey, at, at + 3);
  }
  context.putImageData(image, 0, 0);
  return canvas;
}

// The lines between pixels of different labels; with `only`, around the labels that it accepts.
function borders(labels, [height, width], only) {
  const path = new Path2D();
  const differ = (a, b) => {
    if (only === undefined) return labels[a] !== labels[b];
    return labels[a] !== labels[b] && (only(labels[a]) || only(labels[b]));
  };
  const outer = (pixel) => only !== undefined && only(labels[pixel]);
  const segment = (x0, y0, x1, y1) => {
    path.moveTo(x0, y0);
    path.lineTo(x1, y1);
  };
  for (let y = 0, pixel = 0; y < height; y++) {
    for (let x = 0; x < width; x++, pixel++) {
      if (x + 1 === width ? outer(pixel) : differ(pixel, pixel + 1)) segment(x + 1, y, x + 1, y + 1);
      if (y + 1 === height ? outer(pixel) : differ(pixel, pixel + width)) segment(x, y + 1, x + 1, y + 1);
      if (x === 0 && outer(pixel)) segment(0, y, 0, y + 1);
      if (y === 0 && outer(pixel)) segment(x, 0, x + 1, 0);
    }
  }
  return path;
}
