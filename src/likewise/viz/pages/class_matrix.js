"use strict";
// Both class matrices have one current cell: the pointer and the arrow keys move it, a click or Enter shows its errors.
(() => {
  const data = JSON.parse(document.getElementById("class-matrix").textContent), last = data.names.length - 1;
  const counts = new Map(data.counts.map(([row, column, n]) => [`${row} ${column}`, n]));
  const alone = new Set(data.alone), drawings = [...document.querySelectorAll("svg.matrix")];
  const text = document.getElementById("cell-text"), shown = document.getElementById("cell-errors");
  const images = new Map();
  for (const card of document.getElementById("pair-errors").content.children) {
    images.set(card.dataset.cell, [...(images.get(card.dataset.cell) ?? []), card]);
  }
  const wrong = data.counts.filter(([row, column]) => row !== column).sort((a, b) => b[2] - a[2]);
  let [row, column] = wrong[0] ?? [0, 0];

  function sentence(row, column) {
    const a = data.names[row], b = data.names[column], of = data.queries[row], n = counts.get(`${row} ${column}`) ?? 0;
    const share = of ? `${n} of ${of} images (${(100 * n / of).toFixed(1)}\u00a0%)` : "no held-out images";
    const similarity = (data.similarity[row][column] / 1000).toFixed(3).replace("-", "\u2212");
    const alike = row === column && alone.has(row) ? "one image, so no similarity within the class" : `mean similarity ${similarity}`;
    return row === column ? `${a}: ${of ? `${share} right` : share}; ${alike}` : `${a} taken for ${b}: ${share}; ${alike}`;
  }
  function mark(toRow, toColumn) {
    [row, column] = [Math.min(Math.max(toRow, 0), last), Math.min(Math.max(toColumn, 0), last)];
    text.textContent = sentence(row, column);
    for (const drawing of drawings) {
      const rect = drawing.querySelector(".mark"), side = Number(drawing.dataset.side);
      rect.setAttribute("x", column * side);
      rect.setAttribute("y", row * side);
      rect.setAttribute("visibility", "visible");
      drawing.querySelector("title").textContent = text.textContent;
    }
  }
  function errors() {
    const n = row === column ? 0 : counts.get(`${row} ${column}`) ?? 0, cards = images.get(`${row} ${column}`) ?? [];
    shown.replaceChildren(...cards.map(card => card.cloneNode(true)));
    const most = !n ? "no errors in this cell" : cards.length ? `${cards.length} of ${n} shown` : "this page holds images of the most frequent confusions only; the map shows all";
    text.textContent = `${sentence(row, column)}. Errors: ${most}.`;
  }
  function at(drawing, event) {
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(drawing.getScreenCTM().inverse());
    const side = Number(drawing.dataset.side), cell = [Math.floor(point.y / side), Math.floor(point.x / side)];
    return cell.every(n => n >= 0 && n <= last) ? cell : null;
  }
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  for (const drawing of drawings) {
    drawing.addEventListener("pointermove", event => { const cell = at(drawing, event); if (cell && (cell[0] !== row || cell[1] !== column)) mark(...cell); });
    drawing.addEventListener("click", event => { const cell = at(drawing, event); if (cell) { mark(...cell); errors(); } });
    drawing.addEventListener("focus", () => mark(row, column));
    drawing.addEventListener("keydown", event => {
      const step = steps[event.key];
      if (step) mark(row + step[0], column + step[1]);
      else if (event.key === "Enter" || event.key === " ") errors();
      else return;
      event.preventDefault();
    });
  }
  mark(row, column);
  errors();
})();
