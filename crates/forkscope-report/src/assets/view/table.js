// A list that the server filters, sorts and cuts: one page of rows, sorted by
// its headings, walked with the keyboard.

class Listing {
  // columns: [{id, name, title, numeric, sort, up, cell(row) -> text or node, className(row)}]
  constructor(host, { label, columns, change, open, limit = 50 }) {
    Object.assign(this, { label, columns, change, open, limit });
    this.rows = [];
    this.active = -1;
    this.box = element("div", "wide");
    this.table = element("table", "list");
    this.table.tabIndex = 0;
    this.table.setAttribute("role", "grid");
    this.table.setAttribute("aria-label", label);
    this.head = element("thead");
    this.body = element("tbody");
    this.table.append(this.head, this.body);
    this.box.append(this.table);
    this.bar = element("div", "bar pages");
    this.count = element("span", "note");
    this.count.setAttribute("role", "status");
    this.back = element("button", "", "‹ Previous");
    this.on = element("button", "", "Next ›");
    this.back.type = this.on.type = "button";
    this.back.addEventListener("click", () => this.turn(-1));
    this.on.addEventListener("click", () => this.turn(1));
    this.bar.append(this.back, this.on, this.count);
    host.append(this.box, this.bar);
    this.body.addEventListener("click", (event) => {
      const row = event.target.closest("tr");
      if (!row || event.target.closest("a")) return;
      this.select(row.place);
      this.open(this.rows[row.place]);
    });
    this.table.addEventListener("keydown", (event) => {
      const moves = { ArrowDown: 1, ArrowUp: -1, Home: -Infinity, End: Infinity };
      if (event.target !== this.table || !(event.key in moves)) return;
      event.preventDefault();
      this.move(moves[event.key]);
    });
  }

  setColumns(columns) {
    this.columns = columns;
  }

  // Shows a page of `matched` rows that begins at `offset`.
  fill({ rows, matched, offset, sort, order }) {
    const same = this.rows.length === rows.length && this.offset === offset && this.sorted === `${sort} ${order}`;
    this.rows = rows;
    this.matched = matched;
    this.offset = offset;
    this.sorted = `${sort} ${order}`;
    if (!same || this.active >= rows.length) this.active = -1;
    this.drawHead(sort, order);
    this.body.replaceChildren(...rows.map((row, place) => this.row(row, place)));
    const last = offset + rows.length;
    this.count.textContent = matched === 0 ? "nothing matches" : `${whole(offset + 1)} – ${whole(last)} of ${whole(matched)}`;
    this.back.disabled = offset === 0;
    this.on.disabled = last >= matched;
  }

  drawHead(sort, order) {
    const row = element("tr");
    for (const column of this.columns) {
      const th = element("th", column.numeric ? "num" : "");
      th.scope = "col";
      if (column.sort) {
        const button = element("button", "", column.name);
        button.type = "button";
        button.dataset.sort = column.sort;
        if (column.title) button.title = column.title;
        button.addEventListener("click", () => this.sortBy(column, sort, order));
        th.append(button);
        if (column.sort === sort) th.setAttribute("aria-sort", order === "down" ? "descending" : "ascending");
      } else {
        th.textContent = column.name;
        if (column.title) th.title = column.title;
      }
      row.append(th);
    }
    const focused = document.activeElement?.dataset?.sort;
    const inside = this.head.contains(document.activeElement);
    this.head.replaceChildren(row);
    if (inside) this.head.querySelector(`[data-sort="${focused}"]`)?.focus();
  }

  sortBy(column, sort, order) {
    const first = column.numeric ? "down" : "up";
    const other = first === "down" ? "up" : "down";
    const next = column.sort !== sort ? first : order === first ? other : first;
    this.change({ sort: column.sort, order: next, offset: undefined });
  }

  row(row, place) {
    const tr = element("tr");
    tr.place = place;
    tr.id = `${this.label.replaceAll(" ", "-")}-${place}`;
    tr.setAttribute("aria-selected", place === this.active);
    for (const column of this.columns) {
      const cell = element("td", [column.numeric ? "num" : "", column.className?.(row) ?? ""].join(" ").trim());
      cell.append(column.cell(row));
      tr.append(cell);
    }
    return tr;
  }

  select(place) {
    this.body.rows[this.active]?.setAttribute("aria-selected", false);
    this.active = Math.max(0, Math.min(place, this.rows.length - 1));
    const row = this.body.rows[this.active];
    if (!row) return;
    row.setAttribute("aria-selected", true);
    row.scrollIntoView({ block: "nearest" });
    this.table.setAttribute("aria-activedescendant", row.id);
  }

  move(by) {
    this.select(this.active < 0 ? (by > 0 ? 0 : this.rows.length - 1) : this.active + by);
  }

  turn(by) {
    const offset = this.offset + by * this.limit;
    if (offset < 0 || offset >= this.matched) return;
    this.active = -1;
    this.change({ offset: offset || undefined });
  }

  key(key) {
    const acts = { j: () => this.move(1), k: () => this.move(-1), h: () => this.turn(-1), l: () => this.turn(1) };
    if (key === "Enter" && this.active >= 0) this.open(this.rows[this.active]);
    else if (acts[key]) acts[key]();
    else return false;
    return true;
  }
}

// A labelled field of a filter bar; `changed` hears of a new value.
function field(name, control, changed) {
  const label = element("label", "", `${name} `);
  label.append(control);
  const heard = control.tagName === "SELECT" ? "change" : "input";
  let waiting = 0;
  control.addEventListener(heard, () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => changed(control.value.trim()), heard === "input" ? 150 : 0);
  });
  return label;
}

function choice(options, value = "") {
  const select = element("select");
  for (const [key, name] of options) {
    const option = element("option", "", name);
    option.value = key;
    select.append(option);
  }
  select.value = value;
  return select;
}

function searchBox(value, hint) {
  const input = element("input", "search");
  input.type = "search";
  input.value = value ?? "";
  input.placeholder = hint;
  input.autocomplete = "off";
  input.spellcheck = false;
  return input;
}
