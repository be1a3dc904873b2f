// What tokens can be coloured by. The steps are fixed numbers, not quantiles
// of this run: the same colour means the same value in every report.

const METRICS = [
  { id: "kl", name: "KL(tuned ‖ base)", unit: "nats", at: (i) => col.kl[i], steps: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3] },
  { id: "js", name: "Jensen–Shannon", unit: "nats", at: (i) => col.js[i], steps: [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.2, 0.4] },
  { id: "tv", name: "total variation", unit: "", at: (i) => col.tv[i], steps: [0.01, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8] },
  { id: "h_base", name: "base entropy", unit: "nats", at: (i) => col.h_base[i], steps: [0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3] },
  { id: "h_tuned", name: "tuned entropy", unit: "nats", at: (i) => col.h_tuned[i], steps: [0.05, 0.1, 0.25, 0.5, 1, 1.5, 2, 3] },
  { id: "delta", name: "|Δ ln p| of the token", unit: "nats", at: (i) => Math.abs(col.delta[i]), steps: [0.01, 0.03, 0.1, 0.3, 1, 2, 4, 8] },
  { id: "kl_rev", name: "KL(base ‖ tuned)", unit: "nats", at: (i) => col.kl_rev[i], steps: [0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3] },
  { id: "class", name: "class", unit: "", at: (i) => col.class[i] },
];

const CLASS_LEVEL = [0, 3, 7];

// Colour step of a row, 0 (below the first step) to 8; "x" where undefined.
function levelOf(metric, row) {
  const v = metric.at(row);
  if (!metric.steps) return CLASS_LEVEL[v];
  if (Number.isNaN(v)) return "x";
  let level = 0;
  while (level < metric.steps.length && v >= metric.steps[level]) level++;
  return level;
}

function drawLegend(metric) {
  const legend = $("legend");
  legend.replaceChildren();
  if (!metric.steps) {
    CLASSES.forEach((name, i) => legend.append(legendStep(`s${CLASS_LEVEL[i]}`, name)));
    return;
  }
  legend.append(legendStep("s0", `< ${metric.steps[0]}`));
  metric.steps.forEach((step, i) => legend.append(legendStep(`s${i + 1}`, `≥ ${step}`)));
  if (metric.unit) legend.append(legendStep("unit", metric.unit));
}

function legendStep(className, text) {
  const item = element("li", className);
  item.append(element("span", "", text));
  return item;
}
