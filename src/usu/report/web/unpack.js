// @ts-check
// Arrays as `usu.report.packing` wrote them: base64 of zlib, little-endian.

const KINDS = {
  uint8: Uint8Array,
  uint16: Uint16Array,
  int32: Int32Array,
  float32: Float32Array,
  float64: Float64Array,
};

/** @param {Packed} packed @returns {Promise<Numeric>} */
async function unpack({ kind, zlib }) {
  const bytes = Uint8Array.from(atob(zlib), (character) => character.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new KINDS[kind](await new Response(stream).arrayBuffer());
}

/** @param {string} address @returns {Promise<HTMLImageElement>} */
function loadPicture(address) {
  return new Promise((resolve, reject) => {
    const picture = new Image();
    picture.onload = () => resolve(picture);
    picture.onerror = () => reject(new Error("the photograph cannot be read"));
    picture.src = address;
  });
}
