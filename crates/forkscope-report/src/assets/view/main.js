// Puts the pieces together: pages, addresses, keys.

const PAGES = [
  ["", "Overview", ""],
  ["rollouts", "Rollouts", "every completion, sorted and filtered; each token with both models' alternatives"],
  ["branches", "Branches", "interventions beside the untouched path"],
  ["reversions", "Reversions", "what it takes to turn the behaviour"],
  ["awareness", "Awareness", "evaluation awareness by layer"],
];
const VIEWS = {
  "": (host, params) => overviewPage(host, params, runInfo),
  rollouts: rolloutsPage,
  rollout: rolloutPage,
  branches: branchesPage,
  branch: branchPage,
  reversions: reversionsPage,
  reversion: reversionPage,
  awareness: awarenessPage,
};
const PARENT = { rollout: "rollouts", branch: "branches", reversion: "reversions" };

let runInfo = null;
let view = null;
let shownPage = null;
// Parameters of the list that a detail was opened from.
let lastRoute = {};
const routes = {};

function drawNav(page) {
  if (!runInfo) return;
  const at = PARENT[page] ?? page;
  $("nav").replaceChildren(...PAGES.filter(([name]) => name === "" || runInfo.has[name]).map(([name, title]) => {
    const a = link(title, name);
    if (name === at) a.setAttribute("aria-current", "page");
    return a;
  }));
}

function show() {
  if (location.hash && !location.hash.startsWith("#/")) return;
  const { page, params } = route();
  // Only the overview is made of what the run says of itself.
  if (page === "" && !runInfo) return;
  hideTip();
  if (page === shownPage && view?.update) {
    routes[page] = params;
    view.update(params);
    return;
  }
  view?.leave?.();
  lastRoute = routes[PARENT[page]] ?? {};
  routes[page] = params;
  shownPage = page;
  drawNav(page);
  const host = element("div", "page");
  $("page").replaceChildren(host);
  const make = VIEWS[page];
  view = make ? make(host, params) : null;
  if (!make) complain(host, new Error("there is no such page"));
  scrollTo(0, 0);
}

function typing(target) {
  return target.matches?.("input, select, textarea");
}

addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const help = $("help");
  if (help.open) return;
  if (event.key === "Escape") {
    if (typing(event.target)) event.target.blur();
    else if (!tip.hidden) hideTip();
    else if (event.target.place !== undefined) event.target.blur();
    else view?.up?.();
    return;
  }
  if (typing(event.target)) return;
  const nav = $("nav").children[Number(event.key) - 1];
  if (event.key === "?") help.showModal();
  else if (event.key === "/") ($("page").querySelector("input.search"))?.focus();
  else if (nav && /^[1-9]$/.test(event.key)) nav.click();
  // A button that is focused takes Enter itself.
  else if (event.key === "Enter" && event.target.matches?.("button, a, summary")) return;
  else if (!view?.key?.(event.key)) return;
  event.preventDefault();
});

$("help-open").addEventListener("click", () => $("help").showModal());
addEventListener("hashchange", show);

ask("run").then((run) => {
  runInfo = run;
  document.title = run.name ? `forkscope: ${run.name}` : "forkscope";
  if (shownPage === null) show();
  else drawNav(shownPage);
}).catch((error) => complain($("page"), error));
show();
