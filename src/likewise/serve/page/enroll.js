/** Enroll images into a class, existing or new, and show what the quality gate found. */
import { call, form, may } from "./api.js";
import { suggestClasses } from "./class_names.js";
import { byId, element } from "./elements.js";
import { imagePlace, prepared, preview } from "./images.js";
import { changed, during, notify, say } from "./status.js";
import { t } from "./texts.js";

const MOST = 32; // images of one call

export function enrollView() {
  let images = [];
  imagePlace(byId("enroll-images"), { text: t("enroll.drop"), several: true, onFiles: add });
  suggestClasses(byId("enroll-label"));

  function add(files) {
    const room = MOST - images.length;
    images = [...images, ...files.slice(0, room)];
    byId("enroll-answer").replaceChildren();
    byId("enroll-status").textContent = files.length > room ? t("enroll.too_many", { n: MOST }) : "";
    list();
  }

  function list() {
    byId("enroll-list").replaceChildren(
      ...images.map((file, n) => {
        const drop = element(
          "button",
          {
            type: "button",
            class: "quiet",
            "aria-label": t("enroll.drop_one", { n: n + 1 }),
            onclick: () => {
              images.splice(n, 1);
              list();
              (
                byId("enroll-list").querySelectorAll("button")[Math.min(n, images.length - 1)] ??
                byId("enroll-images").querySelector("button")
              ).focus();
            },
          },
          t("enroll.take_out"),
        );
        return element("li", {}, preview(file, t("enroll.image", { n: n + 1 })), drop);
      }),
    );
  }

  async function enroll() {
    const label = byId("enroll-label").value.trim(),
      status = byId("enroll-status");
    if (!images.length || !label) {
      status.textContent = t(images.length ? "enroll.needs_class" : "enroll.needs_images");
      (images.length ? byId("enroll-label") : byId("enroll-images").querySelector("button")).focus();
      return;
    }
    const gate = document.querySelector("input[name=gate]:checked").value,
      sent = images;
    byId("enroll-answer").replaceChildren();
    const result = await during(status, t("enroll.working", { n: sent.length }), async () => {
      const ready = [];
      for (const file of sent) ready.push(await prepared(file)); // one after another: a phone holds few decoded photos
      return call("POST", "enroll", { body: form(ready, { label, gate }) });
    });
    if (!result) return;
    const n = result.added.length;
    say(status, t(n ? "enroll.done" : "enroll.none", { n, name: label }));
    if (n) notify(t("enroll.done", { n, name: label }), { undo: true });
    byId("enroll-answer").replaceChildren(report(result, sent, label));
    images = [];
    list();
    if (n) changed();
  }

  byId("enroll-form").addEventListener("submit", event => {
    event.preventDefault();
    enroll();
  });
  document.addEventListener("likewise:undone", () => byId("enroll-answer").replaceChildren());
  byId("enroll-form").noValidate = true;
  return {
    show() {
      byId("enroll-denied").hidden = may("write");
      byId("enroll-form").hidden = !may("write");
    },
    take: add,
    /** Images that come from an answer, with the class they are meant for. */
    begin(file, label) {
      images = [];
      add([file]);
      byId("enroll-label").value = label;
      byId("enroll-label").focus();
    },
    reset() {
      images = [];
      list();
      for (const id of ["enroll-status", "enroll-answer"]) byId(id).replaceChildren();
    },
  };
}

function report({ added, unchanged, findings }, files, label) {
  const again = unchanged.length;
  const parts = [];
  const title = added.length ? t("enroll.done", { n: added.length, name: label }) : t("enroll.none");
  parts.push(element("h2", { class: "verdict" }, title));
  if (again) parts.push(element("p", {}, t("enroll.unchanged", { n: again })));
  if (findings.length) {
    parts.push(
      element("h3", {}, t("enroll.findings")),
      element(
        "ul",
        { class: "findings" },
        findings.map(finding =>
          element(
            "li",
            {},
            files[finding.image] ? preview(files[finding.image], t("enroll.image", { n: finding.image + 1 })) : "",
            element(
              "span",
              {},
              element("strong", {}, t(finding.enrolled ? "enroll.warned" : "enroll.refused")),
              " ",
              finding.reason,
            ),
          ),
        ),
      ),
    );
  }
  if (added.length)
    parts.push(
      element(
        "p",
        {},
        element("a", { href: `#browse/${encodeURIComponent(label)}` }, t("enroll.see", { name: label })),
      ),
    );
  return element("div", { class: "answer" }, parts);
}
