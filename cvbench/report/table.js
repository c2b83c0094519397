// Sorts tables by their headings: best first, then the other way round; what has no number stays last. Shows the columns
// of one data set, and hands the whole table out as CSV.

const texts = JSON.parse(document.getElementById("table-data").textContent);

const order = { higher: "descending", lower: "ascending" };

function compare(a, b, sign) {
  const [x, y] = [a.dataset.value, b.dataset.value];
  if (x !== "" && y !== "") return sign * (Number(x) - Number(y));
  if (x !== y) return x === "" ? 1 : -1;
  return sign * a.textContent.localeCompare(b.textContent, "en", { numeric: true });
}

function sort(heading, column) {
  const table = heading.closest("table");
  const first = order[heading.firstChild.dataset.better] ?? "ascending";
  const other = first === "ascending" ? "descending" : "ascending";
  const now = heading.ariaSort === first ? other : first;
  for (const each of table.querySelectorAll("th[aria-sort]")) each.ariaSort = each === heading ? now : "none";
  const body = table.tBodies[0];
  const rows = [...body.rows];
  const sign = now === "ascending" ? 1 : -1;
  rows.sort((a, b) => compare(a.cells[column], b.cells[column], sign));
  body.append(...rows);
}

function show(table, data) {
  for (const cell of table.querySelectorAll("[data-group]")) {
    cell.hidden = Boolean(data && cell.dataset.group && cell.dataset.group !== data);
  }
  edge(table.parentElement);
}

function edge(region) {
  region.classList.toggle("more", region.scrollLeft + region.clientWidth < region.scrollWidth - 1);
}

async function copy(button) {
  const said = button.parentElement.querySelector("[role=status]");
  try {
    await navigator.clipboard.writeText(texts[button.dataset.table]);
    said.textContent = "copied";
  } catch {
    said.textContent = "this browser does not let pages copy; download it instead";
  }
}

function download(button) {
  const address = URL.createObjectURL(new Blob([texts[button.dataset.table]], { type: "text/csv" }));
  const link = Object.assign(document.createElement("a"), { href: address, download: "table.csv" });
  link.click();
  URL.revokeObjectURL(address);
}

for (const button of document.querySelectorAll("button.copy")) button.addEventListener("click", () => copy(button));
for (const button of document.querySelectorAll("button.download")) button.addEventListener("click", () => download(button));

for (const region of document.querySelectorAll(".scroll")) {
  const table = region.querySelector("table");
  const select = region.previousElementSibling?.querySelector(".shown-data");
  select?.addEventListener("change", () => show(table, select.value));
  region.addEventListener("scroll", () => edge(region), { passive: true });
  region.closest("details")?.addEventListener("toggle", () => edge(region));
  addEventListener("resize", () => edge(region));
  show(table, select?.value ?? "");
}

for (const table of document.querySelectorAll("table.scores")) {
  table.querySelectorAll("th[aria-sort]").forEach((heading, column) => {
    heading.firstChild.addEventListener("click", () => sort(heading, column));
  });
}
