"use strict";
const data = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("card");
const training = document.getElementById("training");
const maps = [...document.querySelectorAll("canvas")].map((canvas, n) => ({ canvas, places: data.maps[n], zoom: 1, x: 0, y: 0 }));
const GRID = 10000, EDGE = 14, NEAR = 12;
const picked = new Set();
let pointed = -1;

// Training images are drawn first, below the held-out ones.
const order = [...data.labels.keys()].sort((a, b) => data.held_out[a] - data.held_out[b]);

/** Position of an image on the canvas, in CSS pixels. */
function at(map, n) {
  const side = map.canvas.clientWidth, scale = map.zoom * (side - 2 * EDGE) / GRID;
  return [EDGE + map.places[n][0] * scale + map.x, EDGE + map.places[n][1] * scale + map.y];
}

const shown = n => data.held_out[n] || training.checked;

/** Whether an image is highlighted: its class is picked, or is that of the image under the pointer. */
function highlighted(n) {
  if (picked.size) return picked.has(data.labels[n]);
  return pointed < 0 || data.labels[n] === data.labels[pointed];
}

function draw(map) {
  const { canvas } = map, side = canvas.clientWidth, dense = window.devicePixelRatio || 1;
  const theme = getComputedStyle(document.documentElement), ink = theme.getPropertyValue("--ink");
  canvas.width = canvas.height = Math.round(side * dense);
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  for (const out of [false, true]) {
    for (const n of order) {
      if (!shown(n) || highlighted(n) !== out) continue;
      const [x, y] = at(map, n), radius = data.held_out[n] ? 4 : 2.6;
      pen.globalAlpha = out ? (data.held_out[n] ? 1 : 0.75) : 0.1;
      pen.fillStyle = data.colours[data.labels[n]];
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fill();
      if (data.held_out[n]) {
        pen.lineWidth = 1;
        pen.strokeStyle = ink;
        pen.stroke();
      }
    }
  }
  if (pointed >= 0 && shown(pointed)) {
    const [x, y] = at(map, pointed);
    pen.globalAlpha = 1;
    pen.lineWidth = 2;
    pen.strokeStyle = ink;
    pen.beginPath();
    pen.arc(x, y, 9, 0, 2 * Math.PI);
    pen.stroke();
  }
}

const drawAll = () => maps.forEach(draw);

/** The image under the pointer, or -1. */
function under(map, x, y) {
  let best = -1, least = NEAR ** 2;
  for (const n of order) {
    if (!shown(n)) continue;
    const [px, py] = at(map, n), far = (px - x) ** 2 + (py - y) ** 2;
    if (far <= least) [best, least] = [n, far];
  }
  return best;
}

function explain(n, event) {
  tip.hidden = n < 0;
  if (n < 0) return;
  const name = document.createElement("b"), file = document.createElement("span"), part = document.createElement("span");
  name.textContent = data.classes[data.labels[n]];
  file.textContent = data.ids[n];
  part.textContent = data.held_out[n] ? "held out" : "training image";
  tip.replaceChildren(name, file, part);
  if (data.images.length) {
    const image = document.createElement("img");
    image.src = data.images[n];
    image.alt = "";
    tip.prepend(image);
  }
  const wide = tip.offsetWidth, high = tip.offsetHeight;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 16, innerWidth - wide - 8))}px`;
  tip.style.top = `${Math.max(4, event.clientY + 16 + high > innerHeight ? event.clientY - high - 12 : event.clientY + 16)}px`;
}

function point(n, event) {
  explain(n, event);
  if (n !== pointed) {
    pointed = n;
    drawAll();
  }
}

const inside = (map, event) => {
  const box = map.canvas.getBoundingClientRect();
  return [event.clientX - box.left - map.canvas.clientLeft, event.clientY - box.top - map.canvas.clientTop];
};

for (const map of maps) {
  let held = null;
  map.canvas.addEventListener("pointerdown", event => {
    held = [event.clientX - map.x, event.clientY - map.y];
    map.canvas.setPointerCapture(event.pointerId);
    point(under(map, ...inside(map, event)), event);
  });
  for (const end of ["pointerup", "pointercancel"]) map.canvas.addEventListener(end, () => { held = null; });
  map.canvas.addEventListener("pointermove", event => {
    if (!held) return point(under(map, ...inside(map, event)), event);
    [map.x, map.y] = [event.clientX - held[0], event.clientY - held[1]];
    draw(map);
  });
  map.canvas.addEventListener("pointerleave", event => point(-1, event));
  map.canvas.addEventListener("wheel", event => {
    event.preventDefault();
    const [x, y] = inside(map, event), zoom = Math.min(40, Math.max(1, map.zoom * Math.exp(-event.deltaY / 400)));
    const times = zoom / map.zoom;
    map.x = x - EDGE - (x - EDGE - map.x) * times;
    map.y = y - EDGE - (y - EDGE - map.y) * times;
    map.zoom = zoom;
    draw(map);
  }, { passive: false });
  map.canvas.addEventListener("dblclick", () => {
    Object.assign(map, { zoom: 1, x: 0, y: 0 });
    draw(map);
  });
}

const counts = data.classes.map(() => 0);
for (const label of data.labels) counts[label] += 1;
const buttons = data.classes.flatMap((name, label) => {
  if (!counts[label]) return [];
  const button = document.createElement("button"), count = document.createElement("span");
  count.textContent = counts[label];
  button.append(name, count);
  button.style.setProperty("--dot", data.colours[label]);
  button.setAttribute("aria-pressed", "false");
  button.dataset.name = name.toLowerCase();
  button.addEventListener("click", () => {
    if (!picked.delete(label)) picked.add(label);
    button.setAttribute("aria-pressed", picked.has(label));
    drawAll();
  });
  return [button];
});
document.getElementById("classes").append(...buttons);
document.getElementById("find").addEventListener("input", event => {
  const wanted = event.target.value.trim().toLowerCase();
  for (const button of buttons) button.hidden = !button.dataset.name.includes(wanted);
});
training.addEventListener("change", drawAll);
addEventListener("resize", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
drawAll();
