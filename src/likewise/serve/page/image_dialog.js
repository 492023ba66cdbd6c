/** One enrolled image: what is known of it, what can be changed, and its neighbours. */
import { call, form, may } from "./api.js";
import { askClass, openDialog } from "./dialogs.js";
import { button, element } from "./elements.js";
import { hitList } from "./hits.js";
import { changed, during, notify } from "./status.js";
import { t } from "./texts.js";
import { thumbnail } from "./thumbnails.js";

const NEIGHBOURS = 8;

/** item: id, label and, where known, metadata and whether it has a thumbnail. One such dialog is open at a time. */
export function openImage(item) {
  document.querySelector("dialog[open]")?.close();
  const status = element("div", { class: "status", role: "status" }),
    near = element("div");
  const dialog = openDialog(
    item.label,
    element(
      "div",
      { class: "about-image" },
      element("div", { class: "large" }, thumbnail(item.id, item.label, item.thumbnail ?? true)),
      facts(item),
    ),
    actions(item, () => dialog.close()),
    element("h3", {}, t("image.neighbours")),
    status,
    near,
  );
  dialog.classList.add("wide");
  during(status, t("image.searching"), async () => {
    const { hits } = await call("POST", "search", { body: form([], { id: item.id, k: NEIGHBOURS }) });
    near.append(hits.length ? hitList(hits) : element("p", { class: "note" }, t("image.alone")));
  });
}

function facts(item) {
  const rows = [
    [t("image.id"), item.id],
    ...Object.entries(item.metadata ?? {}).map(([key, value]) => [key, valueText(value)]),
  ];
  const link = element("a", { href: `#browse/${encodeURIComponent(item.label)}` }, item.label);
  link.addEventListener("click", () => link.closest("dialog").close());
  return element(
    "dl",
    { class: "facts" },
    element("dt", {}, t("image.class")),
    element("dd", {}, link),
    rows.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]).flat(),
  );
}

const valueText = value => (typeof value === "string" ? value : JSON.stringify(value));

function actions(item, close) {
  if (!may("write")) return element("p", { class: "note" }, t("page.read_only"));
  return element(
    "div",
    { class: "row" },
    button(t("class.move"), () => {
      close();
      moveImages([item.id]);
    }),
    button(t("class.remove_images"), () => {
      close();
      removeImages([item.id]);
    }),
  );
}

/** Asks for a class and moves images into it, new or not. */
export async function moveImages(ids) {
  const label = await askClass({
    title: t("move.title", { n: ids.length }),
    label: t("move.label"),
    action: t("class.move"),
    suggest: true,
  });
  if (label) await change("images/move", { ids, label }, ({ moved }) => t("move.done", { n: moved, name: label }));
}

export const removeImages = ids =>
  change("images/remove", { ids }, ({ removed }) => t("remove.images_done", { n: removed }));

/** A change of the gallery: what it did with its undo, or why it failed. The service's answer, null after a failure. */
export async function change(path, body, sentence, { undo = true } = {}) {
  try {
    const done = await call("POST", path, { body });
    notify(sentence(done), { undo });
    changed();
    return done;
  } catch (problem) {
    notify(problem.message, { error: true });
    return null;
  }
}
