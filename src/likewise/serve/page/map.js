/** The map of the gallery: each point is an image, near points are alike; a point opens its image. */
import { call } from "./api.js";
import { byId, element } from "./elements.js";
import { openImage } from "./image_dialog.js";
import { plot } from "./plot.js";
import { during } from "./status.js";
import { t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

const TURN = 137.508; // degrees of the golden angle: neighbouring classes get hues far apart

export function mapView() {
  let map = null,
    fresh = false,
    turn = 0;
  const drawing = plot(byId("map-canvas"), { onPoint: tell, onOpen: open });

  function tell(n) {
    if (n < 0) return byId("map-point").replaceChildren(t("map.none"));
    const name = map.classes[map.points[n][2]];
    return byId("map-point").replaceChildren(
      thumbnail(map.ids[n], name),
      element("span", {}, element("strong", {}, name), " ", element("span", { class: "note" }, t("map.point"))),
    );
  }

  function open(n) {
    openImage({ id: map.ids[n], label: map.classes[map.points[n][2]] });
  }

  async function load() {
    const mine = (turn += 1);
    const found = await during(byId("map-status"), t("map.working"), () => call("GET", "map"));
    if (!found || mine !== turn) return;
    fresh = true;
    map = found;
    byId("map-whole").hidden = !map.points.length;
    if (!map.points.length) {
      byId("map-status").replaceChildren(t("map.empty"), " ", element("a", { href: "#enroll" }, t("ask.empty_action")));
      return;
    }
    const told =
      map.shown < map.total
        ? t("map.sampled", { shown: map.shown, total: map.total })
        : t("map.count", { n: map.total });
    byId("map-status").replaceChildren(element("span", { class: "note" }, told));
    byId("map-class").replaceChildren(
      element("option", { value: "" }, t("map.all")),
      ...map.classes.map((name, n) => element("option", { value: n }, name)),
    );
    drawing.set(map.points, n => `hsl(${(n * TURN) % 360} 62% ${50 + 8 * (n % 2)}%)`);
    tell(-1);
  }

  byId("map-class").addEventListener("change", event => {
    const wanted = event.target.value;
    drawing.show(n => wanted === "" || map.points[n][2] === Number(wanted));
  });
  byId("map-in").addEventListener("click", () => drawing.zoomBy(1.5));
  byId("map-out").addEventListener("click", () => drawing.zoomBy(1 / 1.5));
  byId("map-reset").addEventListener("click", drawing.reset);
  return {
    show: () => (fresh ? undefined : load()),
    stale() {
      fresh = false;
    },
    reset() {
      fresh = false;
      turn += 1;
      byId("map-whole").hidden = true;
      byId("map-status").replaceChildren();
    },
  };
}
