/** Points on a canvas: pan, zoom, and the point under the pointer or the next one in a direction. */
const EDGE = 16,
  NEAR = 14,
  MOST_ZOOM = 60; // CSS pixels, CSS pixels, times
const TAP = 5; // CSS pixels that a tap may move

/** points: [x, y, class] within -1..1. onPoint(index or -1): pointed at; onOpen(index): tapped, or Enter pressed. */
export function plot(canvas, { onPoint, onOpen }) {
  const view = { points: [], colour: () => "", shown: () => true, zoom: 1, x: 0, y: 0, pointed: -1, waiting: false };
  const pointers = new Map(); // id -> [x, y] of each finger that is down
  let moved = 0;

  const scale = () => view.zoom * (Math.min(canvas.clientWidth, canvas.clientHeight) / 2 - EDGE);
  const at = n => [
    canvas.clientWidth / 2 + view.points[n][0] * scale() + view.x,
    canvas.clientHeight / 2 - view.points[n][1] * scale() + view.y,
  ];

  function draw() {
    view.waiting = false;
    const dense = window.devicePixelRatio || 1,
      wide = canvas.clientWidth,
      high = canvas.clientHeight;
    if (!wide) return;
    canvas.width = Math.round(wide * dense);
    canvas.height = Math.round(high * dense);
    const pen = canvas.getContext("2d"),
      ink = getComputedStyle(document.documentElement).getPropertyValue("--ink");
    pen.scale(dense, dense);
    const radius = Math.min(7, (view.points.length > 2000 ? 2 : 4) * Math.sqrt(Math.sqrt(view.zoom)));
    for (const highlighted of [false, true]) {
      pen.globalAlpha = highlighted ? 0.9 : 0.12;
      for (let n = 0; n < view.points.length; n += 1) {
        if (view.shown(n) !== highlighted) continue;
        const [x, y] = at(n);
        if (x < -9 || y < -9 || x > wide + 9 || y > high + 9) continue;
        pen.fillStyle = view.colour(view.points[n][2]);
        pen.beginPath();
        pen.arc(x, y, radius, 0, 2 * Math.PI);
        pen.fill();
      }
    }
    if (view.pointed >= 0) {
      const [x, y] = at(view.pointed);
      pen.globalAlpha = 1;
      pen.lineWidth = 2.5;
      pen.strokeStyle = ink;
      pen.beginPath();
      pen.arc(x, y, radius + 6, 0, 2 * Math.PI);
      pen.stroke();
    }
  }

  function redraw() {
    if (!view.waiting) requestAnimationFrame(draw);
    view.waiting = true;
  }

  /** The nearest point by a measure of the offsets from (x, y), below `least`; or -1. */
  function nearest(x, y, least, measure) {
    let best = -1;
    for (let n = 0; n < view.points.length; n += 1) {
      if (!view.shown(n) || (n === view.pointed && measure !== distance)) continue;
      const [px, py] = at(n),
        far = measure(px - x, py - y);
      if (far < least) [best, least] = [n, far];
    }
    return best;
  }
  const distance = (dx, dy) => dx * dx + dy * dy;

  function point(n) {
    if (n === view.pointed) return;
    view.pointed = n;
    onPoint(n);
    redraw();
  }

  function zoomBy(times, x = canvas.clientWidth / 2, y = canvas.clientHeight / 2) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, view.zoom * times)),
      real = zoom / view.zoom;
    const [cx, cy] = [x - canvas.clientWidth / 2, y - canvas.clientHeight / 2];
    [view.x, view.y, view.zoom] = [cx - (cx - view.x) * real, cy - (cy - view.y) * real, zoom];
    redraw();
  }

  function reset() {
    [view.zoom, view.x, view.y] = [1, 0, 0];
    redraw();
  }

  /** The next point to the right, left, above or below: near, and preferably straight ahead. */
  function step(dx, dy) {
    const [x, y] = view.pointed >= 0 ? at(view.pointed) : [canvas.clientWidth / 2, canvas.clientHeight / 2];
    const ahead = (ox, oy) => {
      const along = ox * dx + oy * dy,
        aside = Math.abs(ox * dy) + Math.abs(oy * dx);
      return along > 0 && aside <= 2 * along ? along + 2 * aside : Infinity;
    };
    const next = view.pointed < 0 ? nearest(x, y, Infinity, distance) : nearest(x, y, Infinity, ahead);
    if (next < 0) return;
    point(next);
    bringIntoView(next);
  }

  function bringIntoView(n) {
    const [x, y] = at(n),
      wide = canvas.clientWidth,
      high = canvas.clientHeight;
    view.x += x < EDGE ? EDGE - x : x > wide - EDGE ? wide - EDGE - x : 0;
    view.y += y < EDGE ? EDGE - y : y > high - EDGE ? high - EDGE - y : 0;
    redraw();
  }

  const inside = event => {
    const box = canvas.getBoundingClientRect();
    return [event.clientX - box.left - canvas.clientLeft, event.clientY - box.top - canvas.clientTop];
  };
  const under = place => nearest(place[0], place[1], NEAR ** 2, distance);

  canvas.addEventListener("pointerdown", event => {
    if (!pointers.size) moved = 0;
    pointers.set(event.pointerId, inside(event));
    canvas.setPointerCapture(event.pointerId);
  });
  canvas.addEventListener("pointermove", event => {
    const place = inside(event),
      before = pointers.get(event.pointerId);
    if (!before) return point(under(place));
    const others = [...pointers].filter(([id]) => id !== event.pointerId).map(([, other]) => other);
    moved += Math.hypot(place[0] - before[0], place[1] - before[1]);
    if (others.length) {
      const [other] = others,
        spread = p => Math.max(1, Math.hypot(p[0] - other[0], p[1] - other[1]));
      zoomBy(spread(place) / spread(before), (place[0] + other[0]) / 2, (place[1] + other[1]) / 2);
    } else if (moved > TAP) {
      view.x += place[0] - before[0];
      view.y += place[1] - before[1];
      redraw();
    }
    pointers.set(event.pointerId, place);
    return undefined;
  });
  canvas.addEventListener("pointerup", event => {
    const only = pointers.size === 1;
    pointers.delete(event.pointerId);
    const n = only && moved <= TAP ? under(inside(event)) : -1;
    if (n < 0) return;
    point(n);
    onOpen(n);
  });
  canvas.addEventListener("pointercancel", event => pointers.delete(event.pointerId));
  canvas.addEventListener(
    "wheel",
    event => {
      event.preventDefault();
      zoomBy(Math.exp(-event.deltaY / 400), ...inside(event));
    },
    { passive: false },
  );
  canvas.addEventListener("keydown", event => {
    const arrows = { ArrowRight: [1, 0], ArrowLeft: [-1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
    const keys = { "+": () => zoomBy(1.5), "=": () => zoomBy(1.5), "-": () => zoomBy(1 / 1.5), 0: reset };
    if (arrows[event.key] && event.shiftKey) {
      view.x -= 60 * arrows[event.key][0];
      view.y -= 60 * arrows[event.key][1];
      redraw();
    } else if (arrows[event.key]) step(...arrows[event.key]);
    else if (event.key === "Enter" && view.pointed >= 0) onOpen(view.pointed);
    else if (keys[event.key] && !event.ctrlKey && !event.metaKey) keys[event.key]();
    else return;
    event.preventDefault();
  });
  new ResizeObserver(redraw).observe(canvas);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  return {
    set(points, colour) {
      Object.assign(view, { points, colour, pointed: -1, shown: () => true });
      reset();
    },
    show(shown) {
      view.shown = shown;
      if (view.pointed >= 0 && !shown(view.pointed)) point(-1);
      redraw();
    },
    zoomBy,
    reset,
    at,
  };
}
