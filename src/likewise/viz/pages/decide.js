"use strict";
// Walk the images of findings with keys, decide on each, and save the decisions as a CSV for `likewise train --decisions`.
(() => {
  const { run, classes } = JSON.parse(document.getElementById("decide-data").textContent);
  const cards = [...document.querySelectorAll("[data-file]")], bar = document.getElementById("decide");
  const place = name => document.getElementById(`decide-${name}`), label = place("label"), KEY = `likewise-decisions-${run}`;
  const MARKS = { keep: "✓ keep", relabel: "→", remove: "✗ remove" };
  const decisions = new Map(kept());
  let current = -1;

  /** Decisions of an earlier visit; none where the browser keeps nothing for a page of this address. */
  function kept() {
    try {
      const shown = new Map(cards.map(card => [card.dataset.file, card.dataset.class]));
      return JSON.parse(localStorage.getItem(KEY) ?? "[]").filter(([file, one]) => shown.get(file) === one.label && Object.hasOwn(MARKS, one.action));
    } catch { return []; }
  }

  function keep() {
    try { localStorage.setItem(KEY, JSON.stringify([...decisions])); } catch { /* they last as long as the page */ }
  }

  const textOf = one => !one ? "" : one.action === "relabel" ? `${MARKS.relabel} ${one.label2}` : MARKS[one.action];

  function show() {
    for (const card of cards) {
      const one = decisions.get(card.dataset.file), mark = card.querySelector(".decided");
      mark.textContent = textOf(one);
      card.dataset.decided = one?.action ?? "";
      card.setAttribute("aria-label", `${card.dataset.file}, ${card.dataset.class}${one ? `, decided: ${textOf(one)}` : ""}`);
      if (cards[current] === card) card.setAttribute("aria-current", "true"); else card.removeAttribute("aria-current");
    }
    const card = cards[current], files = new Set(cards.map(one => one.dataset.file)).size;
    place("at").textContent = card ? `${current + 1} of ${cards.length.toLocaleString("en")}: ${card.dataset.file}, ${card.dataset.class}` : "Press → or tap an image to begin.";
    place("count").textContent = `${decisions.size.toLocaleString("en")} of ${files.toLocaleString("en")} files decided`;
    place("save").disabled = !decisions.size;
    for (const name of ["keep", "relabel", "remove", "undo"]) place(name).disabled = !card;
    label.disabled = !card;
  }

  /** Go to a card; the label that is likely right stands in the field. */
  function go(to, focus = true) {
    if (!cards.length) return;
    current = Math.max(0, Math.min(cards.length - 1, to));
    const card = cards[current], one = decisions.get(card.dataset.file);
    label.value = one?.label2 || card.dataset.likely || "";
    if (focus) { card.focus({ preventScroll: true }); card.scrollIntoView({ block: "center", behavior: "instant" }); }
    show();
  }

  function decide(action) {
    const card = cards[current];
    if (!card) return;
    if (action === "undo") decisions.delete(card.dataset.file);
    else {
      const label2 = action === "relabel" ? label.value.trim() : "";
      if (action === "relabel" && (!label2 || label2 === card.dataset.class)) { label.focus(); label.select(); return; }
      decisions.set(card.dataset.file, { label: card.dataset.class, action, label2 });
    }
    keep();
    if (action === "undo") show(); else go(current + 1);
  }

  /** A cell of the CSV; what a spreadsheet would take for a formula is led by an apostrophe. */
  const cell = text => `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
  const csv = () => ["file,label,decision,new label", ...[...decisions].map(([file, one]) => [file, one.label, one.action, one.label2].map(cell).join(","))].join("\r\n") + "\r\n";

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  const KEYS = { ArrowRight: () => go(current + 1), ArrowLeft: () => go(current - 1), k: () => decide("keep"), x: () => decide("remove"), u: () => decide("undo"), r: () => { if (current >= 0) { label.focus(); label.select(); } } };
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === label) {
      if (event.key === "Enter") { event.preventDefault(); decide("relabel"); }
      if (event.key === "Escape") go(current);
      return;
    }
    if (event.target.closest?.("input, select, textarea, canvas, .scroll")) return;
    const press = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
    if (press) { event.preventDefault(); press(); }
  });
  cards.forEach((card, n) => {
    card.addEventListener("click", () => go(n, false));
    card.addEventListener("focus", () => { if (current !== n) go(n, false); });
  });
  for (const name of ["keep", "relabel", "remove", "undo"]) place(name).addEventListener("click", () => decide(name));
  place("save").addEventListener("click", save);
  place("classes").append(...classes.map(name => { const option = document.createElement("option"); option.value = name; return option; }));
  bar.hidden = !cards.length;
  show();
})();
