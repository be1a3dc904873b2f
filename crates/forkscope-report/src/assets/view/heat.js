// Tokens in a row, coloured or marked; a card tells of the one that is pointed
// at or focused. Every text was made visible by the server.

const tip = $("tip");
let tipToken = null;

// Spaces are drawn where a token stands by itself.
function alone(words, index) {
  return words.texts[index].replaceAll(" ", "␣");
}

class Strip {
  // of: {words, tokens: [index], look(i) -> class, marked(i) -> bool, describe(i) -> [nodes] or null, label}
  constructor(host, of) {
    this.of = of;
    const breaks = new Set(of.words.breaks);
    this.box = element("div", "heat");
    this.box.setAttribute("role", "group");
    this.box.setAttribute("aria-label", of.label);
    this.tokens = of.tokens.map((word, i) => {
      const token = element("span", `tok ${of.look(i)}`, of.words.texts[word] + (breaks.has(word) ? "\n" : ""));
      token.place = i;
      token.tabIndex = i === 0 ? 0 : -1;
      return token;
    });
    this.current = 0;
    this.box.append(...this.tokens);
    host.append(this.box);
    this.box.addEventListener("keydown", (event) => this.key(event));
    this.box.addEventListener("focusin", (event) => {
      if (event.target.place === undefined) return;
      this.current = event.target.place;
      event.target.setAttribute("aria-describedby", "tip");
      this.show(event.target);
    });
    this.box.addEventListener("focusout", (event) => {
      event.target.removeAttribute("aria-describedby");
      hideTip();
    });
    this.box.addEventListener("mouseover", (event) => {
      if (event.target.place !== undefined) this.show(event.target);
    });
    this.box.addEventListener("mouseleave", hideTip);
    this.box.addEventListener("click", (event) => {
      if (event.target.place !== undefined) this.focus(event.target.place);
    });
  }

  recolour() {
    for (const token of this.tokens) token.className = `tok ${this.of.look(token.place)}`;
  }

  show(token) {
    const card = this.of.describe?.(token.place);
    if (!card) return hideTip();
    tipToken = token;
    tip.replaceChildren(...card);
    tip.hidden = false;
    placeTip();
  }

  focus(place) {
    const token = this.tokens[Math.max(0, Math.min(place, this.tokens.length - 1))];
    if (!token) return;
    this.tokens[this.current].tabIndex = -1;
    token.tabIndex = 0;
    token.focus();
  }

  // The next marked token that does not merely continue the marked one.
  jump(step) {
    for (let i = this.current + step; i >= 0 && i < this.tokens.length; i += step) {
      if (this.of.marked(i)) return i;
    }
    return this.current;
  }

  // The token nearest in the line above or below.
  line(step) {
    const here = this.tokens[this.current].getBoundingClientRect();
    let best = this.current, gap = Infinity, line = null;
    for (let i = this.current + step; i >= 0 && i < this.tokens.length; i += step) {
      const at = this.tokens[i].getBoundingClientRect();
      if (Math.abs(at.top - here.top) < 4) continue;
      line ??= at.top;
      if (Math.abs(at.top - line) > 4) break;
      const off = Math.abs(at.left - here.left);
      if (off < gap) [best, gap] = [i, off];
    }
    return best;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const moves = {
      ArrowRight: () => this.current + 1,
      ArrowLeft: () => this.current - 1,
      ArrowDown: () => this.line(1),
      ArrowUp: () => this.line(-1),
      Home: () => 0,
      End: () => Infinity,
      n: () => this.jump(1),
      p: () => this.jump(-1),
    };
    if (!moves[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    this.focus(moves[event.key]());
  }
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

// The card stays at its token while the page moves under it.
for (const event of ["scroll", "resize"]) {
  addEventListener(event, () => { if (!tip.hidden) requestAnimationFrame(() => { if (tipToken?.isConnected) placeTip(); else hideTip(); }); }, { capture: true, passive: true });
}

function cardHead(words, word, said) {
  const head = element("p", "head");
  head.append(element("span", "piece", alone(words, word)), element("span", "", said));
  return head;
}

function cardFacts(pairs) {
  const list = element("dl");
  for (const [name, text] of pairs) list.append(element("dt", "", name), element("dd", "", text));
  return list;
}

// One policy's most probable tokens, with ln p and p.
function alternatives(title, aside, pairs, words, taken) {
  const side = element("div");
  const head = element("h4", "", title);
  head.append(element("span", "", aside));
  const list = element("ol");
  for (const [word, logprob] of pairs) {
    const item = element("li", word === taken ? "taken" : "");
    const bar = element("i");
    const p = Math.exp(numberOf(logprob));
    bar.style.width = `${Number.isNaN(p) ? 0 : Math.min(p, 1) * 100}%`;
    item.append(bar, element("span", "word", alone(words, word)), element("span", "lp", fixed(logprob, 2)), element("span", "p", chance(logprob)));
    list.append(item);
  }
  side.append(head, list);
  return side;
}
