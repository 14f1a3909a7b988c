// @ts-check
// Colour maps of 33 colours each, taken from matplotlib and interpolated in between. Inferno, cividis and
// viridis (sequential) and Crameri's berlin (diverging) are perceptually uniform and distinct for
// colour-blind readers, as does ColorBrewer's RdBu.

const COLOURS = {
  inferno: "0000040403120b0724150b37210c4a2f0a5b3d09654a0c6b57106e64156e71196e7d1e6d8a226a972766a32c61b0315bbc3754c73e4cd24644db503be45a31eb6628f1731df68013f98e09fb9d07fcac11fbbc21f9cb35f5db4cf2ea69f3f68afcffa4",
  cividis: "00224e00285b002e6a0533711a386f273e6e32436d3b496c434e6c4b546c535a6d5a5f6e61656f686a716f70737676767d7c788482798c8878938e789b9476a39a74aba072b4a76fbcae6cc4b468cdbb63d5c25edec958e7d150f0d846f9e03afee838",
  viridis: "440154470d6048186a482374472d7b4537814240863e49893b528b375b8d33638d2f6b8e2c728e297a8e26828e23898e21918c1f988b1fa08822a78528ae8032b67a3fbc734ec36b5ec96270cf5784d44b98d83eaddc30c2df23d8e219ece51bfde725",
  berlin: "9eb0ff8caef679abed65a7e2519fd34194c13685ad2e76992868862259731d4b61183d4f14303e11242e111a20121214190c09220c022b0e013510004112014d16025b1d086c27117d341e8e422e9e513fae6051be6f63ce7f76df8f89f09f9cffadad",
  RdBu: "0530610e41791752901f63a82a71b23480b93f8ec0529dc86bacd184bcd99bc9e0aed3e6c2ddecd4e6f1e0ecf3ecf2f5f7f6f6f9eee7fbe5d8fddcc9fbccb4f8bb9ef5aa89ee9677e48066db6b55d05548c53e3dba2832ab162a930e267c072267001f",
};
/** @type {(keyof typeof COLOURS)[]} */
const SEQUENTIAL = ["inferno", "cividis", "viridis"];
/** @type {(keyof typeof COLOURS)[]} */
const DIVERGING = ["berlin", "RdBu"];
const QUANTILE = 0.98; // a few peaks must not turn all other pixels black
const NEGLIGIBLE = 0.01; // negative values below this share of the limit get no half of the colours
const BINS = 4096;
const [OCTAVES, STEPS] = [64, 32]; // of magnitudes below the largest, where nearly all are small
const CROWDED = 0.9; // of the mass, above the quantile: the colours would show little else
const PEAK = 0.25; // of the mass: one such pixel does not set the scale
const HALF = 0.5;

/** @param {keyof typeof COLOURS} name */
function colourTable(name) {
  const parts = (COLOURS[name].match(/../g) ?? []).map((part) => parseInt(part, 16));
  const last = parts.length / 3 - 1;
  const table = new Uint8Array(3 * 256);
  for (let step = 0; step < 256; step++) {
    const place = (step / 255) * last;
    const left = Math.min(Math.floor(place), last - 1);
    for (let channel = 0; channel < 3; channel++) {
      const [from, to] = [parts[3 * left + channel], parts[3 * left + 3 + channel]];
      table[3 * step + channel] = Math.round(from + (place - left) * (to - from));
    }
  }
  return table;
}

// One scale for all maps, from 0 or symmetric about 0: up to the joint 98 % quantile of their magnitudes. Where
// nearly all mass lies above it, up to the level above which half of the mass lies, single peaks left out.
/** @param {Float64Array[]} maps @param {boolean} [signed] @returns {Limits} */
function colourLimits(maps, signed) {
  const [lowest, highest] = bounds(maps.flatMap((map) => bounds(map)));
  const largest = Math.max(highest, -lowest);
  if (!largest) return { low: 0, high: 1, largest: 0, peaks: 0 };
  const linear = histogram(maps, BINS, (size) => Math.min(Math.floor((BINS * (largest - size)) / largest), BINS));
  let found = quantile(linear, (bin) => largest * (1 - bin / BINS));
  if (found.mass > CROWDED * linear.whole || found.high < 0.02 * largest) {
    /** @param {number} bin */
    const level = (bin) => largest * 2 ** (-bin / STEPS);
    const fine = histogram(maps, OCTAVES * STEPS, (size) => Math.min(Math.floor(-STEPS * Math.log2(size / largest)), OCTAVES * STEPS));
    found = quantile(fine, level);
    if (found.mass > CROWDED * fine.whole) found = crowdedLimit(fine, level);
  }
  const both = signed ?? lowest < -NEGLIGIBLE * found.high;
  return { peaks: 0, ...found, low: both ? -found.high : 0, largest };
}

// The level above which there are 2 % of all magnitudes, and the mass above it.
/** @param {Histogram} found @param {(bin: number) => number} level @returns {Level} */
function quantile({ counts, masses }, level) {
  const enough = (1 - QUANTILE) * sum(counts);
  let [bin, above, mass] = [0, 0, 0];
  for (; above + counts[bin] <= enough; bin++) {
    above += counts[bin];
    mass += masses[bin];
  }
  return { high: level(bin), mass };
}

/** @param {Histogram} found @param {(bin: number) => number} level @returns {Level} */
function crowdedLimit({ counts, masses, whole }, level) {
  let [first, peaks, left] = [0, 0, whole];
  while (first + 1 < counts.length && (counts[first] === 0 || masses[first] / counts[first] > PEAK * whole)) {
    peaks += counts[first];
    left -= masses[first];
    first += 1;
  }
  let bin = first;
  for (let seen = masses[bin]; seen < HALF * left && bin + 1 < counts.length; seen += masses[bin]) bin += 1;
  return { high: level(bin), mass: 0, peaks, kept: 1 - left / whole };
}

// How many magnitudes, and how much of their sum, there is in each bin, from the largest down.
/** @param {Float64Array[]} maps @param {number} bins @param {(size: number) => number} binOf @returns {Histogram} */
function histogram(maps, bins, binOf) {
  const [counts, masses] = [new Float64Array(bins + 1), new Float64Array(bins + 1)];
  for (const map of maps) {
    for (let pixel = 0; pixel < map.length; pixel++) {
      const size = map[pixel] < 0 ? -map[pixel] : map[pixel];
      const bin = size > 0 ? binOf(size) : bins;
      counts[bin] += 1;
      masses[bin] += size;
    }
  }
  return { counts, masses, whole: sum(masses) };
}

// Paint values on an ImageData; `opacity` is a number in [0, 1], or { most } to grow with the magnitude.
/** @param {Float64Array} values @param {Limits} limits @param {Uint8Array} table @param {Opacity} opacity @param {ImageData} image */
function paint(values, { low, high }, table, opacity, image) {
  const data = image.data;
  const scale = 255 / (high - low);
  const steady = typeof opacity === "number" ? Math.round(255 * opacity) : null;
  const most = typeof opacity === "number" ? opacity : opacity.most;
  for (let pixel = 0, at = 0; pixel < values.length; pixel++, at += 4) {
    const value = values[pixel];
    const step = Math.min(Math.max(Math.round((value - low) * scale), 0), 255);
    data[at] = table[3 * step];
    data[at + 1] = table[3 * step + 1];
    data[at + 2] = table[3 * step + 2];
    data[at + 3] = steady ?? Math.min(Math.abs(value) / high, 1) * most * 255;
  }
}
