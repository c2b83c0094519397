// Hides the models that a leaderboard's filters leave out, in every table of the page.

const filters = [...document.querySelectorAll("[data-filter]")];
const sources = [...document.querySelectorAll("#sources tbody tr")];

function fits(row, filter) {
  if (!filter.value) return true;
  const held = row.dataset[filter.dataset.filter];
  return filter.dataset.filter === "params" ? held !== "" && Number(held) <= Number(filter.value) : held === filter.value;
}

function choose() {
  const shown = new Map(sources.map((row) => [row.dataset.model, filters.every((filter) => fits(row, filter))]));
  for (const row of document.querySelectorAll("tr[data-model]")) row.hidden = shown.get(row.dataset.model) === false;
  const count = [...shown.values()].filter(Boolean).length;
  const said = document.getElementById("sources-shown");
  if (said) said.textContent = `${count} of ${shown.size} models`;
}

for (const filter of filters) filter.addEventListener("change", choose);
choose();
