"use strict";
// One current trial, marked in every drawing: the pointer or the arrow keys choose it.
(() => {
  const details = JSON.parse(document.getElementById("trial-details").textContent);
  const text = document.getElementById("trial-text"), drawings = [...document.querySelectorAll(".tuning svg")];
  const marks = new Map();
  for (const mark of document.querySelectorAll("[data-trial]")) {
    marks.set(mark.dataset.trial, [...(marks.get(mark.dataset.trial) ?? []), mark]);
    const title = document.createElementNS("http://www.w3.org/2000/svg", "title");
    title.textContent = details[mark.dataset.trial];
    mark.append(title);
  }
  // as the table has them: the best first
  const order = [...document.querySelectorAll("#trials tbody tr")].map(row => row.cells[0].dataset.sort);
  let current = order[0];

  function choose(trial) {
    for (const mark of marks.get(current) ?? []) mark.classList.remove("current");
    current = trial;
    for (const mark of marks.get(current) ?? []) {
      mark.classList.add("current");
      mark.parentNode.append(mark);
    }
    text.textContent = details[current];
    for (const bubble of document.querySelectorAll(".tuning .bubble")) bubble.textContent = details[current];
  }
  for (const drawing of drawings) {
    const bubble = document.createElement("p");
    bubble.className = "bubble note";
    bubble.setAttribute("aria-hidden", "true");
    drawing.after(bubble);
    for (const kind of ["pointerover", "click"]) {
      drawing.addEventListener(kind, event => {
        const mark = event.target.closest("[data-trial]");
        if (mark && mark.dataset.trial !== current) choose(mark.dataset.trial);
      });
    }
    drawing.addEventListener("keydown", event => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      if (!step) return;
      event.preventDefault();
      choose(order[Math.min(Math.max(order.indexOf(current) + step, 0), order.length - 1)]);
    });
  }
  choose(current);
})();
