// One rollout: its tokens, coloured by what the policies thought.

const CLASSES = ["unshifted", "reranked", "shifted"];
const CLASS_LEVEL = [0, 3, 7];
const ENTROPY_STEPS = [0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3];
const KL_STEPS = [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3];
const LOSS_STEPS = [0.01, 0.03, 0.1, 0.3, 1, 2, 4, 8];

// The steps are fixed numbers: the same colour means the same value in every
// run, and in the report.
const METRICS = {
  diff: [
    { id: "kl", name: "KL(tuned ‖ base)", unit: "nats", steps: KL_STEPS },
    { id: "js", name: "Jensen–Shannon", unit: "nats", steps: [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4] },
    { id: "tv", name: "total variation", unit: "", steps: [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8] },
    { id: "h_base", name: "base entropy", unit: "nats", steps: ENTROPY_STEPS },
    { id: "h_tuned", name: "tuned entropy", unit: "nats", steps: ENTROPY_STEPS },
    { id: "delta", name: "|Δ ln p| of the token", unit: "nats", steps: LOSS_STEPS, sign: true },
    { id: "kl_rev", name: "KL(base ‖ tuned)", unit: "nats", steps: KL_STEPS },
    { id: "class", name: "class", unit: "" },
  ],
  score: [
    { id: "h", name: "entropy", unit: "nats", steps: ENTROPY_STEPS },
    { id: "lp", name: "−ln p of the token", unit: "nats", steps: LOSS_STEPS, sign: true },
    { id: "rank", name: "rank of the token", unit: "", steps: [2, 3, 4, 6, 11, 21, 51, 101] },
  ],
  plain: [{ id: "lp", name: "−ln p of the token", unit: "nats", steps: LOSS_STEPS, sign: true }],
};

function levelOf(metric, given) {
  if (!metric.steps) return CLASS_LEVEL[given] ?? 0;
  const v = metric.sign ? Math.abs(numberOf(given)) : numberOf(given);
  if (Number.isNaN(v)) return "x";
  let level = 0;
  while (level < metric.steps.length && v >= metric.steps[level]) level++;
  return level;
}

function drawLegend(legend, metric) {
  const step = (className, text) => {
    const item = element("li", className);
    item.append(element("span", "", text));
    return item;
  };
  const items = metric.steps
    ? [step("s0", `< ${metric.steps[0]}`), ...metric.steps.map((s, i) => step(`s${i + 1}`, `≥ ${s}`))]
    : CLASSES.map((name, i) => step(`s${CLASS_LEVEL[i]}`, name));
  if (metric.unit) items.push(step("unit", metric.unit));
  legend.replaceChildren(...items);
}

function outcomeBadges(r) {
  const line = element("p", "badges");
  if (r.correct !== null && r.correct !== undefined) line.append(badge(r.correct ? "correct" : "wrong", r.correct ? "good" : "bad"));
  line.append(badge(`ended by ${r.finish}`));
  if (r.validity !== "ok") line.append(badge(spaced(r.validity), r.validity === "truncated" ? "" : "bad"));
  return line;
}

function promptPart(host, words, prompt, length) {
  if (!prompt || prompt.length === 0) return;
  const more = element("details", "prompt");
  more.append(element("summary", "", `Prompt, ${plural(length ?? prompt.length, "token")}`));
  const breaks = new Set(words.breaks);
  const text = prompt.map((w) => words.texts[w] + (breaks.has(w) ? "\n" : "")).join("");
  more.append(element("div", "heat quiet", text));
  host.append(more);
}

function diffCard(r, i) {
  const { rows, words } = r;
  const pair = element("div", "pair");
  pair.append(
    alternatives("base", `H ${fixed(rows.h_base[i], 3)}`, rows.base[i], words, rows.token[i]),
    alternatives("tuned", `H ${fixed(rows.h_tuned[i], 3)}`, rows.tuned[i], words, rows.token[i]),
  );
  const facts = [
    ["KL(tuned ‖ base)", fixed(rows.kl[i])], ["KL(base ‖ tuned)", fixed(rows.kl_rev[i])],
    ["JS", fixed(rows.js[i])], ["TV", fixed(rows.tv[i])],
    ["ln p base", fixed(rows.lp_base[i], 3)], ["ln p tuned", fixed(rows.lp_tuned[i], 3)],
    ["rank base", whole(rows.rank_base[i])], ["rank tuned", whole(rows.rank_tuned[i])],
    ["Δ ln p", fixed(rows.delta[i])], ["base rank of tuned top", whole(rows.argmax_rank[i])],
    ["class", CLASSES[rows.class[i]]], ["validity", spaced(rows.validity[i])],
  ];
  return [pair, cardFacts(facts)];
}

function scoreCard(r, i) {
  const { rows, words } = r;
  const facts = [["ln p", fixed(rows.lp[i], 3)], ["rank", whole(rows.rank[i])], ["entropy", fixed(rows.h[i])], ["validity", spaced(rows.validity[i])]];
  return [alternatives("most probable", `H ${fixed(rows.h[i], 3)}`, rows.top[i], words, rows.token[i]), cardFacts(facts)];
}

function tokenCard(r, i) {
  const word = r.rows.token[i];
  const head = cardHead(r.words, word, `t ${whole(r.rows.t[i])} · id ${r.words.ids[word]}`);
  if (r.kind === "diff") return [head, ...diffCard(r, i)];
  if (r.kind === "score") return [head, ...scoreCard(r, i)];
  return r.rows.lp ? [head, cardFacts([["ln p", fixed(r.rows.lp[i], 3)], ["p", chance(r.rows.lp[i])]])] : [head];
}

// Tokens worth jumping to: changed ones, or those that are not the top.
function isMarked(r, i) {
  if (r.kind === "diff") return r.rows.class[i] > 0;
  return r.kind === "score" ? r.rows.rank[i] > 1 : false;
}

function rolloutPage(host, params) {
  const n = Number(params.n ?? 0);
  const title = element("h1", "", "Rollout");
  const badges = element("div");
  const body = element("div");
  const nav = element("p", "crumbs");
  nav.append(link("← Rollouts", "rollouts", lastRoute));
  host.append(nav, title, badges, body);
  let strip = null, shown = null;
  const step = (by) => {
    const place = lastList.indexOf(n);
    const next = place >= 0 ? lastList[place + by] : n + by;
    if (next !== undefined && next >= 0) go("rollout", { ...route().params, n: next, from: undefined }, true);
  };
  const turn = (by) => {
    if (!shown) return;
    const from = shown.from + by * shown.size;
    if (from >= 0 && from < shown.total) go("rollout", { ...route().params, from: from || undefined }, true);
  };
  async function show(params) {
    try {
      const r = await ask("rollout", { n, from: params.from });
      if (!host.isConnected) return;
      title.textContent = `Problem ${r.problem}, sample ${r.sample}`;
      badges.replaceChildren(outcomeBadges(r));
      shown = { from: r.from, total: r.total, size: 2000 };
      strip = rolloutBody(body, r, params, { step, turn });
    } catch (error) {
      complain(body, error);
    }
  }
  show(params);
  return {
    key(key) {
      if (key === "j") step(1);
      else if (key === "k") step(-1);
      else if (key === "h") turn(-1);
      else if (key === "l") turn(1);
      else if (key === "t" && strip) strip.focus(strip.current);
      else return false;
      return true;
    },
    up: () => go("rollouts", lastRoute),
  };
}

function rolloutBody(body, r, params, { step, turn }) {
  const metrics = METRICS[r.kind].filter((m) => r.rows[m.id]);
  let metric = metrics.find((m) => m.id === params.metric) ?? metrics[0];
  const bar = element("div", "bar heat-bar");
  const legend = element("ul", "legend");
  legend.setAttribute("aria-label", "Colour scale");
  const parts = [];
  if (metrics.length > 0) {
    const select = choice(metrics.map((m) => [m.id, m.name]), metric.id);
    select.id = "metric";
    select.addEventListener("change", () => {
      metric = metrics.find((m) => m.id === select.value);
      history.replaceState(null, "", addressOf("rollout", { ...route().params, metric: metric.id }));
      drawLegend(legend, metric);
      strip.recolour();
    });
    const label = element("label", "", "Colour by ");
    label.append(select);
    drawLegend(legend, metric);
    parts.push(label, legend);
  }
  const buttons = element("span", "buttons");
  for (const [name, by] of [["‹ Previous rollout", -1], ["Next rollout ›", 1]]) {
    const button = element("button", "", name);
    button.type = "button";
    button.addEventListener("click", () => step(by));
    buttons.append(button);
  }
  bar.append(...parts, buttons);
  body.replaceChildren(bar);
  promptPart(body, r.words, r.prompt, r.prompt_len);
  const strip = new Strip(body, {
    words: r.words,
    tokens: r.rows.token,
    label: "Tokens: arrow keys move, n and p jump between changed tokens",
    look: (i) => {
      const bad = r.rows.validity && !["ok", "truncated"].includes(r.rows.validity[i]) ? " bad" : "";
      const level = metric ? levelOf(metric, r.rows[metric.id][i]) : 0;
      return `c${r.rows.class?.[i] ?? 0} h${level}${bad}`;
    },
    marked: (i) => isMarked(r, i),
    describe: (i) => tokenCard(r, i),
  });
  if (r.text !== null) body.append(element("h2", "", "Text"), element("div", "heat quiet", r.text));
  const last = r.from + r.rows.token.length;
  const marks = r.rows.token.filter((_, i) => isMarked(r, i)).length;
  const said = [r.total === 0 ? "no positions" : `positions ${whole(r.from + 1)} – ${whole(last)} of ${whole(r.total)}`];
  if (r.kind === "diff") said.push(`${whole(marks)} changed`);
  if (r.kind === "score") said.push(`${whole(marks)} not the most probable`);
  said.push("point at a token, or press t and move with the arrow keys");
  body.append(element("p", "note", said.join(" · ")));
  if (r.total > r.rows.token.length) {
    const pages = element("div", "bar");
    for (const [name, by, off] of [["‹ Earlier", -1, r.from === 0], ["Later ›", 1, last >= r.total]]) {
      const button = element("button", "", name);
      button.type = "button";
      button.disabled = off;
      button.addEventListener("click", () => turn(by));
      pages.append(button);
    }
    body.append(pages);
  }
  return strip;
}
