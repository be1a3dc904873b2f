// One rollout as coloured text. Tokens are made in blocks that the browser
// lays out only when they come into view; the first blocks at once, the rest
// while the page is idle.

const heat = $("heat");

const view = { rollout: -1, metric: METRICS[0], tokens: [], block: null, current: null };

function showRollout(index) {
  hideTip();
  view.rollout = index;
  view.tokens = [];
  view.block = null;
  view.current = null;
  heat.replaceChildren();
  heat.scrollTop = 0;
  const rollout = rollouts[index];
  if (rollout.prompt !== null) heat.append(promptBlock(prompts[rollout.prompt]));
  buildTokens(2048);
  idleBuild(index);
}

function promptBlock(ids) {
  const block = element("div", "block");
  for (const id of ids) block.append(element("span", "prompt", pieceOf(id)));
  return block;
}

function pieceOf(index) {
  return breaksLine.has(index) ? `${vocab[index]}\n` : vocab[index];
}

// Makes tokens until there are `count` of them or the rollout ends.
function buildTokens(count) {
  const { start, len } = rollouts[view.rollout];
  const until = Math.min(count, len);
  for (let n = view.tokens.length; n < until; n++) {
    const row = start + n;
    const size = view.block ? view.block.childElementCount : Infinity;
    // Blocks end at a line's end where there is one, so that they add no break.
    if (size >= 1024 || (size >= 256 && breaksLine.has(col.token[row - 1]))) {
      view.block = element("div", "block");
      heat.append(view.block);
    }
    const token = element("span", tokenClass(row), pieceOf(col.token[row]));
    token.row = row;
    token.tabIndex = n === 0 ? 0 : -1;
    if (n === 0) view.current = token;
    view.block.append(token);
    view.tokens.push(token);
  }
}

function idleBuild(index) {
  if (view.rollout !== index || view.tokens.length >= rollouts[index].len) return;
  setTimeout(() => {
    if (view.rollout !== index) return;
    buildTokens(view.tokens.length + 2048);
    idleBuild(index);
  }, 0);
}

function tokenClass(row) {
  const bad = col.validity[row] > 1 ? " bad" : "";
  return `tok c${col.class[row]} h${levelOf(view.metric, row)}${bad}`;
}

function recolour(metric) {
  view.metric = metric;
  for (const token of view.tokens) token.className = tokenClass(token.row);
  drawLegend(metric);
}

function focusToken(n) {
  const last = rollouts[view.rollout].len - 1;
  const place = Math.max(0, Math.min(n, last));
  buildTokens(place + 1);
  const token = view.tokens[place];
  if (!token) return;
  if (view.current) view.current.tabIndex = -1;
  view.current = token;
  token.tabIndex = 0;
  token.focus();
}

function nextChanged(from, step) {
  const { start, len } = rollouts[view.rollout];
  for (let n = from + step; n >= 0 && n < len; n += step) {
    if (col.class[start + n] !== 0) return n;
  }
  return from;
}

// The token nearest in the line above or below.
function lineStep(from, step) {
  const here = view.tokens[from].getBoundingClientRect();
  let best = from, bestGap = Infinity, line = null;
  for (let n = from + step; n >= 0 && n < view.tokens.length && Math.abs(n - from) < 2000; n += step) {
    const at = view.tokens[n].getBoundingClientRect();
    if (Math.abs(at.top - here.top) < 4) continue;
    line ??= at.top;
    if (Math.abs(at.top - line) > 4) break;
    const gap = Math.abs(at.left - here.left);
    if (gap < bestGap) [best, bestGap] = [n, gap];
  }
  return best;
}

heat.addEventListener("keydown", (event) => {
  if (event.key === "Escape") return hideTip();
  if (!view.current || event.ctrlKey || event.metaKey || event.altKey) return;
  const from = view.current.row - rollouts[view.rollout].start;
  const moves = {
    ArrowRight: () => from + 1,
    ArrowLeft: () => from - 1,
    ArrowDown: () => lineStep(from, 1),
    ArrowUp: () => lineStep(from, -1),
    Home: () => 0,
    End: () => Infinity,
    n: () => nextChanged(from, 1),
    p: () => nextChanged(from, -1),
  };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  focusToken(move());
});

heat.addEventListener("focusin", (event) => {
  if (event.target.row === undefined) return;
  event.target.setAttribute("aria-describedby", "tip");
  showTip(event.target);
});
heat.addEventListener("focusout", (event) => {
  event.target.removeAttribute("aria-describedby");
  hideTip();
});
heat.addEventListener("mouseover", (event) => {
  if (event.target.row !== undefined) showTip(event.target);
});
heat.addEventListener("mouseleave", hideTip);
heat.addEventListener("click", (event) => {
  if (event.target.row !== undefined) focusToken(event.target.row - rollouts[view.rollout].start);
});
addEventListener("beforeprint", () => buildTokens(Infinity));
