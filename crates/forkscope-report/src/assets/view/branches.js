// Interventions: arms, their rows, and both paths of one row.

const CHANGES = {
  correct: { gained: "wrong → right", lost: "right → wrong", kept: "right both", missed: "wrong both", unknown: "not graded" },
  behaviour: { gained: "now shown", lost: "no longer shown", kept: "shown in both", missed: "shown in neither", unknown: "undefined" },
};

function armName(arm) {
  const parts = [arm.name];
  if (arm.gate && arm.gate !== arm.name) parts.push(arm.gate);
  if (arm.budget) parts.push(arm.budget);
  return parts.join(" · ");
}

function branchesPage(host, params) {
  host.append(element("h1", "", "Branches"));
  host.append(element("p", "note prose", "Each row is one completion into which tokens of the other policy were forced, beside the completion that nobody touched, with the same random numbers. Choose an arm, then a row."));
  const arms = element("div", "wide");
  host.append(arms);
  const bar = element("div", "bar filters");
  host.append(bar);
  const change = (some) => go("branches", { ...route().params, ...some }, true);
  const filtered = (some) => change({ ...some, offset: undefined });
  const search = searchBox(params.problem, "part of its id");
  const outcome = choice([["", "any"]]);
  bar.append(
    field("Problem", search, (v) => filtered({ problem: v })),
    field("Outcome", outcome, (v) => filtered({ outcome: v })),
  );
  let measure = "correct";
  const listing = new Listing(host, {
    label: "interventions",
    columns: [
      { name: "problem", sort: "problem", className: () => "text", cell: (r) => r.problem },
      { name: "sample", numeric: true, cell: (r) => whole(r.sample) },
      { name: "outcome", cell: (r) => CHANGES[measure][r.change], className: (r) => ({ gained: "good", lost: "bad" })[r.change] ?? "" },
      { name: "touched", sort: "touched", numeric: true, title: "positions at which a token was forced", cell: (r) => whole(r.touched) },
      { name: "changed", sort: "changed", numeric: true, title: "of those, where the token was not the generator's own", cell: (r) => whole(r.changed) },
      { name: "tokens", sort: "tokens", numeric: true, cell: (r) => whole(r.tokens) },
    ],
    change,
    open: (row) => go("branch", { row: row.row }),
  });
  const note = element("p", "note");
  host.append(note);
  async function update(params) {
    try {
      const page = await ask("branches", { ...params, limit: listing.limit });
      if (!host.isConnected) return;
      measure = page.measure;
      if (outcome.options.length === 1) {
        for (const [key, name] of Object.entries(CHANGES[measure])) {
          const option = element("option", "", name);
          option.value = key;
          outcome.append(option);
        }
        outcome.value = params.outcome ?? "";
      }
      arms.replaceChildren(armTable(page, (arm) => filtered({ arm })));
      listing.fill({ ...page, sort: params.sort ?? "file", order: params.order ?? "up" });
    } catch (error) {
      complain(note, error);
    }
  }
  update(params);
  return { update, key: (key) => listing.key(key), search };
}

function armTable(page, chosen) {
  const table = element("table", "list arms");
  const head = element("tr");
  const right = page.measure === "correct" ? "right" : "shown";
  const names = [["arm", ""], ["direction", ""], ["T", "num"], ["rows", "num"], [right, "num"], [CHANGES[page.measure].gained, "num"], [CHANGES[page.measure].lost, "num"], ["touched a row", "num"], ["changed a row", "num"]];
  for (const [name, kind] of names) {
    const th = element("th", kind, name);
    th.scope = "col";
    head.append(th);
  }
  const thead = element("thead");
  thead.append(head);
  const body = element("tbody");
  for (const arm of page.arms) {
    const { rows = 0, right = 0, graded = 0, gained = 0, lost = 0, touched = 0, changed = 0 } = arm.counts;
    const row = element("tr");
    row.setAttribute("aria-selected", arm.arm === page.arm);
    const name = element("td", "text");
    const button = element("button", "plain", armName(arm));
    button.type = "button";
    button.addEventListener("click", (event) => { event.stopPropagation(); chosen(arm.arm); });
    row.addEventListener("click", () => chosen(arm.arm));
    name.append(button);
    const cells = [fixed(arm.temperature, 1), whole(rows), graded ? `${whole(right)} of ${whole(graded)}` : "–", whole(gained), whole(lost), fixed(touched / Math.max(1, rows), 1), fixed(changed / Math.max(1, rows), 1)];
    row.append(name, element("td", "", arm.direction), ...cells.map((text) => element("td", "num", text)));
    body.append(row);
  }
  table.append(thead, body);
  return table;
}

function sideBadges(side, measure) {
  const line = element("p", "badges");
  const v = side[measure];
  if (measure === "correct" && v !== null) line.append(badge(v ? "correct" : "wrong", v ? "good" : "bad"));
  if (side.behaviour !== null) line.append(badge(side.behaviour ? "behaviour shown" : "behaviour not shown"));
  line.append(badge(plural(side.length, "token")), badge(`ended by ${side.finish}`));
  if (side.validity !== "ok") line.append(badge(spaced(side.validity)));
  return line;
}

// One path from place `from` of the completion on.
function pathStrip(host, r, side, from, name) {
  const touched = new Set(side.touched), changed = new Set(side.changed);
  const at = (i) => from + i + r.prompt_len;
  const isParting = (i) => r.parting !== null && at(i) === r.parting;
  return new Strip(host, {
    words: r.words,
    tokens: side.tokens.slice(from),
    label: `${name}: arrow keys move, n and p jump between marked tokens`,
    look: (i) => [touched.has(at(i)) ? "touched" : "", changed.has(at(i)) ? "changed" : "", isParting(i) ? "parting" : ""].join(" "),
    marked: (i) => isParting(i) || touched.has(at(i)),
    describe: (i) => {
      const word = side.tokens[from + i];
      const said = [];
      if (isParting(i)) said.push("the paths part here");
      if (changed.has(at(i))) said.push("forced, and not the generator's own choice");
      else if (touched.has(at(i))) said.push("forced, and the generator's own choice too");
      return [cardHead(r.words, word, `t ${whole(at(i))} · id ${r.words.ids[word]}`), element("p", "said", said.join("; ") || "the generator's own")];
    },
  });
}

function branchPage(host, params) {
  const nav = element("p", "crumbs");
  nav.append(link("← Branches", "branches", lastRoute));
  const title = element("h1", "", "Branch");
  const body = element("div");
  host.append(nav, title, body);
  let strips = [];
  ask("branch", { row: params.row }).then((r) => {
    if (host.isConnected) strips = branchBody(title, body, r);
  }).catch((error) => complain(body, error));
  const row = Number(params.row ?? 0);
  return {
    key(key) {
      if (key === "t" && strips.length > 0) strips.at(-1).focus(strips.at(-1).current);
      else if (key === "j") go("branch", { row: row + 1 }, true);
      else if (key === "k" && row > 0) go("branch", { row: row - 1 }, true);
      else return false;
      return true;
    },
    up: () => go("branches", lastRoute),
  };
}

function branchBody(title, body, r) {
  title.textContent = `Problem ${r.problem}, sample ${r.sample}`;
  const about = element("p", "badges");
  about.append(badge(armName({ name: r.arm, gate: r.gate, budget: r.budget })), badge(r.direction), badge(`T ${fixed(r.temperature, 1)}`));
  const said = [`${plural(r.path.touched.length, "position")} touched, ${whole(r.path.changed.length)} changed`];
  const strips = [];
  body.append(about);
  if (!r.base) {
    said.push("this run has no untouched path beside it");
  } else if (r.parting === null) {
    said.push("both paths are the same");
  } else {
    said.push(`the paths part at position ${whole(r.parting)}, after ${plural(r.parting - r.prompt_len, "token")} of the completion`);
  }
  body.append(element("p", "note", said.join(" · ")));
  promptPart(body, r.words, r.prompt, r.prompt_len);
  const common = r.base && r.parting !== null ? r.parting - r.prompt_len : r.base ? r.path.tokens.length : 0;
  if (common > 0) {
    body.append(element("h2", "", r.parting === null ? "Both paths" : "Common to both"));
    strips.push(pathStrip(body, r, { ...r.path, tokens: r.path.tokens.slice(0, common) }, 0, "common tokens"));
  }
  const fork = element("div", "fork");
  const sides = r.base ? [["Untouched", r.base, "base"], [`With ${r.arm}`, r.path, "path"]] : [[`With ${r.arm}`, r.path, "path"]];
  for (const [name, side, id] of sides) {
    const column = element("section", `side ${id}`);
    column.append(element("h2", "", name), sideBadges(side, r.measure));
    if (side.tokens.length > common) strips.push(pathStrip(column, r, side, common, name));
    else if (r.parting !== null) column.append(element("p", "note", "ends here"));
    fork.append(column);
  }
  body.append(fork);
  const key = element("p", "note key");
  key.append(element("span", "tok parting", "parting"), " where the paths part · ", element("span", "tok touched", "touched"), " forced, same as the generator's own · ", element("span", "tok touched changed", "changed"), " forced and different");
  body.append(key);
  return strips;
}
