// The list of rollouts.

const CORRECT = [["", "any"], ["yes", "correct"], ["no", "wrong"], ["unknown", "not graded"]];
const CLASS = [["", "any"], ["changed", "changed"], ["reranked", "reranked"], ["shifted", "shifted"], ["unshifted", "unshifted"]];
const VALIDITIES = ["ok", "truncated", "empty", "context_exceeded", "tokenizer_mismatch", "non_finite"];

// The rows of the list as last shown, for stepping from rollout to rollout.
let lastList = [];

function showProgress(index) {
  const done = index.rows_total > 0 ? index.rows / index.rows_total : index.rollouts / Math.max(1, index.rollouts_total);
  const place = $("indexing");
  if (index.error) place.textContent = `index stopped: ${index.error}`;
  else place.textContent = index.whole ? "" : `indexing ${Math.floor(done * 100)} %`;
  return index.whole || Boolean(index.error);
}

function metricText(metric, value) {
  if (metric.kind === "count") return whole(value);
  return metric.kind === "share" ? share(value) : fixed(value);
}

function ended(row) {
  return row.validity === "ok" || (row.validity === "truncated" && row.finish === "length") ? row.finish : `${row.finish}, ${spaced(row.validity)}`;
}

function rolloutColumns(metrics) {
  const fixedOnes = [
    { name: "problem", sort: "problem", className: () => "text", cell: (r) => r.problem },
    { name: "sample", sort: "sample", numeric: true, cell: (r) => whole(r.sample) },
    { name: "correct", sort: "correct", cell: (r) => yesNo(r.correct), className: (r) => (r.correct === null ? "" : r.correct ? "good" : "bad") },
    { name: "ended by", sort: "finish", cell: ended },
    { name: "tokens", sort: "tokens", numeric: true, title: "completion tokens", cell: (r) => whole(r.tokens) },
  ];
  return fixedOnes.concat(metrics.map((m, i) => ({
    name: m.name, title: m.title, sort: m.id, numeric: true, cell: (r) => metricText(m, r.numbers[i]),
  })));
}

function rolloutsPage(host, params) {
  host.append(element("h1", "", "Rollouts"));
  const bar = element("div", "bar filters");
  host.append(bar);
  const change = (some) => go("rollouts", { ...route().params, ...some }, true);
  const filtered = (some) => change({ ...some, offset: undefined });
  const search = searchBox(params.problem, "part of its id");
  const classes = field("Has class", choice(CLASS, params.class), (v) => filtered({ class: v }));
  classes.hidden = true;
  const valid = [["", "any"], ...VALIDITIES.map((v) => [v, spaced(v)])];
  bar.append(
    field("Problem", search, (v) => filtered({ problem: v })),
    field("Answer", choice(CORRECT, params.correct), (v) => filtered({ correct: v })),
    field("Validity", choice(valid, params.validity), (v) => filtered({ validity: v })),
    classes,
  );
  const ranges = new Ranges(bar, filtered);
  const listing = new Listing(host, {
    label: "rollouts", columns: rolloutColumns([]), change,
    open: (row) => go("rollout", { n: row.n }),
  });
  const note = element("p", "note");
  host.append(note);
  let asked = 0, again = 0;
  async function update(params) {
    const mine = ++asked;
    clearTimeout(again);
    try {
      const sort = params.sort ?? "file", order = params.order ?? "up";
      const page = await ask("rollouts", { ...params, limit: listing.limit });
      if (mine !== asked || !host.isConnected) return;
      classes.hidden = page.kind !== "diff";
      listing.setColumns(rolloutColumns(page.metrics));
      listing.fill({ ...page, sort, order });
      lastList = page.rows.map((row) => row.n);
      ranges.draw(page.metrics, params);
      note.textContent = page.settled ? "" : "The index is being built: order and selection may still change.";
      const done = showProgress(page.index);
      if (!done) again = setTimeout(() => update(route().params), page.settled ? 1000 : 700);
    } catch (error) {
      if (mine === asked) complain(note, error);
    }
  }
  update(params);
  return {
    update,
    key: (key) => listing.key(key),
    search,
    leave: () => { asked++; clearTimeout(again); },
  };
}

// Ranges of metrics: one editor, a chip for each that is set.
class Ranges {
  constructor(bar, changed) {
    this.changed = changed;
    this.metric = choice([]);
    this.low = element("input", "bound");
    this.high = element("input", "bound");
    this.set = element("button", "", "Set range");
    this.set.type = "button";
    this.chips = element("span", "chips");
    for (const [input, name] of [[this.low, "at least"], [this.high, "at most"]]) {
      input.inputMode = "decimal";
      input.placeholder = name;
      input.setAttribute("aria-label", name);
      input.addEventListener("keydown", (event) => { if (event.key === "Enter") this.apply(); });
    }
    this.metric.setAttribute("aria-label", "metric of the range");
    this.set.addEventListener("click", () => this.apply());
    const label = element("span", "range", "Range ");
    label.append(this.metric, this.low, this.high, this.set);
    bar.append(label, this.chips);
  }

  draw(metrics, params) {
    const options = [{ id: "tokens", name: "tokens" }, ...metrics];
    const known = options.map((m) => m.id).join();
    if (this.known !== known) {
      this.known = known;
      this.metric.replaceChildren(...options.map((m) => {
        const option = element("option", "", m.name);
        option.value = m.id;
        return option;
      }));
    }
    this.names = Object.fromEntries(options.map((m) => [m.id, m.name]));
    this.chips.replaceChildren();
    for (const [side, sign] of [["min", "≥"], ["max", "≤"]]) {
      for (const given of [params[side] ?? []].flat()) {
        const [id, bound] = given.split(":");
        const chip = element("button", "chip", `${this.names[id] ?? id} ${sign} ${bound} ×`);
        chip.type = "button";
        chip.title = "remove";
        chip.addEventListener("click", () => this.changed({ [side]: [route().params[side]].flat().filter((one) => one !== given) }));
        this.chips.append(chip);
      }
    }
  }

  apply() {
    const some = {};
    for (const [side, input] of [["min", this.low], ["max", this.high]]) {
      const text = input.value.trim();
      if (text === "") continue;
      const wrong = Number.isNaN(Number(text));
      input.setAttribute("aria-invalid", wrong);
      if (wrong) return;
      const others = [route().params[side] ?? []].flat().filter((one) => !one.startsWith(`${this.metric.value}:`));
      some[side] = [...others, `${this.metric.value}:${Number(text)}`];
      input.value = "";
    }
    if (Object.keys(some).length > 0) this.changed(some);
  }
}
