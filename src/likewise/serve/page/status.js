/** Sentences on what goes on: in a view while it works, and below the page after a change, with its undo. */
import { Problem, call } from "./api.js";
import { button, byId, element } from "./elements.js";
import { hasText, t } from "./texts.js";

const RETRYABLE = [0, 429, 503, 504];

/** Runs `work`, telling what it does. A failure becomes its sentence, with a button where another try may help.
 *  Undefined after a failure that no other try mends. Where other work has begun on the same node, it is left alone. */
export async function during(node, doing, work) {
  for (;;) {
    const working = element("span", { class: "working" }, doing);
    node.replaceChildren(working);
    node.setAttribute("aria-busy", "true");
    try {
      const result = await work();
      if (working.isConnected) node.replaceChildren();
      return result;
    } catch (problem) {
      if (!(problem instanceof Problem)) throw problem;
      if (!working.isConnected) return undefined;
      node.replaceChildren(element("p", { class: "error" }, problem.message));
      if (!RETRYABLE.includes(problem.status)) return undefined;
    } finally {
      if (!node.querySelector(".working")) node.removeAttribute("aria-busy");
    }
    await new Promise(resolve => node.append(button(t("page.retry"), resolve)));
  }
}

/** Says a result to screen readers: a live region tells only of what is put into it later. */
export const say = (node, text) => node.replaceChildren(element("span", { class: "sr" }, text));

/** Tells the other views that the gallery is no longer what they show. */
export const changed = () => document.dispatchEvent(new CustomEvent("likewise:changed"));

/** A sentence below the page, until it is closed or the next one comes; undo adds the button that takes the change back. */
export function notify(text, { undo = false, error = false } = {}) {
  const note = element("div", { class: error ? "notice error" : "notice", role: error ? "alert" : "status" });
  byId("notice").replaceChildren(note);
  // An empty live region first: screen readers announce what is put into it.
  requestAnimationFrame(() => {
    note.append(element("p", {}, text));
    if (undo) note.append(button(t("undo.action"), takeBack, "primary"));
    note.append(
      element("button", { type: "button", class: "quiet", "aria-label": t("page.close"), onclick: () => clearNotice() }, "✕"),
    );
  });
}

/** Takes away the sentence below the page; where it offers an undo, only with `all`. */
export function clearNotice({ all = true } = {}) {
  if (!all && byId("notice").querySelector(".primary")) return;
  const held = byId("notice").contains(document.activeElement);
  byId("notice").replaceChildren();
  if (held) byId("main").focus();
}

/** Takes back the gallery's last change. */
async function takeBack() {
  try {
    const { undone } = await call("POST", "undo");
    notify(t("undo.done", { what: t(hasText(`undo.${undone}`) ? `undo.${undone}` : "undo.other_step") }));
    document.dispatchEvent(new CustomEvent("likewise:undone"));
    changed();
  } catch (problem) {
    notify(problem.message, { error: true });
  }
  byId("main").focus();
}
