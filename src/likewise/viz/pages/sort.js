"use strict";
// Tables of class "sortable": a heading is a button that sorts its column, and once more the other way round.
for (const table of document.querySelectorAll("table.sortable")) {
  if (table.tHead.querySelector("button")) continue; // sortable already: this script is in the page more than once
  const heads = [...table.tHead.rows[0].cells], body = table.tBodies[0];
  const key = (row, n) => row.cells[n].dataset.sort ?? row.cells[n].textContent;
  heads.forEach((head, n) => {
    if (!head.textContent) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map(row => [key(row, n), row]);
      const numeric = rows.every(([value]) => value !== "" && !Number.isNaN(Number(value)));
      rows.sort(([a], [b]) => (numeric ? a - b : a.localeCompare(b, undefined, { numeric: true })) * (down ? -1 : 1));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
