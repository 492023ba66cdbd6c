/** Thumbnails: fetched with the token when they come into view, kept, and shown as blob: URLs. */
import { bytes, session } from "./api.js";
import { element } from "./elements.js";

const KEPT = 1000;
const urls = new Map(); // gallery and id -> promise of a URL, or of null where there is none

const watcher = new IntersectionObserver(
  entries => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      watcher.unobserve(entry.target);
      fill(entry.target);
    }
  },
  { rootMargin: "200px" },
);

/** The thumbnail of an enrolled image beside its name; its first letters where none is stored. */
export function thumbnail(id, label, stored = true) {
  const node = element("span", { class: "plate", "aria-hidden": "true" }, [...label].slice(0, 3).join(""));
  if (stored && id) {
    node.dataset.id = id;
    watcher.observe(node);
  }
  return node;
}

async function fill(node) {
  const url = await urlOf(node.dataset.id).catch(() => null);
  if (!url) return;
  const image = element("img", { src: url, alt: "" });
  image.addEventListener("load", () => image.classList.toggle("crisp", image.naturalWidth < 64));
  node.replaceWith(image);
}

function urlOf(id) {
  const key = `${session.gallery}\n${id}`;
  const found = urls.get(key) ?? bytes("images/thumbnail", { id }).then(blob => blob && URL.createObjectURL(blob));
  urls.delete(key);
  urls.set(key, found);
  found.catch(() => urls.delete(key));
  if (urls.size > KEPT) {
    const [oldest, promise] = urls.entries().next().value;
    urls.delete(oldest);
    promise.then(url => url && URL.revokeObjectURL(url));
  }
  return found;
}
