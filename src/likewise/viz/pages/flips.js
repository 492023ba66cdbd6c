"use strict";
// Two maps of the same images: what became of each, and a zoom of one that the other follows.
const link = document.getElementById("link"), MARGIN = 0.05; // share of the images in view that may lie outside the other view
const together = () => link.getAttribute("aria-pressed") === "true";
const percentile = (sorted, share) => sorted[Math.round(share * (sorted.length - 1))];

/** Centre the other map on the highlighted images that are in view on this one, and zoom until they fill it. */
moving = from => {
  if (!together()) return;
  const [other] = maps.filter(map => map !== from), side = from.canvas.clientWidth;
  if (from.zoom === 1 && !from.x && !from.y) { Object.assign(other, { zoom: 1, x: 0, y: 0 }); return; }
  const xs = [], ys = [], collect = keep => {
    for (let n = 0; n < count; n++) {
      if (!shown(n) || !keep(n)) continue;
      const [x, y] = at(from, n);
      if (x < 0 || y < 0 || x > side || y > side) continue;
      xs.push(other.places[2 * n]);
      ys.push(other.places[2 * n + 1]);
    }
  };
  if (selected || picked.size || grouped.size) collect(highlighted);
  if (!xs.length) collect(() => true);
  if (!xs.length) return;
  const spans = [xs, ys].map(values => {
    const sorted = Float64Array.from(values).sort();
    return [percentile(sorted, MARGIN), percentile(sorted, 1 - MARGIN)];
  });
  const room = Math.max(...spans.map(([low, high]) => high - low), GRID / MOST_ZOOM);
  other.zoom = Math.min(MOST_ZOOM, Math.max(1, 0.9 * GRID / room));
  const scale = scaleOf(other), [x, y] = spans.map(([low, high]) => (low + high) / 2);
  other.x = other.canvas.clientWidth / 2 - EDGE - x * scale;
  other.y = other.canvas.clientHeight / 2 - EDGE - y * scale;
};

link.addEventListener("click", () => {
  link.setAttribute("aria-pressed", !together());
  moving(maps[0]);
  refresh();
});

const of = new Uint32Array(data.groupNames.length);
for (let n = 0; n < count; n++) of[groups[n]]++;
document.getElementById("groups").append(...data.groupNames.map((name, group) => {
  const button = element("button", name);
  button.type = "button";
  button.append(element("span", of[group].toLocaleString("en")));
  button.style.setProperty("--dot", `var(${data.groupTones[group]})`);
  button.setAttribute("aria-pressed", "false");
  button.addEventListener("click", () => {
    if (!grouped.delete(group)) grouped.add(group);
    button.setAttribute("aria-pressed", grouped.has(group));
    restyle();
  });
  return button;
}));
// The lists come after this script in the page.
document.addEventListener("click", event => {
  const button = event.target.closest("button[data-image]");
  if (!button) return;
  const n = Number(button.dataset.image);
  for (const map of maps) {
    const [x, y] = at(map, n), side = map.canvas.clientWidth;
    if (x < 0 || y < 0 || x > side || y > side) Object.assign(map, { zoom: 1, x: 0, y: 0 });
  }
  pin(n);
  maps[0].canvas.focus({ preventScroll: true });
  maps[0].canvas.scrollIntoView({ block: "start" });
});
