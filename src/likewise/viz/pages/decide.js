"use strict";
// Walk the images of findings with keys and decide on each.
(() => {
  const { run, classes } = JSON.parse(document.getElementById("decide-data").textContent);
  const cards = [...document.querySelectorAll("[data-file]")], bar = document.getElementById("decide");
  const place = name => document.getElementById(`decide-${name}`), label = place("label");
  const shown = new Map(cards.map(card => [card.dataset.file, card.dataset.class]));
  const { decisions, keep, textOf, save, counted } = openDecisions(run, file => shown.get(file));
  let current = -1;

  function show() {
    for (const card of cards) {
      const one = decisions.get(card.dataset.file), mark = card.querySelector(".decided");
      mark.textContent = textOf(one);
      card.dataset.decided = one?.action ?? "";
      card.setAttribute("aria-label", `${card.dataset.file}, ${card.dataset.class}${one ? `, decided: ${textOf(one)}` : ""}`);
      if (cards[current] === card) card.setAttribute("aria-current", "true"); else card.removeAttribute("aria-current");
    }
    const card = cards[current];
    place("at").textContent = card ? `${current + 1} of ${cards.length.toLocaleString("en")}: ${card.dataset.file}, ${card.dataset.class}` : "Press → or tap an image to begin.";
    place("count").textContent = counted(shown.size);
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
