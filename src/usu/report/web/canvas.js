// @ts-check
// The picture: photographs with their maps, whole, divided by a split, or side by side, at any zoom.
// Places are shares of what is shown, 0 to 1, so that two pictures of different sizes move together. That is the
// network's input or, where it is known, the whole photograph, in which the input is a box.

const DIM = { base: 0.1, gain: 0.6 }; // the photograph in grey, so dark that every colour is the map's
const MOST_ZOOM = 32;
const GAP = 0.02; // between two pictures, of their height
const NARROW = 560; // a frame of fewer screen pixels has wide pictures one above the other
const INPUT = { left: 0, top: 0, width: 1, height: 1 };
const LOUPE = { radius: 0.2, power: 4 };
/** @type {[string, number][]} */
const RIM = [["#000", 4], ["#fff", 2]]; // colours and widths of a line that shows on any ground
/** @type {[string, number][]} */
const FRAME = [["#000", 5], ["#fff", 3]];

class Stage {
  /** @param {HTMLElement} frame @param {HTMLCanvasElement} canvas */
  constructor(frame, canvas) {
    this.frame = frame;
    this.canvas = canvas;
    /** @type {Layout} */
    this.layout = "one";
    this.fitted = this.stacked = false;
    this.zoom = 1;
    this.left = this.top = 0; // of the visible part
    /** @type {StageSide[]} */
    this.sides = [];
    /** @type {Map<string, Path2D>} */
    this.paths = new Map();
  }

  whole() {
    this.zoom = 1;
    this.left = this.top = 0;
  }

  // Show explanations: 0 at the left of a split, 1 at its right.
  /** @param {Explanation[]} explanations */
  take(explanations) {
    this.sides = explanations.map((explanation) => ({
      explanation,
      layer: layer(explanation.size[1], explanation.size[0]),
      ground: groundOf(explanation, false),
    }));
    this.paths = new Map();
    this.fitted = false;
  }

  // Show whole photographs, or the inputs alone.
  /** @param {boolean} whole */
  ground(whole) {
    this.fitted = false;
    for (const one of this.sides) one.ground = groundOf(one.explanation, whole);
  }

  // Shares of the input as shares of what is shown, and back.
  /** @param {Place} place @param {Box} [box] */
  outward({ x, y }, { left, top, width, height } = this.sides[1].ground.box) {
    return { x: left + x * width, y: top + y * height };
  }

  /** @param {Place} place @param {Box} [box] */
  inward({ x, y }, { left, top, width, height } = this.sides[1].ground.box) {
    return { x: (x - left) / width, y: (y - top) / height };
  }

  /** @param {Layout} layout */
  arrange(layout) {
    if (this.layout !== layout) this.fitted = false;
    this.layout = layout;
  }

  // The pictures' places on a canvas, from their proportions, in units of the canvas' width.
  /** @returns {(Rectangle & { side: Side })[]} */
  places() {
    const ratios = this.sides.map(({ ground: { size: [height, width] } }) => width / height);
    if (this.layout !== "beside") return [{ side: 1, x: 0, y: 0, width: 1, height: 1 / ratios[1] }];
    if (this.stacked) {
      const heights = ratios.map((ratio) => 1 / ratio);
      const gap = GAP * heights[1];
      return heights.map((height, side) => ({ side: sideOf(side), x: 0, y: side ? heights[0] + gap : 0, width: 1, height }));
    }
    const height = 1 / (ratios[0] + ratios[1] + GAP);
    return ratios.map((ratio, side) => ({ side: sideOf(side), x: side ? (ratios[0] + GAP) * height : 0, y: 0, width: ratio * height, height }));
  }

  get proportion() {
    const places = this.places();
    return 1 / Math.max(...places.map(({ y, height }) => y + height));
  }

  // Reading the width makes the browser lay out the page: only where it may have changed.
  fit() {
    if (this.fitted) return;
    this.fitted = true;
    const room = /** @type {HTMLElement} */ (this.frame.parentElement);
    const [height, width] = this.sides[1].ground.size;
    this.stacked = room.clientWidth < NARROW && width > 0.8 * height;
    room.style.setProperty("--ratio", String(this.proportion)); // for the frame and the split's slider
    const ratio = window.devicePixelRatio || 1;
    const wide = Math.max(1, Math.round(this.frame.clientWidth * ratio));
    const high = Math.max(1, Math.round(wide / this.proportion));
    if (this.canvas.width !== wide || this.canvas.height !== high) [this.canvas.width, this.canvas.height] = [wide, high];
  }

  // Which side is under a pointer and where in its picture, or null.
  /** @param {MouseEvent} event */
  placeAt(event) {
    const box = this.canvas.getBoundingClientRect();
    const [x, y] = [(event.clientX - box.left) / box.width, (event.clientY - box.top) / box.width];
    for (const place of this.places()) {
      const [right, down] = [(x - place.x) / place.width, (y - place.y) / place.height];
      if (right < 0 || down < 0 || right >= 1 || down >= 1) continue;
      const { width, height } = scaled(place, box.width);
      return { x: this.left + right / this.zoom, y: this.top + down / this.zoom, width, height };
    }
    return null;
  }

  // Zoom by a factor; the given place stays where it is.
  /** @param {number} factor @param {Place} place */
  zoomBy(factor, { x, y }) {
    const zoom = Math.min(Math.max(this.zoom * factor, 1), MOST_ZOOM);
    const keep = this.zoom / zoom;
    this.zoom = zoom;
    this.moveTo(x - (x - this.left) * keep, y - (y - this.top) * keep);
  }

  /** @param {number} left @param {number} top */
  moveTo(left, top) {
    this.left = Math.min(Math.max(left, 0), 1 - 1 / this.zoom);
    this.top = Math.min(Math.max(top, 0), 1 - 1 / this.zoom);
  }

  /** @param {Place} place */
  reveal({ x, y }) {
    const seen = 1 / this.zoom;
    const outside = x < this.left || y < this.top || x > this.left + seen || y > this.top + seen;
    if (outside) this.moveTo(x - seen / 2, y - seen / 2);
  }

  /** @param {Side} side @param {Float64Array} values @param {Limits} limits @param {Uint8Array} table @param {Opacity} opacity */
  show(side, values, limits, table, opacity) {
    const { explanation, layer: target } = this.sides[side];
    const [height, width] = explanation.size;
    const context = contextOf(target);
    const image = context.createImageData(width, height);
    paint(values, limits, table, opacity, image);
    context.putImageData(image, 0, 0);
  }

  /** @param {Scene} scene */
  draw(scene) {
    this.fit();
    this.render(this.canvas, window.devicePixelRatio || 1, scene);
  }

  // The same picture on a canvas of another size.
  /** @param {number} width @param {Scene} scene */
  exported(width, scene) {
    const canvas = layer(width, Math.round(width / this.proportion));
    const ratio = window.devicePixelRatio || 1;
    this.render(canvas, (width * ratio) / this.canvas.width, scene);
    return canvas;
  }

  // `lines(side)` are as `trace` takes them; `cursor` and `loupe` are places or null; `unit` is a line's width.
  /** @param {HTMLCanvasElement} canvas @param {number} unit @param {Scene} scene */
  render(canvas, unit, { split, inColour, lines, cursor, loupe }) {
    const context = contextOf(canvas);
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.clearRect(0, 0, canvas.width, canvas.height);
    const part = this.layout === "split" ? split : 0;
    const view = { zoom: this.zoom, left: this.left, top: this.top };
    for (const place of this.places()) {
      const box = scaled(place, canvas.width);
      /** @type {[Side, number, number][]} */
      const sides = this.layout === "split" ? [[0, 0, part], [1, part, 1]] : [[place.side, 0, 1]];
      /** @param {PaneView} shown */
      const all = (shown) => {
        for (const [side, from, to] of sides) {
          const clip = { ...box, x: box.x + from * box.width, width: (to - from) * box.width };
          if (to > from) this.pane(context, this.sides[side], { box, clip, unit, inColour, lines: lines(side), ...shown });
        }
      };
      all({ view, cursor });
      if (this.layout === "split") divider(context, box, part, unit);
      if (loupe) this.magnify(context, box, unit, loupe, all);
    }
  }

  /** @param {CanvasRenderingContext2D} context @param {StageSide} side @param {Pane} pane */
  pane(context, { explanation, layer: map, ground }, { box, clip, view, unit, inColour, lines, cursor }) {
    const [high, wide] = [box.height * view.zoom, box.width * view.zoom];
    const [left, top] = [box.x - view.left * wide, box.y - view.top * high];
    const [height, width] = explanation.size;
    const input = ground.box;
    const scale = (input.width * wide) / width;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.rect(clip.x, clip.y, clip.width, clip.height);
    context.clip();
    context.imageSmoothingEnabled = true;
    context.drawImage(inColour || !ground.grey ? ground.picture : ground.grey, left, top, wide, high);
    context.setTransform(scale, 0, 0, (input.height * high) / height, left + input.left * wide, top + input.top * high);
    context.imageSmoothingEnabled = false;
    context.drawImage(map, 0, 0);
    for (const line of lines) this.trace(context, line, explanation, unit / scale);
    if (cursor) {
      const { x, y } = this.inward(cursor, input);
      cross(context, Math.floor(x * width), Math.floor(y * height), unit / scale);
    }
    if (input !== INPUT) unseen(context, explanation.size, unit / scale);
    context.restore();
  }

  // A round glass over a place, which enlarges what is around it.
  /** @param {CanvasRenderingContext2D} context @param {Rectangle} box @param {number} unit @param {Place} place @param {(shown: PaneView) => void} all */
  magnify(context, box, unit, { x, y }, all) {
    const radius = LOUPE.radius * Math.min(box.width, box.height);
    const [right, down] = [(x - this.left) * this.zoom, (y - this.top) * this.zoom];
    /** @type {[number, number]} */
    const centre = [box.x + right * box.width, box.y + down * box.height];
    const zoom = this.zoom * LOUPE.power;
    context.save();
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.beginPath();
    context.arc(...centre, radius, 0, 2 * Math.PI);
    context.clip();
    all({ view: { zoom, left: x - right / zoom, top: y - down / zoom }, cursor: null });
    context.restore();
    context.setTransform(1, 0, 0, 1, 0, 0);
    for (const [colour, line] of RIM) {
      context.strokeStyle = colour;
      context.lineWidth = line * unit;
      context.beginPath();
      context.arc(...centre, radius, 0, 2 * Math.PI);
      context.stroke();
    }
  }

  // The borders of `labels`, or of those that `only` accepts: `over` on a wider line of `under`.
  /** @param {CanvasRenderingContext2D} context @param {Line} line @param {Explanation} explanation @param {number} unit */
  trace(context, { key, path, labels, only, under, over, width }, { size }, unit) {
    const line = path ?? this.once(key ?? "", () => borders(labels ?? new Uint8Array(0), size, only));
    context.lineCap = "square";
    for (const [colour, extra] of /** @type {const} */ ([[under, 2], [over, 0]])) {
      context.strokeStyle = colour;
      context.lineWidth = (width + extra) * unit;
      context.stroke(line);
    }
  }

  /** @param {string} key @param {() => Path2D} make @returns {Path2D} */
  once(key, make) {
    const found = this.paths.get(key) ?? make();
    this.paths.set(key, found);
    return found;
  }
}

/** @param {number} number @returns {Side} */
const sideOf = (number) => (number ? 1 : 0);

/** @param {Explanation} explanation @param {boolean} whole @returns {Ground} */
function groundOf(explanation, whole) {
  const { picture, size } = explanation;
  const ground = (whole && explanation.whole) || (explanation.ground ??= { picture, size, box: INPUT });
  ground.grey ??= greyed(ground.picture);
  return ground;
}

/** @param {Rectangle} place @param {number} unit @returns {Rectangle} */
function scaled({ x, y, width, height }, unit) {
  return { x: x * unit, y: y * unit, width: width * unit, height: height * unit };
}

/** @param {CanvasRenderingContext2D} context @param {number} x @param {number} y @param {number} unit */
function cross(context, x, y, unit) {
  const room = Math.max(0, 4 * unit - 0.5);
  for (const [colour, line] of RIM) {
    context.strokeStyle = colour;
    context.lineWidth = line * unit;
    context.strokeRect(x - room, y - room, 1 + 2 * room, 1 + 2 * room);
  }
}

// Stripes over what the network did not see, and a frame around what it saw.
/** @param {CanvasRenderingContext2D} context @param {Size} size @param {number} unit */
function unseen(context, [height, width], unit) {
  const far = 50 * (width + height);
  context.save();
  context.beginPath();
  context.rect(-far, -far, 2 * far, 2 * far);
  context.rect(0, 0, width, height);
  context.clip("evenodd");
  context.beginPath();
  const reach = 4 * Math.max(width, height);
  for (let at = -reach; at < 2 * reach; at += 9 * unit) {
    context.moveTo(at, -reach);
    context.lineTo(at - 3 * reach, 2 * reach);
  }
  context.strokeStyle = "#fff9";
  context.lineWidth = unit;
  context.stroke();
  context.restore();
  for (const [colour, line] of FRAME) {
    context.strokeStyle = colour;
    context.lineWidth = line * unit;
    context.strokeRect(0, 0, width, height);
  }
}

/** @param {CanvasRenderingContext2D} context @param {Rectangle} box @param {number} split @param {number} unit */
function divider(context, box, split, unit) {
  const [x, middle] = [box.x + split * box.width, box.y + box.height / 2];
  context.setTransform(1, 0, 0, 1, 0, 0);
  context.fillStyle = "#000";
  context.fillRect(x - 2 * unit, box.y, 4 * unit, box.height);
  context.fillStyle = "#fff";
  context.fillRect(x - unit, box.y, 2 * unit, box.height);
  context.beginPath();
  context.arc(x, middle, 11 * unit, 0, 2 * Math.PI);
  context.fill();
  context.strokeStyle = "#000";
  context.lineWidth = 1.5 * unit;
  context.stroke();
  context.beginPath();
  for (const side of [-1, 1]) {
    context.moveTo(x + side * 3 * unit, middle - 4 * unit);
    context.lineTo(x + side * 7 * unit, middle);
    context.lineTo(x + side * 3 * unit, middle + 4 * unit);
  }
  context.stroke();
}

/** @param {number} width @param {number} height */
function layer(width, height) {
  const canvas = document.createElement("canvas");
  canvas.width = width;
  canvas.height = height;
  return canvas;
}

/** @param {HTMLCanvasElement} canvas */
function contextOf(canvas) {
  return /** @type {CanvasRenderingContext2D} */ (canvas.getContext("2d"));
}

/** @param {Picture} picture */
function greyed(picture) {
  const [width, height] = picture instanceof HTMLImageElement ? [picture.naturalWidth, picture.naturalHeight] : [picture.width, picture.height];
  const canvas = layer(width, height);
  const context = contextOf(canvas);
  context.drawImage(picture, 0, 0);
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
/** @param {Labels} labels @param {Size} size @param {(label: number) => boolean} [only] */
function borders(labels, [height, width], only) {
  const path = new Path2D();
  /** @param {number} a @param {number} b */
  const differ = (a, b) => {
    if (only === undefined) return labels[a] !== labels[b];
    return labels[a] !== labels[b] && (only(labels[a]) || only(labels[b]));
  };
  /** @param {number} pixel */
  const outer = (pixel) => only !== undefined && only(labels[pixel]);
  /** @param {number} x0 @param {number} y0 @param {number} x1 @param {number} y1 */
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
