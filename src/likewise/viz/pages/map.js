"use strict";
// The map: points as stamps in a bitmap, a grid to find the one under the pointer, and what is highlighted.
const data = JSON.parse(document.getElementById("data").textContent);
const unpack = (Kind, text) => new Kind(Uint8Array.from(atob(text), letter => letter.charCodeAt(0)).buffer);
const count = data.shown, GRID = 10000, NOWHERE = 65535, EDGE = 14, NEAR = 12, CELLS = 128, MOST_ZOOM = 200;
const labels = unpack(Uint32Array, data.labels), parts = unpack(Uint8Array, data.parts);
const right = unpack(Uint8Array, data.right);
const groups = data.groups && unpack(Uint8Array, data.groups); // what became of each image, where two embeddings are compared
const sides = (data.sides ?? [{ title: "", neighbours: data.neighbours, similarities: data.similarities }]).map(side => ({
  title: side.title, near: unpack(Int32Array, side.neighbours), sims: unpack(Float32Array, side.similarities),
}));
const PARTS = ["training", "validation", "test"];
const training = document.getElementById("training"), colour = document.getElementById("colour"), tip = document.getElementById("card");
const maps = [...document.querySelectorAll("canvas[data-map]")].map((canvas, n) => {
  const places = unpack(Uint16Array, data.maps[n]);
  return { canvas, places, grid: gridOf(places), pen: canvas.getContext("2d"), zoom: 1, x: 0, y: 0 };
});
const picked = new Set(), grouped = new Set(); // classes and groups that are highlighted
let pointed = -1, pinned = -1, selected = null; // an image, an image, Uint8Array by image
let paint = new Uint32Array(count), order = new Uint32Array(0), dimFrom = 0, scheduled = false;
let moving = map => {};                       // called with a map that was moved or zoomed
let chosen = () => {};                        // called when another image is pinned, or others are selected

/** Images by the cell of a CELLS x CELLS grid that they lie in: those of cell c are items[start[c]] to items[start[c + 1]]. */
function gridOf(places) {
  const start = new Uint32Array(CELLS * CELLS + 1), items = new Uint32Array(count), cells = new Uint32Array(count);
  for (let n = 0; n < count; n++) {
    const x = places[2 * n], y = places[2 * n + 1];
    cells[n] = x === NOWHERE ? CELLS * CELLS : cellOf(x) + CELLS * cellOf(y);
    if (cells[n] < CELLS * CELLS) start[cells[n] + 1]++;
  }
  for (let c = 0; c < CELLS * CELLS; c++) start[c + 1] += start[c];
  const next = start.slice();
  for (let n = 0; n < count; n++) if (cells[n] < CELLS * CELLS) items[next[cells[n]]++] = n;
  return { start, items };
}

function cellOf(x) { return Math.max(0, Math.min(CELLS - 1, Math.floor(x * CELLS / (GRID + 1)))); }

const scaleOf = map => map.zoom * (map.canvas.clientWidth - 2 * EDGE) / GRID;
const has = (map, n) => map.places[2 * n] !== NOWHERE;

/** Position of an image on the canvas, in CSS pixels. */
function at(map, n) {
  const scale = scaleOf(map);
  return [EDGE + map.places[2 * n] * scale + map.x, EDGE + map.places[2 * n + 1] * scale + map.y];
}

const shown = n => parts[n] > 0 || !training || training.checked;

/** Whether an image stands out: it is selected, its class is picked, or it is of the class under the pointer. */
function highlighted(n) {
  if (selected) return selected[n] === 1;
  if (picked.size || grouped.size) return (!picked.size || picked.has(labels[n])) && (!grouped.size || grouped.has(groups[n]));
  const from = pinned >= 0 ? pinned : count > 20000 ? -1 : pointed;  // of very many points, only a pinned one
  return from < 0 || labels[n] === labels[from];
}

const theme = name => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const rgb = text => [1, 3, 5].map(i => parseInt(text.slice(i, i + 2), 16));
const word = ([r, g, b]) => (255 << 24 | b << 16 | g << 8 | r) >>> 0;

/** What is drawn in which order and colour; called when that changes, not when the map moves. */
function recolour() {
  const paper = rgb(theme("--paper")), mixed = ([r, g, b], share) => word([r, g, b].map((v, i) => Math.round(share * v + (1 - share) * paper[i])));
  const kinds = { right: ["--wrong", "--right", "--faint"], part: ["--faint", "--same", "--different"], group: data.groupTones }[colour.value];
  const palette = (kinds ? kinds.map(theme) : data.colours).map(rgb);
  const code = { right, part: parts, group: groups }[colour.value] ?? labels;
  const bright = palette.map(one => word(one)), dim = palette.map(one => mixed(one, 0.14));
  const layers = [[], [], [], []];
  paint = new Uint32Array(count);
  for (let n = 0; n < count; n++) {
    if (!shown(n)) continue;
    const out = highlighted(n);
    paint[n] = (out ? bright : dim)[code[n]];
    layers[2 * out + (parts[n] > 0)].push(n);
  }
  order = Uint32Array.from(layers.flat());
  dimFrom = layers[0].length + layers[1].length;
}

/** Pixels of a disc: dx, dy, place from its centre in a bitmap, and coverage of 0 to 255; hard edges for very many points. */
function disc(radius, side) {
  const dx = [], dy = [], cover = [], reach = Math.ceil(radius), hard = count > 20000;
  for (let y = -reach; y <= reach; y++)
    for (let x = -reach; x <= reach; x++) {
      const share = Math.max(0, Math.min(1, radius + 0.5 - Math.hypot(x, y)));
      if (share < (hard ? 0.4 : 0.1)) continue;
      dx.push(x);
      dy.push(y);
      cover.push(hard ? 255 : Math.round(255 * share));
    }
  return { dx, dy, cover, hard, reach, offset: Int32Array.from(dx, (x, i) => dy[i] * side + x) };
}

function blend(under, over, cover) {
  if (under === 0) return (over & 0xffffff | cover << 24) >>> 0;
  const share = cover / 255, mix = shift => Math.round((over >>> shift & 255) * share + (under >>> shift & 255) * (1 - share));
  return (Math.max(under >>> 24, cover) << 24 | mix(16) << 16 | mix(8) << 8 | mix(0)) >>> 0;
}

function stamp(pixels, side, x, y, mask, tone) {
  const { offset, cover, reach, dx, dy } = mask, centre = y * side + x, many = offset.length;
  const whole = x >= reach && y >= reach && x < side - reach && y < side - reach;
  if (mask.hard && whole) {
    for (let i = 0; i < many; i++) pixels[centre + offset[i]] = tone;
    return;
  }
  for (let i = 0; i < many; i++) {
    if (!whole && (x + dx[i] < 0 || y + dy[i] < 0 || x + dx[i] >= side || y + dy[i] >= side)) continue;
    const place = centre + offset[i];
    pixels[place] = cover[i] === 255 ? tone : blend(pixels[place], tone, cover[i]);
  }
}

function draw(map) {
  const { canvas, pen, places } = map, dense = window.devicePixelRatio || 1, side = Math.round(canvas.clientWidth * dense);
  if (!side) return;
  if (canvas.width !== side || !map.image) {
    canvas.width = canvas.height = side;
    map.image = pen.createImageData(side, side);
    map.pixels = new Uint32Array(map.image.data.buffer);
  }
  const pixels = map.pixels.fill(0), scale = scaleOf(map) * dense, left = (EDGE + map.x) * dense, top = (EDGE + map.y) * dense;
  const size = Math.max(0.9, Math.min(2.6, 2.6 * (3000 / Math.max(count, 1)) ** 0.3) * Math.min(2, map.zoom ** 0.25)) * dense;
  const small = disc(size, side), large = disc(1.5 * size, side), ring = disc(1.5 * size + dense, side), ink = word(rgb(theme("--ink")));
  for (let i = 0; i < order.length; i++) {
    const n = order[i], px = places[2 * n];
    if (px === NOWHERE) continue;
    const x = Math.round(left + px * scale), y = Math.round(top + places[2 * n + 1] * scale);
    if (x < -9 || y < -9 || x > side + 9 || y > side + 9) continue;
    if (parts[n] > 0 && count <= 5000 && i >= dimFrom) stamp(pixels, side, x, y, ring, ink);
    stamp(pixels, side, x, y, parts[n] > 0 ? large : small, paint[n]);
  }
  pen.putImageData(map.image, 0, 0);
  for (const [n, radius] of [[pointed, 9], [pinned, 11]]) {
    if (n < 0 || n >= count || !has(map, n)) continue;
    const [x, y] = at(map, n);
    pen.lineWidth = 2 * dense;
    pen.strokeStyle = theme("--ink");
    pen.beginPath();
    pen.arc(x * dense, y * dense, radius * dense, 0, 2 * Math.PI);
    pen.stroke();
  }
  if (map.loop) {
    pen.lineWidth = 1.5 * dense;
    pen.strokeStyle = theme("--accent");
    pen.beginPath();
    map.loop.forEach(([x, y], i) => pen[i ? "lineTo" : "moveTo"](x * dense, y * dense));
    pen.closePath();
    pen.stroke();
  }
}

const drawAll = () => maps.forEach(draw);

/** Draw before the next frame, once, however often it is asked for. */
function refresh() {
  if (scheduled) return;
  scheduled = true;
  requestAnimationFrame(() => { scheduled = false; drawAll(); });
}

function restyle() { recolour(); refresh(); }

/** The image nearest to a place on the canvas, at most NEAR pixels away, or -1. */
function under(map, x, y, near = NEAR) {
  const scale = scaleOf(map), gx = (x - EDGE - map.x) / scale, gy = (y - EDGE - map.y) / scale, reach = near / scale;
  let best = -1, least = reach ** 2;
  for (let cy = cellOf(gy - reach); cy <= cellOf(gy + reach); cy++)
    for (let cx = cellOf(gx - reach); cx <= cellOf(gx + reach); cx++)
      for (let i = map.grid.start[cy * CELLS + cx]; i < map.grid.start[cy * CELLS + cx + 1]; i++) {
        const n = map.grid.items[i];
        if (!shown(n)) continue;
        const far = (map.places[2 * n] - gx) ** 2 + (map.places[2 * n + 1] - gy) ** 2;
        if (far < least || (far === least && parts[n] > 0)) [best, least] = [n, far];
      }
  return best;
}

// Thumbnails

const sheets = (data.sprites?.sheets ?? []).map(uri => { const image = new Image(); image.src = uri; return image; });

/** A canvas with the thumbnail of an image, or nothing where there is none. */
function thumb(n, side) {
  if (!data.sprites || n >= (data.pictured ?? count)) return [];
  const { side: from, columns, sheet } = data.sprites, image = sheets[Math.floor(n / sheet)], k = n % sheet;
  const canvas = document.createElement("canvas"), dense = window.devicePixelRatio || 1;
  canvas.width = canvas.height = Math.round(side * dense);
  canvas.style.width = canvas.style.height = `${side}px`;
  const wide = Math.min(columns, Math.round(image.naturalWidth / from) || columns);
  const put = () => {
    const pen = canvas.getContext("2d");
    pen.imageSmoothingEnabled = from >= 32;
    pen.drawImage(image, k % wide * from, Math.floor(k / wide) * from, from, from, 0, 0, canvas.width, canvas.height);
  };
  if (image.complete && image.naturalWidth) put(); else image.decode().then(() => canvas.replaceWith(thumb(n, side)[0] ?? ""));
  canvas.setAttribute("role", "img");
  canvas.setAttribute("aria-label", data.ids[n]);
  return [canvas];
}

const element = (name, text, kind) => { const made = document.createElement(name); made.textContent = text; if (kind) made.className = kind; return made; };
const className = n => data.classes[labels[n]];
const about = n => groups && n < count ? `${PARTS[parts[n]]} image, ${data.groupNames[groups[n]]}` : `${PARTS[parts[n]]} image${n < count && right[n] < 2 ? right[n] ? ", nearest neighbour right" : ", nearest neighbour wrong" : ""}`;

function explain(n, event) {
  tip.hidden = n < 0;
  if (n < 0) return;
  tip.replaceChildren(...thumb(n, 96), element("b", className(n)), element("span", data.ids[n]), element("span", about(n)));
  const wide = tip.offsetWidth, high = tip.offsetHeight;
  tip.style.left = `${Math.max(4, Math.min(event.clientX + 16, innerWidth - wide - 8))}px`;
  tip.style.top = `${Math.max(4, event.clientY + 16 + high > innerHeight ? event.clientY - high - 12 : event.clientY + 16)}px`;
}

function point(n, event) {
  explain(n, event);
  if (n === pointed) return;
  pointed = n;
  if (count > 20000 || pinned >= 0 || selected) refresh(); else restyle();
}

function zoomAt(map, x, y, factor) {
  const zoom = Math.min(MOST_ZOOM, Math.max(1, map.zoom * factor)), times = zoom / map.zoom;
  map.x = x - EDGE - (x - EDGE - map.x) * times;
  map.y = y - EDGE - (y - EDGE - map.y) * times;
  map.zoom = zoom;
  moving(map);
  refresh();
}
