"use strict";
const told = JSON.parse(document.getElementById("data").textContent);
const tip = document.getElementById("card");
const training = document.getElementById("training");
const maps = [...document.querySelectorAll("canvas")].map((canvas, n) => ({ canvas, places: told.maps[n], zoom: 1, x: 0, y: 0 }));
const GRID = 10000, EDGE = 14, NEAR = 12;
const picked = new Set();
let pointed = -1;

// Training pictures lie below, so that the held-out ones are seen.
const order = [...told.labels.keys()].sort((a, b) => told.held[a] - told.held[b]);

/** Where a picture is on the canvas, in CSS pixels. */
function at(map, n) {
  const side = map.canvas.clientWidth, scale = map.zoom * (side - 2 * EDGE) / GRID;
  return [EDGE + map.places[n][0] * scale + map.x, EDGE + map.places[n][1] * scale + map.y];
}

const shown = n => told.held[n] || training.checked;

/** Which class stands out: those that were picked, else the one of the picture under the pointer. */
function stands(n) {
  if (picked.size) return picked.has(told.labels[n]);
  return pointed < 0 || told.labels[n] === told.labels[pointed];
}

function draw(map) {
  const { canvas } = map, side = canvas.clientWidth, dense = window.devicePixelRatio || 1;
  const theme = getComputedStyle(document.documentElement), ink = theme.getPropertyValue("--ink");
  canvas.width = canvas.height = Math.round(side * dense);
  const pen = canvas.getContext("2d");
  pen.scale(dense, dense);
  for (const out of [false, true]) {
    for (const n of order) {
      if (!shown(n) || stands(n) !== out) continue;
      const [x, y] = at(map, n), radius = told.held[n] ? 4 : 2.6;
      pen.globalAlpha = out ? (told.held[n] ? 1 : 0.75) : 0.1;
      pen.fillStyle = told.colours[told.labels[n]];
      pen.beginPath();
      pen.arc(x, y, radius, 0, 2 * Math.PI);
      pen.fill();
      if (told.held[n]) {
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

/** The picture under the pointer, or -1. */
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
  name.textContent = told.classes[told.labels[n]];
  file.textContent = told.ids[n];
  part.textContent = told.held[n] ? "held out" : "training picture";
  tip.replaceChildren(name, file, part);
  if (told.pictures.length) {
    const picture = document.createElement("img");
    picture.src = told.pictures[n];
    picture.alt = "";
    tip.prepend(picture);
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

const counts = told.classes.map(() => 0);
for (const label of told.labels) counts[label] += 1;
const buttons = told.classes.flatMap((name, label) => {
  if (!counts[label]) return [];
  const button = document.createElement("button"), count = document.createElement("span");
  count.textContent = counts[label];
  button.append(name, count);
  button.style.setProperty("--dot", told.colours[label]);
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
