/** Dialogs: each is a native <dialog>, so that Esc closes it and the focus stays inside and returns afterwards. */
import { button, element, newId } from "./elements.js";
import { suggestClasses } from "./class_names.js";
import { t } from "./texts.js";

/** Shows a dialog with a title and content; it is gone once closed. */
export function openDialog(title, ...content) {
  const id = newId();
  const close = element("button", { type: "button", class: "quiet close", "aria-label": t("page.close") }, "✕");
  const dialog = element("dialog", { "aria-labelledby": id }, close, element("h2", { id }, title), content);
  close.addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", event => event.target === dialog && dialog.close());
  dialog.addEventListener("close", () => dialog.remove());
  document.body.append(dialog);
  dialog.showModal();
  return dialog;
}

/** Asks before what cannot be undone; word: what has to be typed first, empty for nothing. Resolves true or false. */
export function confirmation({ title, note, action, word = "" }) {
  return new Promise(resolve => {
    const input = word ? element("input", { autocomplete: "off", id: newId(), spellcheck: "false" }) : null;
    const go = element("button", { class: "danger", disabled: Boolean(word) }, action);
    input?.addEventListener("input", () => {
      go.disabled = input.value !== word;
    });
    const typed = input && [element("label", { for: input.id }, t("forget.type", { name: word })), input];
    answerForm({
      title,
      note,
      fields: typed ?? [],
      go,
      resolve,
      value: () => !word || input.value === word,
      otherwise: false,
    });
  });
}

/** Asks for a class name; existing: only one that is there is meant. Resolves the name, or null. */
export function askClass({ title, note = "", label, action, value = "", suggest = false }) {
  return new Promise(resolve => {
    const input = element("input", { id: newId(), autocomplete: "off", maxlength: 200, required: true, value });
    const fields = [element("label", { for: input.id }, label), input];
    if (suggest) suggestClasses(input);
    const go = element("button", { class: "primary" }, action);
    answerForm({ title, note, fields, go, resolve, value: () => input.value.trim() || null, otherwise: null });
    input.select();
  });
}

/** Asks for one of the options, each [value, text]. Resolves its value, or null. */
export function askChoice({ title, note, label, action, options }) {
  return new Promise(resolve => {
    const list = element(
      "select",
      { id: newId() },
      options.map(([value, text]) => element("option", { value }, text)),
    );
    const go = element("button", { class: "primary" }, action);
    answerForm({
      title,
      note,
      fields: [element("label", { for: list.id }, label), list],
      go,
      resolve,
      value: () => list.value,
      otherwise: null,
    });
  });
}

function answerForm({ title, note, fields, go, resolve, value, otherwise }) {
  let result = otherwise;
  const cancel = button(t("page.cancel"), () => dialog.close());
  const body = element(
    "form",
    {},
    note ? element("p", {}, note) : null,
    fields,
    element("div", { class: "row" }, go, cancel),
  );
  const dialog = openDialog(title, body);
  body.addEventListener("submit", event => {
    event.preventDefault();
    result = value();
    if (result) dialog.close();
  });
  dialog.addEventListener("close", () => resolve(result));
  (body.querySelector("input, select") ?? cancel).focus();
}
