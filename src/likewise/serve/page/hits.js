/** Enrolled images as a list: thumbnail, class, similarity; each opens its image. */
import { element } from "./elements.js";
import { openImage } from "./image_dialog.js";
import { similarity, t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

/** hits: of a search. onReject: what "not this one" does with a hit; left out where there is no query image. */
export function hitList(hits, { onReject = null } = {}) {
  return element(
    "ol",
    { class: "tiles hits" },
    hits.map(hit => hitTile(hit, onReject)),
  );
}

function hitTile(hit, onReject) {
  const open = element(
    "button",
    { type: "button", class: "tile", onclick: () => openImage(hit) },
    thumbnail(hit.id, hit.label, hit.thumbnail),
    element("span", { class: "name" }, hit.label),
    element(
      "span",
      { class: "figure" },
      element("span", { class: "sr" }, t("hit.similarity")),
      " ",
      similarity(hit.similarity),
    ),
  );
  const reject =
    onReject &&
    element(
      "button",
      {
        type: "button",
        class: "quiet reject",
        onclick: () => onReject(hit),
        "aria-label": t("hit.not_this_label", { name: hit.label }),
      },
      t("feedback.not_this"),
    );
  return element("li", {}, open, reject);
}
