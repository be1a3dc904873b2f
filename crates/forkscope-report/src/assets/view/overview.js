// What the run is, and its findings.

function factRows(run) {
  const out = [["command", run.command], ["status", run.status]];
  for (const group of ["settings", "seeds", "digests", "versions", "notes"]) {
    for (const [name, value] of Object.entries(run[group] ?? {})) {
      if (value === null || value === "") continue;
      const text = typeof value === "string" ? value : JSON.stringify(value);
      out.push([group === "settings" || group === "notes" ? spaced(name) : `${group.slice(0, -1)}: ${spaced(name)}`, text]);
    }
  }
  return out;
}

function badge(text, kind = "") {
  return element("span", `badge ${kind}`.trim(), text);
}

function overviewPage(host, params, run) {
  const title = element("h1", "", run.name || "Run");
  const line = element("p", "badges");
  line.append(badge(run.run.command), badge(run.run.status, run.run.status === "complete" ? "good" : "bad"), badge(plural(run.findings.length, "finding")));
  host.append(title, line);
  const ways = element("div", "ways");
  for (const [page, name, said] of PAGES.slice(1)) {
    if (!run.has[page]) continue;
    const way = link(name, page);
    way.append(element("span", "", said));
    ways.append(way);
  }
  host.append(ways);
  findingsPart(host, params, run);
  const figures = element("section");
  host.append(figures);
  figuresPart(figures);
  const facts = element("details", "settings");
  facts.append(element("summary", "", "Settings, seeds and digests"));
  const table = element("table", "facts");
  for (const [name, text] of factRows(run.run)) {
    const row = element("tr");
    row.append(element("td", "", name), element("td", "", text));
    table.append(row);
  }
  facts.append(table);
  host.append(facts);
}

async function figuresPart(host) {
  try {
    const { figures } = await ask("figures");
    if (figures.length === 0) return;
    const grid = element("div", "figures");
    grid.append(...figures.map(figureOf));
    host.append(element("h2", "", "Figures"), grid);
  } catch (error) {
    complain(host, error);
  }
}

function findingsPart(host, params, run) {
  if (run.findings.length === 0) {
    host.append(element("p", "note", "This run has no findings."));
    return;
  }
  const bar = element("div", "bar");
  const search = searchBox(params.find, "name or definition");
  const count = element("span", "note");
  count.setAttribute("role", "status");
  bar.append(element("h2", "", "Findings"), field("Find", search, (find) => { draw(find); go("", { find }, true); }), count);
  const box = element("div", "wide");
  const table = element("table", "findings");
  const head = element("tr");
  for (const [name, kind] of [["finding", ""], ["value", "num"], ["interval", "num"], ["of", "num"], ["problems", "num"], ["left out", "num"]]) {
    const th = element("th", kind, name);
    th.scope = "col";
    head.append(th);
  }
  const thead = element("thead");
  thead.append(head);
  const body = element("tbody");
  table.append(thead, body);
  box.append(table);
  host.append(bar, box);
  function draw(find) {
    const part = (find ?? "").toLowerCase();
    const kept = run.findings.filter((f) => `${f.id} ${f.definition} ${f.label ?? ""}`.toLowerCase().includes(part));
    body.replaceChildren(...kept.map(findingRow));
    count.textContent = `${whole(kept.length)} of ${whole(run.findings.length)}`;
  }
  draw(params.find);
}

function findingRow(f) {
  const row = element("tr");
  const name = element("td");
  const more = element("details");
  const summary = element("summary");
  summary.append(element("code", "", f.id));
  if (f.label) summary.append(" ", element("span", "piece", f.label));
  const list = element("dl", "more");
  const limits = Object.entries(f.thresholds).map(([n, v]) => `${n} = ${typeof v === "string" ? v : JSON.stringify(v)}`).join(", ");
  for (const [term, text] of [["definition", f.definition], ["method", f.method], ["level", f.level], ["thresholds", limits]]) {
    if (text) list.append(element("dt", "", term), element("dd", "", text));
  }
  more.append(summary, list);
  name.append(more);
  row.append(name, ...[f.value, f.range, f.n, f.n_clusters, f.n_invalid].map((text) => element("td", "num", text)));
  return row;
}
