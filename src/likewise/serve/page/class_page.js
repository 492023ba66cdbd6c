/** One class: its images in pages, and what can be changed of it. */
import { call, may } from "./api.js";
import { askClass, confirmation } from "./dialogs.js";
import { button, byId, element } from "./elements.js";
import { change, moveImages, openImage, removeImages } from "./image_dialog.js";
import { during } from "./status.js";
import { t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

const PAGE = 48;

/** go(hash) opens another view. */
export function classPage(go) {
  let label = "",
    cursor = null,
    turn = 0;
  const chosen = new Set();

  async function load(next) {
    const mine = (turn += 1);
    const found = await during(byId("class-status"), t("class.working"), () =>
      call("GET", "images", { query: { label, limit: PAGE, ...(next && { cursor: next }) } }),
    );
    if (!found || mine !== turn) return;
    const tiles = found.images.map(tile);
    if (!next) {
      byId("class-list").replaceChildren(...tiles);
      choose();
      byId("class-status").replaceChildren(
        element("span", { class: "note" }, found.total ? t("class.count", { n: found.total }) : t("class.gone")),
      );
    } else {
      byId("class-list").append(...tiles);
      tiles[0]?.querySelector("button").focus();
    }
    cursor = found.next;
    byId("class-more").hidden = cursor === null;
    byId("class-actions").hidden = !found.total || !may("write");
  }

  function tile(image) {
    const open = element(
      "button",
      {
        type: "button",
        class: "tile",
        "aria-label": t("class.open", { id: image.id }),
        onclick: () => openImage(image),
      },
      thumbnail(image.id, image.label, image.thumbnail),
    );
    const box =
      may("write") &&
      element(
        "label",
        { class: "pick" },
        element("input", {
          type: "checkbox",
          onchange: event => {
            if (event.target.checked) chosen.add(image.id);
            else chosen.delete(image.id);
            selection();
          },
        }),
        element("span", {}, t("class.select"), element("span", { class: "sr" }, ` ${image.id}`)),
      );
    return element("li", {}, open, box || "");
  }

  function choose() {
    chosen.clear();
    selection();
  }

  function selection() {
    byId("class-selection").hidden = !chosen.size;
    byId("class-selection").replaceChildren(
      element("span", { role: "status" }, t("class.chosen", { n: chosen.size })),
      button(t("class.move"), () => moveImages([...chosen])),
      button(t("class.remove_images"), () => removeImages([...chosen])),
    );
  }

  async function rename() {
    const to = await askClass({
      title: t("rename.title", { name: label }),
      label: t("rename.label"),
      action: t("rename.action"),
      value: label,
    });
    if (!to || to === label) return;
    const done = await change("classes/rename", { label, to }, ({ moved }) =>
      t("rename.done", { name: label, to, n: moved }),
    );
    if (done) go(`#browse/${encodeURIComponent(to)}`);
  }

  async function merge() {
    const into = await askClass({
      title: t("merge.title", { name: label }),
      note: t("merge.note", { name: label }),
      label: t("merge.label"),
      action: t("merge.action"),
      suggest: true,
    });
    if (!into) return;
    const done = await change("classes/merge", { label, into }, ({ moved }) =>
      t("merge.done", { name: label, into, n: moved }),
    );
    if (done) go(`#browse/${encodeURIComponent(into)}`);
  }

  async function remove() {
    if (await change("classes/remove", { label }, ({ removed }) => t("remove.class_done", { name: label, n: removed })))
      go("#browse");
  }

  async function forget() {
    const sure = await confirmation({
      title: t("forget.title", { name: label }),
      note: t("forget.note"),
      action: t("forget.action"),
      word: label,
    });
    if (!sure) return;
    const sentence = ({ removed, erased }) =>
      t(erased ? "forget.done" : "forget.not_erased", { name: label, n: removed });
    if (await change("classes/forget", { label }, sentence, { undo: false })) go("#browse");
  }

  function actions() {
    byId("class-denied").hidden = may("write");
    byId("class-actions").replaceChildren(
      button(t("rename.action"), rename),
      button(t("merge.action"), merge),
      button(t("class.remove"), remove),
      may("admin")
        ? button(t("forget.action"), forget, "danger")
        : element("span", { class: "note" }, t("forget.admin_only")),
    );
  }

  byId("class-more").addEventListener("click", () => load(cursor));
  return {
    show(name) {
      label = name;
      byId("class-title").textContent = name;
      byId("class-list").replaceChildren();
      byId("class-more").hidden = true;
      actions();
      byId("class-actions").hidden = true;
      choose();
      return load(null);
    },
  };
}
