// Sorts tables by their headings: best first, then the other way round; what has no number stays last.

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

for (const table of document.querySelectorAll("table.scores")) {
  table.querySelectorAll("th[aria-sort]").forEach((heading, column) => {
    heading.firstChild.addEventListener("click", () => sort(heading, column));
  });
}
