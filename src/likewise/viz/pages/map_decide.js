"use strict";
// Decide on the pinned image of the map, or on all images of a lasso.
(() => {
  const { run, classes } = JSON.parse(document.getElementById("decide-data").textContent);
  const place = name => document.getElementById(`decide-${name}`), label = place("label"), ACTIONS = ["keep", "relabel", "remove", "undo"];
  const index = new Map(data.ids.slice(0, count).map((file, n) => [file, n]));
  const { decisions, keep, textOf, save, counted } = openDecisions(run, file => index.has(file) ? className(index.get(file)) : undefined);
  const fileOf = n => data.ids[n];

  /** What is decided on: the pinned image, else those of the lasso. */
  function targets() {
    if (pinned >= 0) return pinned < count ? [pinned] : [];
    const list = [];
    if (selected) for (let n = 0; n < count; n++) if (selected[n]) list.push(n);
    return list;
  }

  function show() {
    const list = targets(), decided = list.filter(n => decisions.has(fileOf(n)));
    place("at").textContent = !list.length ? "Pin an image or draw a lasso to decide." : list.length === 1
      ? `${fileOf(list[0])}, ${className(list[0])}${decided.length ? `: ${textOf(decisions.get(fileOf(list[0])))}` : ""}`
      : `${list.length.toLocaleString("en")} selected images, ${decided.length.toLocaleString("en")} of them decided`;
    place("count").textContent = counted(count);
    place("save").disabled = !decisions.size;
    for (const name of ACTIONS) place(name).disabled = !list.length;
    label.disabled = !list.length;
    document.getElementById("decide").hidden = !list.length && !decisions.size; // it covers much of a phone
  }

  function decide(action) {
    const list = targets(), label2 = action === "relabel" ? label.value.trim() : "";
    if (!list.length) return;
    if (action === "relabel" && (!label2 || list.every(n => className(n) === label2))) { label.focus(); label.select(); return; }
    for (const n of list) {
      if (action === "undo") decisions.delete(fileOf(n));
      else if (action !== "relabel" || className(n) !== label2) decisions.set(fileOf(n), { label: className(n), action, label2 });
    }
    keep();
    show();
  }

  /** Another image or lasso: the class of a wrong nearest neighbour stands in the field. */
  chosen = () => {
    const list = targets(), near = list.length === 1 ? sides[0].near[list[0] * sides[0].near.length / count] : -1;
    label.value = near >= 0 && labels[near] !== labels[list[0]] ? className(near) : "";
    show();
  };

  const KEYS = { k: () => decide("keep"), x: () => decide("remove"), u: () => decide("undo"), r: () => { if (!label.disabled) { label.focus(); label.select(); } } };
  addEventListener("keydown", event => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target === label) {
      if (event.key === "Enter") { event.preventDefault(); decide("relabel"); }
      if (event.key === "Enter" || event.key === "Escape") maps[0].canvas.focus({ preventScroll: true });
      return;
    }
    if (event.target.closest?.("input, select, textarea")) return;
    const press = KEYS[event.key.toLowerCase()];
    if (press) { event.preventDefault(); press(); }
  });
  for (const name of ACTIONS) place(name).addEventListener("click", () => decide(name));
  place("save").addEventListener("click", save);
  place("classes").append(...classes.map(name => { const option = document.createElement("option"); option.value = name; return option; }));
  show();
})();
