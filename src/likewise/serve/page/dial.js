/** A half circle from "different" to "same": where a similarity lies, and where the threshold is. */
import { drawn } from "./elements.js";
import { similarity as digits, t } from "./texts.js";

const RADIUS = 120,
  CENTRE = [160, 146],
  THICK = 16;

/** The ends of the scale: a cosine lies within 0..1 or, where one is negative, -1..1; a distance ends at 0. */
export function ends(sim, values) {
  const least = Math.min(...values),
    most = Math.max(...values);
  if (sim === "cosine") return [least < 0 ? -1 : 0, 1];
  const room = 0.25 * (most - least || Math.abs(most) || 1);
  return [least - 4 * room, sim === "dot" ? most + 2 * room : 0];
}

/** interval: of the threshold, or null. */
export function dial({ similarity, threshold, interval, sim }) {
  const [low, high] = ends(sim, [similarity, threshold, ...(interval ?? [])]);
  const share = value => Math.min(1, Math.max(0, (value - low) / (high - low)));
  const at = (value, radius) => {
    const angle = Math.PI * (1 - share(value));
    return [CENTRE[0] + radius * Math.cos(angle), CENTRE[1] - radius * Math.sin(angle)];
  };
  const arc = (from, to, kind, radius = RADIUS) => {
    const [x, y] = at(from, radius),
      [u, v] = at(to, radius);
    return drawn("path", { class: kind, d: `M ${x} ${y} A ${radius} ${radius} 0 0 1 ${u} ${v}` });
  };
  const line = (value, from, to, kind) => {
    const [x1, y1] = at(value, from),
      [x2, y2] = at(value, to);
    return drawn("line", { class: kind, x1, y1, x2, y2 });
  };
  const text = (x, y, kind, anchor, content) => drawn("text", { x, y, class: kind, "text-anchor": anchor }, content);
  const label = at(threshold, RADIUS + THICK + 8);
  const anchor = share(threshold) < 0.4 ? "end" : share(threshold) > 0.6 ? "start" : "middle";
  const name = t("dial.label", {
    similarity: digits(similarity),
    threshold: digits(threshold),
    low: digits(low),
    high: digits(high),
  });
  const drawing = drawn(
    "svg",
    { class: "dial", viewBox: "-20 -14 360 206", role: "img", "aria-label": name },
    arc(low, threshold, "different"),
    arc(threshold, high, "same"),
  );
  if (interval)
    drawing.append(arc(Math.max(low, interval[0]), Math.min(high, interval[1]), "interval", RADIUS + THICK / 2 + 3));
  drawing.append(
    line(threshold, RADIUS - THICK / 2 - 3, RADIUS + THICK / 2 + 5, "threshold"),
    text(label[0], label[1], "mark", anchor, digits(threshold)),
    line(similarity, 0, RADIUS - THICK / 2 - 6, "needle"),
    drawn("circle", { class: "hub", cx: CENTRE[0], cy: CENTRE[1], r: 5 }),
    text(CENTRE[0] - RADIUS, CENTRE[1] + 22, "end", "middle", digits(low)),
    text(CENTRE[0] + RADIUS, CENTRE[1] + 22, "end", "middle", digits(high)),
    text(CENTRE[0] - RADIUS, CENTRE[1] + 39, "side", "middle", t("dial.different")),
    text(CENTRE[0] + RADIUS, CENTRE[1] + 39, "side", "middle", t("dial.same")),
    text(CENTRE[0], CENTRE[1] + 32, "value", "middle", digits(similarity)),
  );
  return drawing;
}
