"use strict";
// Tables sort by a click on a column's head; numbers by value, what is missing comes last.
const valueOf = (row, column) => {
  let at = 0;
  for (const cell of row.cells) {
    if (column < at + cell.colSpan) return cell.dataset.value ?? cell.textContent.trim();
    at += cell.colSpan;
  }
  return "";
};
const compare = (a, b, sign) => {
  if (a === "" || b === "") return (a === "") - (b === "");
  const order = a - b; // NaN unless both are numbers
  return sign * (Number.isNaN(order) ? a.localeCompare(b, undefined, { numeric: true }) : order);
};
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  heads.forEach((head, column) => {
    if (!head.textContent.trim()) return;
    const button = document.createElement("button");
    button.type = "button";
    button.append(...head.childNodes);
    head.append(button);
    button.addEventListener("click", () => {
      const first = head.classList.contains("number") ? "descending" : "ascending";
      const other = first === "ascending" ? "descending" : "ascending";
      const order = head.getAttribute("aria-sort") === first ? other : first;
      heads.forEach((one) => one.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", order);
      const sign = order === "ascending" ? 1 : -1;
      const rows = [...body.rows];
      rows.sort((a, b) => compare(valueOf(a, column), valueOf(b, column), sign));
      body.append(...rows);
    });
  });
}
