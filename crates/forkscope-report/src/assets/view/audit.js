// Reversions and evaluation awareness.

function plainTable(names, rows, className = "wide") {
  const box = element("div", className);
  const table = element("table");
  const head = element("tr");
  for (const [name, kind] of names) {
    const th = element("th", kind, name);
    th.scope = "col";
    head.append(th);
  }
  const thead = element("thead");
  thead.append(head);
  const body = element("tbody");
  for (const cells of rows) {
    const row = element("tr");
    cells.forEach((text, i) => row.append(element("td", names[i][1], text)));
    body.append(row);
  }
  table.append(thead, body);
  box.append(table);
  return box;
}

function reversionsPage(host, params) {
  host.append(element("h1", "", "Reversions"));
  host.append(element("p", "note prose", "What it takes to turn the behaviour, as the share of attempts that still stand at a price. Attempts that did not turn stand to the end; those without a statement are left out and counted."));
  const curves = element("div", "figures");
  const table = element("div");
  host.append(curves, table);
  ask("curves").then(({ figures, groups }) => {
    if (!host.isConnected) return;
    curves.append(...figures.map(figureOf));
    const names = [["direction", ""], ["method", ""], ["control", ""], ["attempts", "num"], ["turned", "num"], ["left out", "num"], ["median price", "num"], ["cap", "num"], ["unit", ""]];
    table.append(plainTable(names, groups.map((g) => [
      g.direction, spaced(g.method), g.control === "none" ? "–" : spaced(g.control), whole(g.n), whole(g.reached), whole(g.left_out),
      g.median === null ? "not reached" : plain(g.median), plain(g.cap), g.unit,
    ])));
    for (const m of new Set(groups.map((g) => g.method))) {
      const option = element("option", "", spaced(m));
      option.value = m;
      method.append(option);
    }
    method.value = route().params.method ?? "";
  }).catch((error) => complain(curves, error));
  const bar = element("div", "bar filters");
  const change = (some) => go("reversions", { ...route().params, ...some }, true);
  const filtered = (some) => change({ ...some, offset: undefined });
  const search = searchBox(params.problem, "part of its id");
  const method = choice([["", "any"]]);
  bar.append(
    element("h2", "", "Weakest links"),
    field("Problem", search, (v) => filtered({ problem: v })),
    field("Direction", choice([["", "any"], ["undo", "undo"], ["induce", "induce"]], params.direction), (v) => filtered({ direction: v })),
    field("Method", method, (v) => filtered({ method: v })),
    field("Controls", choice([["", "without"], ["all", "with"]], params.control), (v) => filtered({ control: v })),
  );
  host.append(bar);
  const listing = new Listing(host, {
    label: "attempts",
    columns: [
      { name: "problem", className: () => "text", cell: (r) => r.problem },
      { name: "sample", numeric: true, cell: (r) => whole(r.sample) },
      { name: "direction", cell: (r) => r.direction },
      { name: "method", cell: (r) => spaced(r.method) + (r.control === "none" ? "" : `, control ${spaced(r.control)}`) },
      { name: "price", numeric: true, cell: (r) => (r.price === null ? spaced(r.status) : plain(r.price)) },
      { name: "unit", cell: (r) => r.unit },
      { name: "KL spent", numeric: true, title: "sum of −ln p of the forced tokens under the tuned policy, nats", cell: (r) => fixed(r.kl_nats, 3) },
      { name: "forced", numeric: true, title: "forced positions", cell: (r) => whole(r.positions) },
    ],
    change,
    open: (row) => go("reversion", { row: row.row }),
  });
  const note = element("p", "note", "Ordered by method, then by price, then by KL.");
  host.append(note);
  async function update(params) {
    try {
      const page = await ask("links", { ...params, limit: listing.limit });
      if (host.isConnected) listing.fill({ ...page, sort: "", order: "" });
    } catch (error) {
      complain(note, error);
    }
  }
  update(params);
  return { update, key: (key) => listing.key(key), search };
}

const TURNED = ["did not turn", "turned", "undecided"];

function reversionPage(host, params) {
  const nav = element("p", "crumbs");
  nav.append(link("← Reversions", "reversions", lastRoute));
  const title = element("h1", "", "Reversion");
  const body = element("div");
  host.append(nav, title, body);
  let strip = null;
  ask("reversion", { row: params.row }).then((r) => {
    if (host.isConnected) strip = reversionBody(title, body, r);
  }).catch((error) => complain(body, error));
  return {
    key(key) {
      if (key !== "t" || !strip) return false;
      strip.focus(strip.current);
      return true;
    },
    up: () => go("reversions", lastRoute),
  };
}

function reversionBody(title, body, r) {
  title.textContent = `Problem ${r.problem}, sample ${r.sample}`;
  const line = element("p", "badges");
  line.append(badge(r.direction), badge(spaced(r.method) + (r.control === "none" ? "" : `, control: ${spaced(r.control)}`)));
  line.append(r.price === null ? badge(spaced(r.status)) : badge(`price ${plain(r.price)} ${r.unit}`, "bad"));
  if (r.behaviour !== null) line.append(badge(r.behaviour ? "behaviour shown" : "behaviour not shown"));
  line.append(badge(`ended by ${r.finish}`));
  if (r.validity !== "ok") line.append(badge(spaced(r.validity)));
  body.append(line);
  const said = [plural(r.tries, "completion was", "completions were") + " generated to find this"];
  if (r.kl_nats !== null) said.push(`KL spent ${fixed(r.kl_nats, 3)} nats`);
  said.push(`cap ${plain(r.cap)} ${r.unit}`);
  body.append(element("p", "note", said.join(" · ")));
  promptPart(body, r.words, r.prompt, r.prompt_len);
  const forced = new Map(r.forced.map((f) => [f.t, f]));
  const at = (i) => i + r.prompt_len;
  const strip = new Strip(body, {
    words: r.words,
    tokens: r.tokens,
    label: "Completion: arrow keys move, n and p jump between forced tokens",
    look: (i) => (forced.has(at(i)) ? "touched changed" : ""),
    marked: (i) => forced.has(at(i)),
    describe: (i) => {
      const head = cardHead(r.words, r.tokens[i], `t ${whole(at(i))} · id ${r.words.ids[r.tokens[i]]}`);
      const f = forced.get(at(i));
      if (!f) return [head];
      const donor = element("p", "said", "the donor's token: ");
      donor.append(element("span", "piece", alone(r.words, f.donor)));
      return [head, donor, cardFacts([["margin, nats", fixed(f.margin, 3)], ["JS, nats", fixed(f.js)]])];
    },
  });
  if (r.levels.length > 0) {
    body.append(element("h2", "", "Prices tried"));
    body.append(plainTable([[r.unit, "num"], ["what became of it", ""]], r.levels.map(([price, turned]) => [plain(price), TURNED[turned]]), "wide fit"));
  }
  return strip;
}

function awarenessPage(host) {
  host.append(element("h1", "", "Evaluation awareness"));
  const body = element("div");
  host.append(body);
  ask("awareness").then(({ figures, rows }) => {
    if (!host.isConnected) return;
    const grid = element("div", "figures");
    grid.append(...figures.map(figureOf));
    body.append(grid);
    if (figures.length + rows.length === 0) body.append(element("p", "note", "The table has no rows."));
    if (rows.length === 0) return;
    const names = [["policy", ""], ["probe", ""], ["tokens", ""], ["held out", ""], ["tested on", ""], ["layer", "num"], ["AUROC", "num"], ["interval", "num"], ["items", "num"], ["sources", "num"], ["p", "num"], ["p over layers", "num"]];
    body.append(element("h2", "", "Layers chosen inside the training folds"));
    body.append(plainTable(names, rows.map((r) => [
      r.policy, spaced(r.probe), r.pooling, spaced(r.split), r.test_format || "all", r.selection === "none" ? "–" : whole(r.layer), fixed(r.auroc, 3),
      r.low === null ? "–" : `${fixed(r.low, 3)} – ${fixed(r.high, 3)}`, whole(r.n), whole(r.n_groups), fixed(r.p_value, 4), fixed(r.p_max, 4),
    ])));
  }).catch((error) => complain(body, error));
  return {};
}
