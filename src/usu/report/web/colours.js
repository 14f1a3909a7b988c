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
const SEQUENTIAL = ["inferno", "cividis", "viridis"];
const DIVERGING = ["berlin", "RdBu"];
const QUANTILE = 0.98; // a few peaks must not turn all other pixels black
const NEGLIGIBLE = 0.01; // negative values below this share of the limit get no half of the colours
const BINS = 4096;

function colourTable(name) {
  const parts = COLOURS[name].match(/../g).map((part) => parseInt(part, 16));
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

// One scale for all maps: up to their joint quantile, from 0, or symmetric about 0.
function colourLimits(maps) {
  let [lowest, highest, count] = [0, 0, 0];
  for (const map of maps) {
    count += map.length;
    for (let pixel = 0; pixel < map.length; pixel++) {
      if (map[pixel] < lowest) lowest = map[pixel];
      if (map[pixel] > highest) highest = map[pixel];
    }
  }
  const largest = Math.max(highest, -lowest);
  if (largest === 0) return { low: 0, high: 1, largest };
  const bins = new Uint32Array(BINS + 1);
  const unit = BINS / largest;
  for (const map of maps) {
    for (let pixel = 0; pixel < map.length; pixel++) bins[Math.min(Math.floor(Math.abs(map[pixel]) * unit), BINS)] += 1;
  }
  let bin = 0;
  for (let seen = bins[0]; seen < QUANTILE * count; seen += bins[bin]) bin += 1;
  const high = Math.min(((bin + 1) / BINS) * largest, largest);
  return { low: lowest < -NEGLIGIBLE * high ? -high : 0, high, largest };
}

// Paint values on an ImageData; `opacity` is a number in [0, 1], or { most } to grow with the magnitude.
function paint(values, { low, high }, table, opacity, image) {
  const data = image.data;
  const scale = 255 / (high - low);
  const steady = typeof opacity === "number" ? Math.round(255 * opacity) : null;
  for (let pixel = 0, at = 0; pixel < values.length; pixel++, at += 4) {
    const value = values[pixel];
    const step = Math.min(Math.max(Math.round((value - low) * scale), 0), 255);
    data[at] = table[3 * step];
    data[at + 1] = table[3 * step + 1];
    data[at + 2] = table[3 * step + 2];
    data[at + 3] = steady ?? Math.min(Math.abs(value) / high, 1) * opacity.most * 255;
  }
}
