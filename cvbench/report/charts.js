// Draws the charts of the chosen data and metric, again when the page turns dark or light.

const { themes, groups } = JSON.parse(document.getElementById("chart-data").textContent);
const group = document.getElementById("chart-group");
const metric = document.getElementById("chart-metric");
const curves = document.getElementById("curves");
const dark = matchMedia("(prefers-color-scheme: dark)");
const drawn = new Map();

async function draw(element, spec, height) {
  drawn.get(element)?.finalize();
  drawn.delete(element);
  if (!spec) return;
  const sized = { ...spec, width: "container", height, autosize: { type: "fit", contains: "padding" } };
  const mode = dark.matches ? "dark" : "light";
  drawn.set(element, await window.vegaEmbed(element, sized, {
    mode: "vega-lite", renderer: "svg", actions: false, ast: true, config: themes[mode], tooltip: { theme: mode },
  }));
}

function scatter() {
  const charts = groups[group.value].scatter[metric.value] ?? {};
  for (const element of document.querySelectorAll(".chart[data-axis]")) {
    const spec = charts[element.dataset.axis];
    element.hidden = !spec;
    element.nextElementSibling.hidden = Boolean(spec);
    draw(element, spec, 320);
  }
}

function overSteps() {
  const element = document.getElementById("over-steps");
  if (!element) return;
  const spec = groups[group.value].steps[metric.value];
  element.hidden = !spec;
  element.nextElementSibling.hidden = Boolean(spec);
  draw(element, spec, 260);
}

function figure({ model, groups: grouped, spec }) {
  const made = document.createElement("figure");
  const caption = made.appendChild(document.createElement("figcaption"));
  caption.append(Object.assign(document.createElement("b"), { textContent: model }), ` · ${grouped}`);
  const chart = made.appendChild(Object.assign(document.createElement("div"), { className: "chart" }));
  curves.append(made);
  draw(chart, spec, 170);
}

function overFrames() {
  for (const element of curves.querySelectorAll(".chart")) draw(element, null);
  curves.replaceChildren();
  const shown = groups[group.value].curves[metric.value] ?? [];
  shown.forEach(figure);
  document.getElementById("no-curves").hidden = shown.length > 0;
}

function all() {
  scatter();
  overSteps();
  if (curves) overFrames();
}

for (const select of [group, metric]) select.addEventListener("change", all);
dark.addEventListener("change", all);
all();
