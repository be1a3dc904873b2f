// The data block: typed arrays by column, token texts by index. Every text in
// it was made visible before it was written; here it only ever becomes
// textContent.

function bytesOf(base64) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(base64);
  const binary = atob(base64);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}

function columnOf({ type, data }) {
  const bytes = bytesOf(data);
  const { buffer, byteOffset, length } = bytes;
  switch (type) {
    case "u8": return bytes;
    case "u16": return new Uint16Array(buffer, byteOffset, length / 2);
    case "u32": return new Uint32Array(buffer, byteOffset, length / 4);
    default: return new Float32Array(buffer, byteOffset, length / 4);
  }
}

const payload = JSON.parse($("data").textContent);
$("data").textContent = "";

const rowCount = payload.rows;
const listed = payload.k;
const vocab = payload.vocab;
const rollouts = payload.rollouts;
const breaksLine = new Set(payload.breaks);
const tokenIds = columnOf(payload.ids);
const col = {};
for (const [name, column] of Object.entries(payload.columns)) {
  col[name] = columnOf(column);
  column.data = null;
}
const prompts = payload.prompts.map(columnOf);
const CLASSES = ["unshifted", "reranked", "shifted"];
const VALIDITY = ["ok", "truncated", "empty", "context exceeded", "tokenizer mismatch", "non-finite"];

const rolloutOf = new Uint32Array(rowCount);
rollouts.forEach((r, i) => rolloutOf.fill(i, r.start, r.start + r.len));

// Spaces are drawn where a token stands by itself.
function tokenText(index) {
  return index === 0 ? "–" : vocab[index].replaceAll(" ", "␣");
}

function tokenId(index) {
  return index === 0 ? undefined : tokenIds[index - 1];
}

function fixed(v, digits = 4) {
  if (Number.isNaN(v)) return "–";
  if (v === Infinity) return "∞";
  if (v === -Infinity) return "−∞";
  const a = Math.abs(v);
  if (a !== 0 && a < 0.5 * 10 ** -digits) return v.toExponential(1).replaceAll("-", "−");
  return (a >= 1e6 ? v.toExponential(3) : v.toFixed(digits)).replaceAll("-", "−");
}

function whole(n) {
  return n.toLocaleString("en-US");
}

function percent(logprob) {
  if (Number.isNaN(logprob)) return "";
  const p = Math.exp(logprob) * 100;
  if (p > 0 && p < 0.01) return p.toExponential(1).replaceAll("-", "−") + " %";
  // Never "100 %" for what is merely close to it.
  return p.toFixed(p > 99.99 && logprob < 0 ? 4 : 2) + " %";
}
