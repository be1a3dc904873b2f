// A sortable table that only holds the rows in view. Column keys are numbers;
// undefined ones (NaN) sort last in either direction, ties keep their order.

const ROW_HEIGHT = 26;
let gridCount = 0;

class Grid {
  constructor(host, { label, columns, sortBy, most, open }) {
    this.columns = columns;
    this.open = open;
    this.most = most;
    this.prefix = `grid${gridCount++}-`;
    this.order = new Uint32Array(0);
    this.active = -1;
    this.pool = [];
    this.sorted = { column: columns.find((c) => c.id === sortBy), descending: true };
    this.build(host, label);
  }

  build(host, label) {
    this.box = element("div", "grid");
    this.table = element("table");
    this.table.setAttribute("role", "grid");
    this.table.setAttribute("aria-label", label);
    this.table.tabIndex = 0;
    const head = element("tr");
    this.headers = this.columns.map((column) => {
      const th = element("th", column.numeric ? "num" : "");
      th.scope = "col";
      const button = element("button", "", column.name);
      button.type = "button";
      if (column.title) button.title = column.title;
      button.addEventListener("click", () => this.sortBy(column));
      th.append(button);
      head.append(th);
      return th;
    });
    const thead = element("thead");
    thead.append(head);
    this.body = element("tbody");
    [this.above, this.below] = ["", ""].map(() => this.spacer());
    this.body.append(this.above.row, this.below.row);
    this.table.append(thead, this.body);
    this.box.append(this.table);
    host.append(this.box);
    this.box.addEventListener("scroll", () => this.schedule());
    this.table.addEventListener("keydown", (event) => this.key(event));
    this.body.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => this.schedule()).observe(this.box);
  }

  spacer() {
    const row = element("tr", "pad");
    row.setAttribute("aria-hidden", "true");
    const cell = element("td");
    cell.colSpan = this.columns.length;
    row.append(cell);
    return { row, cell };
  }

  setRows(rows) {
    this.order = rows;
    this.active = -1;
    this.table.setAttribute("aria-rowcount", rows.length + 1);
    this.box.scrollTop = 0;
    // The header, the rows up to the limit, and room for a scroll bar.
    this.box.style.height = `${(Math.min(rows.length, this.most) + 1) * ROW_HEIGHT + 18}px`;
    this.sort();
  }

  sortBy(column) {
    const same = this.sorted.column === column;
    this.sorted = { column, descending: same ? !this.sorted.descending : Boolean(column.numeric || column.largestFirst) };
    this.active = -1;
    this.box.scrollTop = 0;
    this.sort();
  }

  sort() {
    const { column, descending } = this.sorted;
    let top = 0;
    for (const i of this.order) if (i >= top) top = i + 1;
    const keys = new Float64Array(top);
    for (const i of this.order) keys[i] = column.key(i);
    this.order.sort((a, b) => {
      const x = keys[a], y = keys[b];
      const xn = x !== x, yn = y !== y;
      if (xn || yn) return xn && yn ? a - b : xn ? 1 : -1;
      if (x !== y) return (x < y) === descending ? 1 : -1;
      return a - b;
    });
    this.columns.forEach((c, i) => {
      if (c === column) this.headers[i].setAttribute("aria-sort", descending ? "descending" : "ascending");
      else this.headers[i].removeAttribute("aria-sort");
    });
    this.render();
  }

  schedule() {
    if (this.pending) return;
    this.pending = true;
    requestAnimationFrame(() => {
      this.pending = false;
      this.render();
    });
  }

  render() {
    const fits = Math.ceil((this.box.clientHeight || 400) / ROW_HEIGHT) + 12;
    const count = Math.min(fits, this.order.length);
    const wanted = Math.floor(this.box.scrollTop / ROW_HEIGHT) - 6;
    const first = Math.max(0, Math.min(wanted, this.order.length - count));
    while (this.pool.length < count) this.pool.push(this.makeRow());
    while (this.pool.length > count) this.pool.pop().row.remove();
    this.above.cell.style.height = `${first * ROW_HEIGHT}px`;
    this.below.cell.style.height = `${(this.order.length - first - count) * ROW_HEIGHT}px`;
    this.pool.forEach((slot, n) => this.fill(slot, first + n));
    if (this.active >= first && this.active < first + count) {
      this.table.setAttribute("aria-activedescendant", this.prefix + this.active);
    } else {
      this.table.removeAttribute("aria-activedescendant");
    }
  }

  makeRow() {
    const row = element("tr");
    const cells = this.columns.map((column) => {
      const cell = element("td", column.numeric ? "num" : column.className || "");
      row.append(cell);
      return cell;
    });
    this.below.row.before(row);
    return { row, cells };
  }

  fill({ row, cells }, place) {
    const index = this.order[place];
    row.id = this.prefix + place;
    row.place = place;
    row.setAttribute("aria-rowindex", place + 2);
    row.setAttribute("aria-selected", place === this.active);
    this.columns.forEach((column, c) => {
      const text = column.text(index);
      if (cells[c].firstChild?.data !== text) cells[c].textContent = text;
    });
  }

  click(event) {
    const row = event.target.closest("tr");
    if (!row || row.place === undefined) return;
    this.select(row.place);
    this.open(this.order[row.place]);
  }

  select(place) {
    this.active = Math.max(0, Math.min(place, this.order.length - 1));
    const top = this.active * ROW_HEIGHT;
    const room = this.box.clientHeight - 2 * ROW_HEIGHT;
    if (top < this.box.scrollTop) this.box.scrollTop = top;
    else if (top > this.box.scrollTop + room) this.box.scrollTop = top - room;
    this.render();
  }

  // Marks the row that shows an item, without opening it.
  mark(index) {
    const place = this.order.indexOf(index);
    if (place >= 0) this.select(place);
  }

  key(event) {
    if (event.target !== this.table || this.order.length === 0) return;
    const page = Math.max(1, Math.floor(this.box.clientHeight / ROW_HEIGHT) - 2);
    const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
    if (event.key in moves) {
      this.select(this.active < 0 ? 0 : this.active + moves[event.key]);
    } else if (event.key === "Enter" && this.active >= 0) {
      this.open(this.order[this.active]);
    } else {
      return;
    }
    event.preventDefault();
  }
}
