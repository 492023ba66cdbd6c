"use strict";
// What pointers and keys do on the map: pin an image, draw a loop around images, list them, save the list.
const panel = document.getElementById("pinned"), listing = document.getElementById("selected"), lasso = document.getElementById("lasso");
const LISTED = 60;

const inside = (map, event) => {
  const box = map.canvas.getBoundingClientRect();
  return [event.clientX - box.left - map.canvas.clientLeft, event.clientY - box.top - map.canvas.clientTop];
};

/** Show an image with its nearest neighbours; -1 lets go. */
function pin(n) {
  pinned = n;
  panel.hidden = n < 0;
  if (n >= 0) {
    const facts = element("div", "", "about");
    facts.append(element("b", className(n)), element("span", data.ids[n]), element("span", about(n)));
    const rows = sides.map(({ title, near, sims }) => {
      const row = element("div", "", "near"), K = near.length / count;
      if (title) row.append(element("span", title, "side"));
      for (let k = 0; k < K; k++) {
        const m = near[n * K + k];
        if (m < 0) continue;
        const same = labels[m] === labels[n], button = element("button", "", same ? "right" : "wrong");
        button.type = "button";
        button.title = data.ids[m];
        button.append(...thumb(m, 64), element("span", `${same ? "✓" : "✗"} ${className(m)}`, "name"), element("span", sims[n * K + k].toFixed(3), "sim"));
        if (m < count) button.addEventListener("click", () => pin(m)); else button.disabled = true;
        row.append(button);
      }
      return row;
    });
    panel.replaceChildren(...thumb(n, 128), facts, ...rows);
  }
  chosen();
  restyle();
}

const crosses = (x, y, [ax, ay], [bx, by]) => (ay > y) !== (by > y) && x < (bx - ax) * (y - ay) / (by - ay) + ax;
const within = (loop, x, y) => loop.reduce((odd, corner, i) => odd !== crosses(x, y, corner, loop[(i + 1) % loop.length]), false);

/** The images inside a loop of places on the canvas. */
function enclosed(map, loop) {
  const found = [];
  for (let n = 0; n < count; n++) if (shown(n) && has(map, n) && within(loop, ...at(map, n))) found.push(n);
  return found;
}

/** A cell of a CSV; what a spreadsheet would take for a formula is led by an apostrophe. */
const csvCell = text => `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
const csvOf = list => [`id,class,part,right${groups ? ",change" : ""}`, ...list.map(n => [data.ids[n], className(n), ["train", "val", "test"][parts[n]], ["no", "yes", ""][right[n]], ...(groups ? [data.groupNames[groups[n]]] : [])].map(csvCell).join(","))].join("\n") + "\n";

/** List images; none lets go. */
function select(list) {
  listing.hidden = !list.length;
  selected = list.length ? new Uint8Array(count) : null;
  for (const n of list) selected[n] = 1;
  if (list.length) {
    const wrong = list.filter(n => right[n] === 0).length, byClass = new Map();
    for (const n of list) byClass.set(className(n), (byClass.get(className(n)) ?? 0) + 1);
    const most = [...byClass].sort((a, b) => b[1] - a[1]).slice(0, 5).map(([name, n]) => `${name} (${n.toLocaleString("en")})`);
    const save = element("button", "Save as CSV"), clear = element("button", "Let go"), images = element("div", "", "near");
    save.type = clear.type = "button";
    save.addEventListener("click", () => {
      const link = document.createElement("a");
      link.href = URL.createObjectURL(new Blob([csvOf(list)], { type: "text/csv" }));
      link.download = "selection.csv";
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 1000);
    });
    clear.addEventListener("click", () => select([]));
    for (const n of [...list].sort((a, b) => (right[a] === 0 ? 0 : 1) - (right[b] === 0 ? 0 : 1)).slice(0, LISTED)) {
      const button = element("button", "", right[n] === 0 ? "wrong" : "");
      button.type = "button";
      button.title = data.ids[n];
      button.append(...thumb(n, 48), element("span", className(n), "name"));
      button.addEventListener("click", () => pin(n));
      images.append(button);
    }
    const shownOf = list.length > LISTED ? `, ${LISTED} of them below, wrong ones first` : "";
    listing.replaceChildren(element("p", `${list.length.toLocaleString("en")} images selected${shownOf}; ${wrong.toLocaleString("en")} with a wrong nearest neighbour. Most: ${most.join(", ")}.`), save, clear, images);
  }
  chosen();
  restyle();
}

/** The image in a direction from another one: near, and not far to the side. */
function towards(map, from, dx, dy) {
  const [x, y] = [map.places[2 * from], map.places[2 * from + 1]];
  let best = -1, least = Infinity;
  for (let n = 0; n < count; n++) {
    if (n === from || !shown(n) || !has(map, n)) continue;
    const ahead = (map.places[2 * n] - x) * dx + (map.places[2 * n + 1] - y) * dy;
    const aside = Math.abs((map.places[2 * n] - x) * dy) + Math.abs((map.places[2 * n + 1] - y) * dx);
    if (ahead > 0 && aside <= ahead && ahead + aside < least) [best, least] = [n, ahead + aside];
  }
  return best;
}

const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

function press(map, event) {
  const middle = map.canvas.clientWidth / 2, arrow = ARROWS[event.key];
  if (arrow && event.shiftKey) [map.x, map.y] = [map.x - 60 * arrow[0], map.y - 60 * arrow[1]];
  else if (arrow) {
    const next = pinned >= 0 && pinned < count && has(map, pinned) ? towards(map, pinned, ...arrow) : under(map, middle, middle, 2 * middle);
    if (next >= 0) pin(next);
  } else if (event.key === "+" || event.key === "=") zoomAt(map, middle, middle, 1.5);
  else if (event.key === "-") zoomAt(map, middle, middle, 1 / 1.5);
  else if (event.key === "0") Object.assign(map, { zoom: 1, x: 0, y: 0 });
  else if (event.key === "Escape") { select([]); pin(-1); } else return;
  event.preventDefault();
  if (event.shiftKey || event.key === "0") moving(map);
  refresh();
}

for (const map of maps) {
  const fingers = new Map();
  let start = null, moved = false, apart = 0;
  const canvas = map.canvas;
  canvas.addEventListener("pointerdown", event => {
    canvas.setPointerCapture(event.pointerId);
    fingers.set(event.pointerId, inside(map, event));
    moved = fingers.size > 1;
    if (fingers.size === 2) apart = spread();
    start = [event.clientX - map.x, event.clientY - map.y, event.clientX, event.clientY];
    map.loop = fingers.size === 1 && (event.shiftKey || lasso.getAttribute("aria-pressed") === "true") ? [inside(map, event)] : null;
  });
  const spread = () => { const [[ax, ay], [bx, by]] = [...fingers.values()]; return Math.hypot(ax - bx, ay - by); };
  canvas.addEventListener("pointermove", event => {
    if (!fingers.has(event.pointerId)) return event.pointerType === "touch" ? undefined : point(under(map, ...inside(map, event)), event);
    fingers.set(event.pointerId, inside(map, event));
    if (fingers.size === 2) {
      const now = spread(), [[ax, ay], [bx, by]] = [...fingers.values()];
      zoomAt(map, (ax + bx) / 2, (ay + by) / 2, now / Math.max(apart, 1));
      apart = now;
      return;
    }
    if (Math.hypot(event.clientX - start[2], event.clientY - start[3]) > 4) { moved = true; tip.hidden = true; }
    if (!moved) return;
    if (map.loop) map.loop.push(inside(map, event));
    else { [map.x, map.y] = [event.clientX - start[0], event.clientY - start[1]]; moving(map); }
    refresh();
  });
  const end = (event, counts) => {
    if (!fingers.delete(event.pointerId)) return;
    const loop = map.loop;
    map.loop = null;
    if (counts && !moved) { tip.hidden = true; pin(under(map, ...inside(map, event), event.pointerType === "touch" ? 22 : NEAR)); }
    else if (counts && loop?.length > 2) { pin(-1); select(enclosed(map, loop)); lasso.setAttribute("aria-pressed", "false"); }
    refresh();
  };
  canvas.addEventListener("pointerup", event => end(event, true));
  canvas.addEventListener("pointercancel", event => end(event, false));
  canvas.addEventListener("pointerleave", event => point(-1, event));
  canvas.addEventListener("wheel", event => { event.preventDefault(); zoomAt(map, ...inside(map, event), Math.exp(-event.deltaY / 400)); }, { passive: false });
  canvas.addEventListener("dblclick", () => { Object.assign(map, { zoom: 1, x: 0, y: 0 }); moving(map); refresh(); });
  canvas.addEventListener("keydown", event => press(map, event));
}

lasso.addEventListener("click", () => lasso.setAttribute("aria-pressed", lasso.getAttribute("aria-pressed") !== "true"));
const counts = new Uint32Array(data.classes.length);
for (let n = 0; n < count; n++) counts[labels[n]]++;
const present = [...counts.keys()].filter(label => counts[label]).sort((a, b) => counts[b] - counts[a]).slice(0, data.buttons).sort((a, b) => a - b);
const buttons = present.map(label => {
  const button = element("button", data.classes[label]);
  button.type = "button";
  button.append(element("span", counts[label].toLocaleString("en")));
  button.style.setProperty("--dot", data.colours[label]);
  button.setAttribute("aria-pressed", "false");
  button.dataset.name = data.classes[label].toLowerCase();
  button.addEventListener("click", () => {
    if (!picked.delete(label)) picked.add(label);
    button.setAttribute("aria-pressed", picked.has(label));
    restyle();
  });
  return button;
});
const all = counts.reduce((n, one) => n + (one > 0), 0);
if (all > present.length) buttons.push(element("span", `${present.length} of ${all.toLocaleString("en")} classes, the largest ones`, "note"));
document.getElementById("classes").append(...buttons);
document.getElementById("find").addEventListener("input", event => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const button of buttons) button.hidden = !(button.dataset.name ?? "").includes(wanted);
});
document.getElementById("find").addEventListener("keydown", event => {
  const wanted = event.target.value.trim().toLowerCase();
  if (event.key !== "Enter" || !wanted) return;
  const n = data.ids.findIndex((id, at) => at < count && id.toLowerCase().includes(wanted));
  if (n >= 0) pin(n);
});
for (const control of [training, colour]) control?.addEventListener("change", restyle);
const LEGENDS = {
  class: [],
  part: [["training", "--faint"], ["validation", "--same"], ["test", "--different"]],
  right: [["nearest neighbour right", "--right"], ["wrong", "--wrong"]],
  group: [], // its buttons carry the colours
};
const legend = () => document.getElementById("legend").replaceChildren(...LEGENDS[colour.value].map(([name, tone]) => {
  const one = element("span", `● ${name}\u2002`);
  one.style.color = `var(${tone})`;
  return one;
}));
colour.addEventListener("change", legend);
legend();
addEventListener("resize", refresh);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", restyle);
addEventListener("beforeprint", drawAll);
recolour();
drawAll();
