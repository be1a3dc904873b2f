// Puts the pieces together: controls, the list of rollouts, the heat-map and
// the table of positions.

const FINISH = ["eos", "stop", "length", "context", "unknown"];

function sums() {
  return rollouts.map(({ start, len }) => {
    const of = { changed: 0, shifted: 0, max: NaN, total: 0, mean: {} };
    for (let row = start; row < start + len; row++) {
      if (col.class[row] > 0) of.changed++;
      if (col.class[row] > 1) of.shifted++;
      const kl = col.kl[row];
      if (!Number.isNaN(kl)) of.total += kl;
      if (!(kl <= of.max) && !Number.isNaN(kl)) of.max = kl;
    }
    for (const metric of METRICS) of.mean[metric.id] = meanOf(metric, start, len);
    return of;
  });
}

// Mean over the positions where the metric is defined.
function meanOf(metric, start, len) {
  let sum = 0, n = 0;
  for (let row = start; row < start + len; row++) {
    const v = metric.at(row);
    if (Number.isNaN(v)) continue;
    sum += v;
    n++;
  }
  return n === 0 ? NaN : sum / n;
}

function number(id, name, key, title, digits = 4) {
  return { id, name, title, numeric: true, key, text: (i) => fixed(key(i), digits) };
}

function count(id, name, key, title) {
  return { id, name, title, numeric: true, key, text: (i) => whole(key(i)) };
}

function rolloutColumns(of) {
  const grade = (i) => (rollouts[i].correct === null ? NaN : Number(rollouts[i].correct));
  const mean = (id, name) => number(`mean_${id}`, name, (i) => of[i].mean[id], "mean over the rollout's positions");
  return [
    { id: "problem", name: "problem", key: (i) => i, text: (i) => rollouts[i].problem, className: "text" },
    count("sample", "sample", (i) => rollouts[i].sample),
    { id: "correct", name: "correct", key: grade, text: (i) => ({ 1: "yes", 0: "no" })[grade(i)] ?? "–" },
    { id: "finish", name: "finish", key: (i) => FINISH.indexOf(rollouts[i].finish), text: (i) => rollouts[i].finish ?? "–" },
    count("tokens", "positions", (i) => rollouts[i].len),
    count("changed", "changed", (i) => of[i].changed, "positions whose most probable token differs"),
    count("shifted", "shifted", (i) => of[i].shifted),
    number("sum_kl", "Σ KL", (i) => of[i].total, "sum of KL(tuned ‖ base), nats"),
    number("max_kl", "max KL", (i) => of[i].max, "largest KL(tuned ‖ base), nats"),
    mean("kl", "mean KL"), mean("js", "mean JS"), mean("tv", "mean TV"),
    mean("h_base", "mean H base"), mean("h_tuned", "mean H tuned"), mean("delta", "mean |Δ ln p|"),
  ];
}

// Place of each token in alphabetical order, made when first needed.
let alphabet = null;
function alphabetical(index) {
  if (!alphabet) {
    const order = vocab.map((_, i) => i).sort((a, b) => (vocab[a] < vocab[b] ? -1 : vocab[a] > vocab[b] ? 1 : a - b));
    alphabet = new Uint32Array(vocab.length);
    order.forEach((i, place) => { alphabet[i] = place; });
  }
  return alphabet[index];
}

function positionColumns() {
  const token = (id, name, at, title) => ({
    id, name, title, className: "text", key: (i) => alphabetical(at(i)), text: (i) => tokenText(at(i)),
  });
  return [
    { id: "problem", name: "problem", key: (i) => rolloutOf[i], text: (i) => rollouts[rolloutOf[i]].problem, className: "text" },
    count("sample", "sample", (i) => rollouts[rolloutOf[i]].sample),
    count("t", "t", (i) => col.t[i], "index of the token in the rollout's ids"),
    token("token", "token", (i) => col.token[i]),
    token("base", "base top", (i) => col.base_ids[i * listed], "the base's most probable token"),
    token("tuned", "tuned top", (i) => col.tuned_ids[i * listed], "the tuned policy's most probable token"),
    { id: "class", name: "class", largestFirst: true, key: (i) => col.class[i], text: (i) => CLASSES[col.class[i]] },
    number("kl", "KL t‖b", (i) => col.kl[i], "KL(tuned ‖ base), nats"),
    number("kl_rev", "KL b‖t", (i) => col.kl_rev[i], "KL(base ‖ tuned), nats"),
    number("js", "JS", (i) => col.js[i], "Jensen–Shannon divergence, nats"),
    number("tv", "TV", (i) => col.tv[i], "total variation"),
    number("h_base", "H base", (i) => col.h_base[i], "entropy of the base, nats"),
    number("h_tuned", "H tuned", (i) => col.h_tuned[i], "entropy of the tuned policy, nats"),
    number("delta", "Δ ln p", (i) => col.delta[i], "ln p tuned − ln p base of the token"),
    number("abs_delta", "|Δ ln p|", (i) => Math.abs(col.delta[i])),
    count("rank_base", "rank base", (i) => col.rank_base[i], "rank of the token under the base"),
    count("rank_tuned", "rank tuned", (i) => col.rank_tuned[i], "rank of the token under the tuned policy"),
    count("argmax_rank", "top's base rank", (i) => col.argmax_rank[i], "rank under the base of the tuned policy's most probable token"),
  ];
}

function wanted(row) {
  const filter = $("filter").value;
  const kind = col.class[row];
  return filter === "all" || (filter === "changed" ? kind > 0 : CLASSES[kind] === filter);
}

function describe(index) {
  const { problem, sample, len, correct, finish, validity } = rollouts[index];
  $("heat-title").textContent = `Problem ${problem}, sample ${sample}`;
  const parts = [`${whole(len)} positions`];
  if (correct !== null) parts.push(correct ? "answer correct" : "answer wrong");
  if (finish) parts.push(`ended by ${finish}`);
  if (validity && validity !== "ok") parts.push(`validity: ${validity.replaceAll("_", " ")}`);
  if (rollouts[index].prompt !== null) parts.push("prompt in grey");
  $("heat-note").textContent = `${parts.join(" · ")}. Keys: arrows move, n and p jump between changed tokens, Escape closes the card; in it the recorded token is underlined.`;
}

function start() {
  const of = sums();
  const rolloutGrid = new Grid($("rollouts"), { label: "Rollouts", most: 8, columns: rolloutColumns(of), sortBy: "sum_kl", open: openRollout });
  const positionGrid = new Grid($("positions"), { label: "Positions", most: 15, columns: positionColumns(), sortBy: "kl", open: openPosition });

  function openRollout(index) {
    showRollout(index);
    describe(index);
    if ($("scope").value === "one") listPositions();
  }

  function openPosition(row) {
    const index = rolloutOf[row];
    if (view.rollout !== index) {
      openRollout(index);
      rolloutGrid.mark(index);
    }
    $("heat-title").scrollIntoView({ block: "start" });
    focusToken(row - rollouts[index].start);
  }

  function listPositions() {
    const one = $("scope").value === "one" ? rollouts[view.rollout] : { start: 0, len: rowCount };
    const rows = [];
    for (let row = one.start; row < one.start + one.len; row++) if (wanted(row)) rows.push(row);
    $("positions-count").textContent = `${whole(rows.length)} positions`;
    positionGrid.setRows(Uint32Array.from(rows));
  }

  function step(by) {
    const place = rolloutGrid.active < 0 ? 0 : rolloutGrid.active + by;
    rolloutGrid.select(place);
    openRollout(rolloutGrid.order[rolloutGrid.active]);
  }

  for (const metric of METRICS) {
    const option = element("option", "", metric.name);
    option.value = metric.id;
    $("metric").append(option);
  }
  $("metric").addEventListener("change", () => recolour(METRICS.find((m) => m.id === $("metric").value)));
  $("filter").addEventListener("change", () => {
    heat.dataset.filter = $("filter").value;
    listPositions();
  });
  $("scope").addEventListener("change", listPositions);
  $("previous").addEventListener("click", () => step(-1));
  $("next").addEventListener("click", () => step(1));

  $("tool").hidden = false;
  drawLegend(view.metric);
  rolloutGrid.setRows(Uint32Array.from(rollouts.keys()));
  rolloutGrid.select(0);
  openRollout(rolloutGrid.order[0]);
  listPositions();
}

if (rowCount > 0) start();
