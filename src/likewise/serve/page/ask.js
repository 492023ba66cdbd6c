/** What is this: an image, the answer first, then what it is most alike to. */
import { call, form, may } from "./api.js";
import { askChoice, confirmation } from "./dialogs.js";
import { button, byId, element } from "./elements.js";
import { hitList } from "./hits.js";
import { change } from "./image_dialog.js";
import { imagePlace, prepared } from "./images.js";
import { during, notify, say } from "./status.js";
import { percent, similarity, t } from "./texts.js";

const FIRST = 10,
  MOST = 100;
const RATES = [0.1, 0.05, 0.01, 0.001];

/** context: info() of the gallery, and enroll(image, label), which opens that view with them. */
export function askView(context) {
  const place = imagePlace(byId("ask-image"), { text: t("ask.drop"), onFiles: files => ask(files[0]) });
  const state = { image: null, turn: 0 };
  byId("ask-far").append(
    element("option", { value: "" }, t("ask.far_stored")),
    ...RATES.map(rate => element("option", { value: rate }, t("ask.far_rate", { rate: percent(rate) }))),
  );
  for (const id of ["ask-far", "ask-where"]) byId(id).addEventListener("change", () => state.image && answer());

  async function ask(file) {
    place.show(file);
    state.image = null;
    const turn = (state.turn += 1);
    for (const id of ["ask-answer", "ask-found"]) byId(id).replaceChildren();
    const image = await during(byId("ask-status"), t("image.reading"), () => prepared(file));
    if (!image || turn !== state.turn) return;
    state.image = image;
    await answer();
  }

  async function answer() {
    const turn = (state.turn += 1),
      image = state.image,
      where = conditions();
    byId("ask-answer").replaceChildren();
    byId("ask-found").replaceChildren();
    await during(byId("ask-status"), t("ask.working"), async () => {
      const [identified, found] = await Promise.all([
        call("POST", "identify", { body: form([image], { far: byId("ask-far").value, where }) }),
        call("POST", "search", { body: form([image], { k: FIRST, where }) }),
      ]);
      if (turn !== state.turn) return null;
      byId("ask-answer").replaceChildren(
        answerBlock(identified.answers[0], context, state.image, { reject, calibrate }),
      );
      showHits(found.hits, FIRST, where);
      return identified.answers[0];
    }).then(given => given && turn === state.turn && say(byId("ask-status"), sentenceOf(given)));
  }

  function showHits(hits, k, where) {
    if (!hits.length) return;
    const more = hits.length === k && k < MOST ? button(t("page.more"), () => showMore(where), "") : null;
    byId("ask-found").replaceChildren(
      element("h2", {}, t("ask.neighbours")),
      element("div", { class: "status", role: "status" }),
      hitList(hits, { onReject: may("write") ? hit => reject({ id: hit.id }, hit.label) : null }),
      more ?? "",
    );
  }

  async function showMore(where) {
    const image = state.image;
    await during(byId("ask-found").querySelector(".status"), t("ask.searching"), async () => {
      const { hits } = await call("POST", "search", { body: form([image], { k: MOST, where }) });
      if (image === state.image) showHits(hits, MOST, where);
    });
  }

  /** what: {label} or {id}, which the image is not. */
  async function reject(what, name) {
    const note = t("label" in what ? "feedback.note_class" : "feedback.note_image", { name });
    if (!(await confirmation({ title: t("feedback.title", { name }), note, action: t("feedback.action") }))) return;
    try {
      await call("POST", "feedback", { body: form([state.image], what) });
      notify(t("label" in what ? "feedback.done_class" : "feedback.done_image", { name }), { undo: true });
      await answer();
    } catch (problem) {
      notify(problem.message, { error: true });
    }
  }

  async function calibrate() {
    const far = await askChoice({
      title: t("calibrate.title"),
      note: t("calibrate.note"),
      label: t("ask.far"),
      action: t("calibrate.action"),
      options: RATES.map(rate => [rate, t("ask.far_rate", { rate: percent(rate) })]),
    });
    if (far === null) return;
    const { threshold } =
      (await change(
        "calibrate",
        { far: Number(far) },
        found => t("calibrate.done", { threshold: similarity(found.threshold) }),
        { undo: false },
      )) || {};
    if (threshold !== undefined) await answer();
  }

  return {
    show() {
      byId("ask-empty").hidden = context.info()?.items !== 0;
    },
    take: files => ask(files[0]),
    reset() {
      state.image = null;
      state.turn += 1;
      place.show(null);
      for (const id of ["ask-status", "ask-answer", "ask-found"]) byId(id).replaceChildren();
    },
  };
}

const conditions = () =>
  byId("ask-where")
    .value.split("\n")
    .map(line => line.trim())
    .filter(Boolean);

/** reject and calibrate: what the buttons of those names do. */
function answerBlock(answer, context, image, { reject, calibrate }) {
  const known = answer.label !== null,
    best = answer.best;
  const block = element("div", { class: known ? "answer known" : "answer unknown" });
  if (best === null) {
    block.append(element("h2", { class: "verdict" }, t("answer.nothing")), element("p", {}, t("answer.nothing_note")));
    return block;
  }
  const sure = answer.probability === null ? "" : percent(answer.probability);
  block.append(
    element(
      "h2",
      { class: "verdict" },
      known ? answer.label : t("answer.unknown"),
      known && sure ? element("span", { class: "sure" }, `, ${sure}`) : "",
    ),
    element("p", {}, known ? knownSentence(answer) : t("answer.nearest_is", { name: best })),
    element("p", { class: "note" }, promiseSentence(answer, context.info())),
    details(answer),
    answerActions(answer, context, image, reject, calibrate),
  );
  return block;
}

/** "Golden Delicious, 94 %", or why it is unknown. */
function sentenceOf({ label, best, probability }) {
  if (best === null) return t("answer.nothing");
  if (label === null) return `${t("answer.unknown")}. ${t("answer.nearest_is", { name: best })}`;
  return probability === null ? label : `${label}, ${percent(probability)}`;
}

function knownSentence(answer) {
  if (answer.threshold === null) return t("answer.no_threshold");
  return t("answer.above");
}

function promiseSentence(answer, info) {
  const far = Number(byId("ask-far").value) || info?.promise?.far;
  if (answer.threshold === null || !far) return t(may("admin") ? "answer.calibrate_here" : "answer.calibrate");
  return t("answer.promise", { rate: percent(far) });
}

function details(answer) {
  const rows = [
    [t("answer.similarity"), similarity(answer.similarity)],
    [t("answer.threshold"), answer.threshold === null ? t("answer.none") : similarity(answer.threshold)],
    [t("answer.probability"), answer.probability === null ? t("answer.none") : percent(answer.probability)],
    [
      t("answer.runner_up"),
      answer.runner_up === null
        ? t("answer.none")
        : t("answer.margin", { name: answer.runner_up, margin: similarity(answer.margin) }),
    ],
    [t("answer.why"), answer.why],
  ];
  return element(
    "details",
    {},
    element("summary", {}, t("answer.details")),
    element(
      "dl",
      { class: "facts" },
      rows.map(([name, value]) => [element("dt", {}, name), element("dd", {}, value)]).flat(),
    ),
  );
}

function answerActions(answer, context, image, reject, calibrate) {
  if (!may("write")) return "";
  const known = answer.label !== null;
  return element(
    "div",
    { class: "row" },
    button(
      known ? t("feedback.not_this") : t("feedback.not_name", { name: answer.best }),
      () => reject({ label: answer.best }, answer.best),
      "not-this",
    ),
    button(t(known ? "answer.enroll_known" : "answer.enroll_unknown"), () =>
      context.enroll(image, known ? answer.label : ""),
    ),
    answer.threshold === null && may("admin") ? button(t("calibrate.action"), calibrate) : "",
  );
}
