/** The page: which view is shown, which gallery it is of, and where pasted and dropped images go. */
import { Problem, call, session } from "./api.js";
import { askView } from "./ask.js";
import { classList } from "./browse.js";
import { classPage } from "./class_page.js";
import { compareView } from "./compare.js";
import { byId, element } from "./elements.js";
import { enrollView } from "./enroll.js";
import { filesOf } from "./images.js";
import { mapView } from "./map.js";
import { clearNotice, during } from "./status.js";
import { loadTexts, t } from "./texts.js";
import { tokenEntry } from "./token_entry.js";

const NAMES = ["ask", "compare", "enroll", "browse", "map"];
let info = null;
let views = {};
let ready = false;
let shown = "";

function go(hash) {
  if (location.hash === hash) show();
  else location.hash = hash;
}

/** #browse/heron -> ["browse", "heron"]; what is no view is the first one. */
function route() {
  const [, name, rest = ""] = location.hash.match(/^#(\w+)(?:\/(.*))?$/) ?? [];
  let label = "";
  try {
    label = decodeURIComponent(rest);
  } catch {
    return ["browse", ""];
  }
  return NAMES.includes(name) ? [name, label] : ["ask", ""];
}

function show() {
  const [name, label] = route();
  for (const one of NAMES) {
    const chosen = one === name,
      tab = byId(`tab-${one}`);
    tab.setAttribute("aria-selected", chosen);
    tab.tabIndex = chosen ? 0 : -1;
    byId(one).hidden = !chosen || !ready;
  }
  if (!ready) return;
  if (shown !== name) clearNotice({ all: false });
  shown = name;
  byId("browse-all").hidden = Boolean(label);
  byId("browse-class").hidden = !label;
  document.title = t("page.title", { view: label || t(`${name}.tab`) });
  if (name === "browse" && label) {
    views.classPage.show(label);
    byId("class-title").focus();
  } else views[name].show();
}

function tabs() {
  NAMES.forEach((name, n) => {
    byId(`tab-${name}`).addEventListener("click", () => go(`#${name}`));
    byId(`tab-${name}`).addEventListener("keydown", event => {
      const to = { ArrowRight: n + 1, ArrowLeft: n - 1 + NAMES.length, Home: 0, End: NAMES.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      go(`#${NAMES[to % NAMES.length]}`);
      byId(`tab-${NAMES[to % NAMES.length]}`).focus();
    });
  });
  addEventListener("hashchange", show);
  byId("skip").addEventListener("click", event => {
    event.preventDefault();
    byId("main").focus();
  });
}

/** Pasted images, and those dropped beside a drop zone, go to the view that is shown. */
function incoming(event, transfer) {
  const files = filesOf(transfer),
    [name] = route();
  if (!files.length || !ready || document.querySelector("dialog[open]")) return;
  event.preventDefault();
  if (views[name].take) views[name].take(files);
}

function connection() {
  const tell = () => {
    byId("offline").hidden = navigator.onLine;
    byId("offline").textContent = navigator.onLine ? "" : t("error.no_network");
  };
  addEventListener("online", tell);
  addEventListener("offline", tell);
  tell();
}

async function readInfo() {
  info = await call("GET", "info");
  session.mostBytes = info.limits.image_bytes;
  byId("about").textContent = t("page.about", {
    images: t("browse.images", { n: info.items }),
    classes: t("browse.classes", { n: info.classes }),
  });
  byId("ask-empty").hidden = info.items !== 0;
}

/** The galleries that the token may see, and the facts of the one that is chosen. */
async function start() {
  clearNotice();
  ready = false;
  show();
  const wanted = byId("gallery").value || new URL(location).searchParams.get("gallery");
  session.gallery = "";
  const done = await during(byId("start"), t("page.starting"), async () => {
    const found = await call("GET", "galleries");
    if (!found.galleries.length) throw new Problem(404, t("error.no_gallery"));
    const names = found.galleries.map(one => one.name);
    session.scope = found.scope;
    session.gallery = names.includes(wanted) ? wanted : names[0];
    byId("gallery").replaceChildren(...names.map(name => element("option", { value: name }, name)));
    byId("gallery").value = session.gallery;
    byId("galleries").hidden = names.length < 2;
    await readInfo();
    return true;
  });
  if (!done) return;
  for (const view of Object.values(views)) view.reset?.();
  ready = true;
  show();
}

function afterChange() {
  for (const view of Object.values(views)) view.stale?.();
  readInfo().catch(() => {});
  const [name] = route();
  if (["browse", "map"].includes(name)) show();
}

await loadTexts();
const context = {
  info: () => info,
  enroll(image, label) {
    go("#enroll");
    show();
    views.enroll.begin(image, label);
  },
};
views = {
  ask: askView(context),
  compare: compareView(context),
  enroll: enrollView(),
  browse: classList(),
  classPage: classPage(go),
  map: mapView(),
};
session.onTokenNeeded = tokenEntry(start);
tabs();
connection();
document.addEventListener("likewise:changed", afterChange);
byId("gallery").addEventListener("change", () => {
  const url = new URL(location);
  url.searchParams.set("gallery", byId("gallery").value);
  if (url.hash.startsWith("#browse/")) url.hash = "#browse"; // the other gallery need not have the class
  history.replaceState(null, "", url);
  start();
});
addEventListener("paste", event => incoming(event, event.clipboardData));
addEventListener("dragover", event => event.preventDefault());
addEventListener("drop", event => {
  event.preventDefault();
  incoming(event, event.dataTransfer);
});
await start();
