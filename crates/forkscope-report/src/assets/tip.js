// The card that shows both distributions at one position.

const tip = $("tip");

function topList(ids, logprobs, row) {
  const list = element("ol");
  for (let slot = row * listed; slot < (row + 1) * listed; slot++) {
    if (ids[slot] === 0) continue;
    const item = element("li");
    const bar = element("i");
    const p = Math.exp(logprobs[slot]);
    bar.style.width = `${Number.isNaN(p) ? 0 : Math.min(p, 1) * 100}%`;
    const word = element("span", "word", tokenText(ids[slot]));
    if (ids[slot] === col.token[row]) word.classList.add("taken");
    item.append(bar, word, element("span", "", percent(logprobs[slot])));
    list.append(item);
  }
  return list;
}

function policy(name, entropy, ids, logprobs, row) {
  const side = element("div");
  const title = element("h4", "", name);
  title.append(element("span", "", `H ${fixed(entropy[row])}`));
  side.append(title, topList(ids, logprobs, row));
  return side;
}

function facts(row) {
  const out = [
    ["KL(tuned ‖ base)", fixed(col.kl[row])],
    ["KL(base ‖ tuned)", fixed(col.kl_rev[row])],
    ["JS", fixed(col.js[row])],
    ["TV", fixed(col.tv[row])],
    ["p base", percent(col.lp_base[row])],
    ["p tuned", percent(col.lp_tuned[row])],
    ["rank base", whole(col.rank_base[row])],
    ["rank tuned", whole(col.rank_tuned[row])],
    ["Δ ln p", fixed(col.delta[row])],
    ["base rank of tuned top", whole(col.argmax_rank[row])],
    ["class", CLASSES[col.class[row]]],
  ];
  if (col.validity[row] !== 0) out.push(["validity", VALIDITY[col.validity[row]] ?? "unknown"]);
  return out;
}

function fillTip(row) {
  const head = element("p", "head");
  head.append(
    element("span", "piece", tokenText(col.token[row])),
    element("span", "", `t ${whole(col.t[row])} · id ${tokenId(col.token[row])}`),
  );
  const pair = element("div", "pair");
  pair.append(
    policy("base", col.h_base, col.base_ids, col.base_lps, row),
    policy("tuned", col.h_tuned, col.tuned_ids, col.tuned_lps, row),
  );
  const list = element("dl");
  for (const [name, text] of facts(row)) list.append(element("dt", "", name), element("dd", "", text));
  tip.replaceChildren(head, pair, list);
}

let tipToken = null;

function showTip(token) {
  tipToken = token;
  fillTip(token.row);
  tip.hidden = false;
  placeTip();
}

// Below the token, or above it where there is no room.
function placeTip() {
  const at = tipToken.getClientRects()[0] ?? tipToken.getBoundingClientRect();
  const width = tip.offsetWidth, height = tip.offsetHeight;
  const left = Math.max(8, Math.min(at.left - 24, innerWidth - width - 8));
  const below = at.bottom + 8;
  const top = below + height < innerHeight ? below : Math.max(8, at.top - height - 8);
  tip.style.left = `${left}px`;
  tip.style.top = `${top}px`;
}

function hideTip() {
  tip.hidden = true;
}

// The card stays at its token while the page or the text moves under it.
for (const event of ["scroll", "resize"]) {
  addEventListener(event, () => { if (!tip.hidden) requestAnimationFrame(placeTip); }, { capture: true, passive: true });
}
