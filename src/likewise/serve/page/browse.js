/** The classes of the gallery, found by a part of their names. */
import { call } from "./api.js";
import { byId, element } from "./elements.js";
import { during } from "./status.js";
import { t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

const PAGE = 48;
const PAUSE = 200; // milliseconds without a key before the search starts

export function classList() {
  let cursor = null,
    turn = 0,
    timer = 0,
    fresh = false;

  async function load(next) {
    const mine = (turn += 1),
      q = byId("browse-q").value.trim();
    const found = await during(byId("browse-status"), t("browse.working"), () =>
      call("GET", "classes", { query: { q, limit: PAGE, ...(next && { cursor: next }) } }),
    );
    if (!found || mine !== turn) return;
    fresh = true;
    const tiles = found.classes.map(tile);
    if (next) byId("browse-list").append(...tiles);
    else byId("browse-list").replaceChildren(...tiles);
    if (next) tiles[0]?.querySelector("a").focus();
    cursor = found.next;
    byId("browse-more").hidden = cursor === null;
    if (!next) byId("browse-status").replaceChildren(...summary(found, q));
  }

  byId("browse-q").addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(() => load(null), PAUSE);
  });
  byId("browse-search").addEventListener("submit", event => {
    event.preventDefault();
    load(null);
  });
  byId("browse-more").addEventListener("click", () => load(cursor));
  return {
    show: () => (fresh ? undefined : load(null)),
    stale() {
      fresh = false;
    },
    reset() {
      fresh = false;
      turn += 1;
      byId("browse-q").value = "";
      byId("browse-list").replaceChildren();
      byId("browse-more").hidden = true;
    },
  };
}

function summary({ total, classes }, q) {
  if (classes.length) return [element("span", { class: "note" }, t(q ? "browse.found" : "browse.count", { n: total }))];
  if (q) return [t("browse.no_match", { q })];
  return [t("browse.empty"), " ", element("a", { href: "#enroll" }, t("ask.empty_action"))];
}

function tile({ label, images, example }) {
  return element(
    "li",
    {},
    element(
      "a",
      { class: "tile", href: `#browse/${encodeURIComponent(label)}` },
      thumbnail(example, label),
      element("span", { class: "name" }, label),
      element("span", { class: "figure" }, t("browse.images", { n: images })),
    ),
  );
}
