// Questions to the server, and where the page is. Addresses are relative: they
// keep the token that the page was opened with.

async function ask(name, params = {}) {
  const query = new URLSearchParams();
  for (const [key, value] of Object.entries(params)) {
    for (const one of [value].flat()) {
      if (one !== undefined && one !== null && one !== "") query.append(key, one);
    }
  }
  const text = query.toString();
  const address = `api/${name}${text ? `?${text}` : ""}`;
  // What is not known yet will be: the index is being built.
  for (let tries = 0; ; tries++) {
    let answer;
    try {
      answer = await fetch(address, { cache: "no-store" });
    } catch {
      throw new Error("the viewer does not answer; is `forkscope view` still running?");
    }
    if (answer.status === 503 && tries < 60) {
      await new Promise((done) => setTimeout(done, 500));
      continue;
    }
    const body = await answer.json();
    if (!answer.ok) throw new Error(body.error);
    return body;
  }
}

// The route: #/PAGE?name=value, lists repeat their name.
function route() {
  const hash = location.hash.startsWith("#/") ? location.hash.slice(2) : "";
  const [page, query = ""] = hash.split("?");
  const params = {};
  for (const [name, value] of new URLSearchParams(query)) {
    params[name] = name in params ? [params[name], value].flat() : value;
  }
  return { page, params };
}

function addressOf(page, params = {}) {
  const query = new URLSearchParams();
  for (const [name, value] of Object.entries(params)) {
    for (const one of [value].flat()) {
      if (one !== undefined && one !== null && one !== "") query.append(name, one);
    }
  }
  const text = query.toString();
  return `#/${page}${text ? `?${text}` : ""}`;
}

// Goes there; in place of the present entry of the history where `quietly`.
function go(page, params = {}, quietly = false) {
  const address = addressOf(page, params);
  if (address === location.hash) return;
  if (!quietly) {
    location.hash = address;
    return;
  }
  history.replaceState(null, "", address);
  dispatchEvent(new HashChangeEvent("hashchange"));
}

function complain(host, error) {
  const note = element("p", "complaint", error.message);
  note.setAttribute("role", "alert");
  host.replaceChildren(note);
}

function link(text, page, params) {
  const a = element("a", "", text);
  a.href = addressOf(page, params);
  return a;
}

const SVG = "http://www.w3.org/2000/svg";
const SHAPES = new Set(["svg", "title", "desc", "rect", "line", "polyline", "polygon", "circle", "text", "path", "g", "tspan"]);
const LOOKS = /^(class|viewBox|width|height|x|y|x1|x2|y1|y2|cx|cy|r|points|d|fill|fill-opacity|stroke|stroke-width|stroke-dasharray|stroke-linejoin|text-anchor|font-family|font-size|font-weight|transform|role)$/;

// A figure that the server drew, rebuilt from shapes and text alone.
function drawing(text) {
  const copy = (from) => {
    const to = document.createElementNS(SVG, from.localName);
    for (const { name, value } of from.attributes) if (LOOKS.test(name)) to.setAttribute(name, value);
    for (const child of from.childNodes) {
      if (child.nodeType === Node.TEXT_NODE) to.append(child.data);
      else if (SHAPES.has(child.localName)) to.append(copy(child));
    }
    return to;
  };
  return copy(new DOMParser().parseFromString(text, "image/svg+xml").documentElement);
}

function figureOf({ title, caption, svg }) {
  const figure = element("figure");
  const words = element("figcaption");
  words.append(element("strong", "", title), caption);
  figure.append(words, drawing(svg));
  return figure;
}
