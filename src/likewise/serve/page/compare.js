/** Do two images show the same class, or does an image show a class: a dial with threshold and promised error. */
import { call, form } from "./api.js";
import { suggestClasses } from "./class_names.js";
import { dial } from "./dial.js";
import { byId, element } from "./elements.js";
import { imagePlace, prepared } from "./images.js";
import { during, say } from "./status.js";
import { hasText, percent, similarity, t } from "./texts.js";

export function compareView(context) {
  const images = [null, null];
  let turn = 0;
  const places = ["first", "second"].map((name, n) =>
    imagePlace(byId(`compare-${name}`), {
      text: t(`compare.drop_${name}`),
      named: true,
      onFiles: files => take(n, files),
    }),
  );
  const withClass = () => document.querySelector("input[name=compare-mode]:checked").value === "class";
  suggestClasses(byId("compare-label"));

  async function take(n, files) {
    const both = withClass() ? [[n, files[0]]] : [[n, files[0]], ...(files[1] ? [[1 - n, files[1]]] : [])];
    byId("compare-answer").replaceChildren();
    for (const [slot, file] of both) {
      places[slot].show(file);
      images[slot] = null;
      const image = await during(byId("compare-status"), t("image.reading"), () => prepared(file));
      if (!image) return;
      images[slot] = image;
    }
    await compare();
  }

  async function compare() {
    const mine = (turn += 1),
      label = byId("compare-label").value.trim();
    byId("compare-answer").replaceChildren();
    byId("compare-status").replaceChildren();
    const ready = images[0] && (withClass() ? label : images[1]);
    if (!ready) {
      if (images[0] || images[1] || label) byId("compare-status").textContent = t(missing());
      return;
    }
    const body = withClass() ? form([images[0]], { label }) : form(images);
    const answer = await during(byId("compare-status"), t("compare.working"), () => call("POST", "verify", { body }));
    if (!answer || mine !== turn) return;
    byId("compare-answer").replaceChildren(verdict(answer, context.info()?.sim));
    say(byId("compare-status"), byId("compare-answer").querySelector(".answer").innerText);
  }

  function missing() {
    if (!withClass()) return "compare.needs_second";
    return images[0] ? "compare.needs_class" : "compare.needs_image";
  }

  function mode() {
    byId("compare-second").hidden = withClass();
    byId("compare-class").hidden = !withClass();
    compare();
  }

  for (const radio of document.querySelectorAll("input[name=compare-mode]")) radio.addEventListener("change", mode);
  byId("compare-class").addEventListener("submit", event => {
    event.preventDefault();
    compare();
  });
  return {
    show() {},
    take: files => take(images[0] && !withClass() ? 1 : 0, files),
    reset() {
      turn += 1;
      images.fill(null);
      places.forEach(place => place.show(null));
      for (const id of ["compare-answer", "compare-status"]) byId(id).replaceChildren();
    },
  };
}

function verdict(answer, sim) {
  const ofClass = answer.label !== undefined,
    name = answer.label;
  const title = ofClass
    ? t(answer.same ? "compare.is" : "compare.is_not", { name })
    : t(answer.same ? "compare.same" : "compare.different");
  const sure =
    answer.probability === null
      ? ""
      : t(ofClass ? "compare.sure_class" : "compare.sure_pair", { share: percent(answer.probability) });
  const interval = answer.threshold_interval ?? null;
  return element(
    "div",
    { class: "comparison" },
    dial({ ...answer, interval, sim }),
    element(
      "div",
      { class: answer.same ? "answer known" : "answer unknown" },
      element("h2", { class: "verdict" }, title),
      element(
        "p",
        {},
        t(answer.same ? "compare.reaches" : "compare.below", {
          similarity: similarity(answer.similarity),
          threshold: similarity(answer.threshold),
        }),
      ),
      sure ? element("p", {}, sure) : "",
      element("p", { class: "note" }, ofClass ? promiseOfClass(answer) : promiseOfPairs(answer)),
    ),
  );
}

function promiseOfClass({ far, far_interval: range }) {
  return t("compare.promise_class", { rate: percent(far), low: percent(range[0]), high: percent(range[1]) });
}

/** target: accuracy, f1, eer, far=0.01 or precision=0.99. */
function promiseOfPairs({ target, pairs, threshold_interval: range }) {
  const [aim, share] = String(target).split("=");
  const chosen = t(hasText(`compare.target_${aim}`) ? `compare.target_${aim}` : "compare.target_accuracy", {
    share: share ? percent(Number(share)) : "",
  });
  return t("compare.promise_pairs", { chosen, n: pairs, low: similarity(range[0]), high: similarity(range[1]) });
}
