/** The token: asked for when the service wants one, kept for this tab only. */
import { token } from "./api.js";
import { openDialog } from "./dialogs.js";
import { button, byId, element, newId } from "./elements.js";
import { t } from "./texts.js";

/** restart() reads the galleries anew. Returns what asks for a token, with the reason. */
export function tokenEntry(restart) {
  let open = null;

  function ask(reason = "") {
    byId("token").hidden = false;
    if (open) return;
    const input = element("input", {
      type: "password",
      id: newId(),
      autocomplete: "off",
      required: true,
      spellcheck: "false",
    });
    const forget = token.get() && button(t("token.forget"), () => use(""));
    const body = element(
      "form",
      {},
      reason ? element("p", { class: "error", role: "alert" }, reason) : null,
      element("p", {}, t("token.note")),
      element("label", { for: input.id }, t("token.label")),
      input,
      element("div", { class: "row" }, element("button", { class: "primary" }, t("token.action")), forget || null),
    );
    body.addEventListener("submit", event => {
      event.preventDefault();
      use(input.value.trim());
    });
    open = openDialog(t("token.title"), body);
    open.addEventListener("close", () => {
      open = null;
    });
    input.focus();
  }

  function use(value) {
    token.set(value);
    open.close();
    restart();
  }

  byId("token").addEventListener("click", () => ask());
  byId("token").hidden = !token.get();
  return ask;
}
