// How numbers are written. The server sends null for what is undefined and
// "inf" or "-inf" for what is infinite.

function numberOf(v) {
  if (v === null || v === undefined) return NaN;
  if (v === "inf") return Infinity;
  if (v === "-inf") return -Infinity;
  return v;
}

function fixed(given, digits = 4) {
  const v = numberOf(given);
  if (Number.isNaN(v)) return "–";
  if (v === Infinity) return "∞";
  if (v === -Infinity) return "−∞";
  const a = Math.abs(v);
  if (a !== 0 && a < 0.5 * 10 ** -digits) return v.toExponential(1).replaceAll("-", "−");
  return (a >= 1e6 ? v.toExponential(3) : v.toFixed(digits)).replaceAll("-", "−");
}

// As many digits as it takes, six at most: 3 tokens, 0.125 of alpha.
function plain(given) {
  const v = numberOf(given);
  return Number.isFinite(v) ? String(Number(v.toPrecision(6))).replaceAll("-", "−") : fixed(v);
}

function whole(n) {
  return n === null || n === undefined ? "–" : n.toLocaleString("en-US");
}

// Never "100 %" for what is merely close to it.
function share(given) {
  const v = numberOf(given);
  if (Number.isNaN(v)) return "–";
  const p = v * 100;
  if (p > 0 && p < 0.01) return p.toExponential(1).replaceAll("-", "−") + " %";
  return p.toFixed(p > 99.99 && p < 100 ? 4 : 2) + " %";
}

function chance(logprob) {
  const v = numberOf(logprob);
  return Number.isNaN(v) ? "" : share(Math.exp(v));
}

function plural(n, one, many = `${one}s`) {
  return `${whole(n)} ${n === 1 ? one : many}`;
}

function yesNo(v, yes = "yes", no = "no") {
  return v === true ? yes : v === false ? no : "–";
}

function spaced(word) {
  return word.replaceAll("_", " ");
}
