/** Images of the reader: chosen, photographed, dropped or pasted, and scaled down where they are too large. */
import { Problem, session } from "./api.js";
import { button, element } from "./elements.js";
import { t } from "./texts.js";

const LONGEST_SIDE = 2000; // pixels
const MOST_BYTES = 4 * 2 ** 20;
const QUALITY = 0.92;

/** The file itself where it is small enough, else a JPEG of at most 2,000 px a side.
 *  What the browser cannot decode is left to the service. Errors: Problem where it is too large for that. */
export async function prepared(file) {
  let bitmap;
  try {
    bitmap = await createImageBitmap(file);
  } catch {
    if (file.size <= session.mostBytes) return file;
    const megabytes = Math.ceil(file.size / 2 ** 20);
    throw new Problem(413, t("image.too_large", { size: megabytes, most: Math.floor(session.mostBytes / 2 ** 20) }));
  }
  const longest = Math.max(bitmap.width, bitmap.height);
  if (longest <= LONGEST_SIDE && file.size <= MOST_BYTES) return file;
  const scale = Math.min(1, LONGEST_SIDE / longest);
  const canvas = element("canvas");
  canvas.width = Math.max(1, Math.round(bitmap.width * scale));
  canvas.height = Math.max(1, Math.round(bitmap.height * scale));
  const pen = canvas.getContext("2d");
  pen.imageSmoothingQuality = "high";
  pen.fillStyle = "white"; // what is transparent becomes white, as in the service
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.drawImage(bitmap, 0, 0, canvas.width, canvas.height);
  bitmap.close();
  return (await new Promise(resolve => canvas.toBlob(resolve, "image/jpeg", QUALITY))) ?? file;
}

/** A preview of a file; where the browser cannot show it, a plate that says so. */
export function preview(file, alt) {
  const image = element("img", { alt, src: URL.createObjectURL(file) });
  image.addEventListener("load", () => URL.revokeObjectURL(image.src), { once: true });
  image.addEventListener("error", () => {
    URL.revokeObjectURL(image.src);
    image.replaceWith(element("span", { class: "plate" }, t("image.no_preview")));
  });
  return image;
}

/** The images of a paste or drop. */
export const filesOf = transfer => [...(transfer?.files ?? [])];

/** A place for images: drop zone, file chooser and camera. onFiles gets the files; show puts a preview into it.
 *  named: the text says which image it is, so that it stays where nothing can be dropped. */
export function imagePlace(root, { text, several = false, named = false, onFiles }) {
  const chooser = camera => {
    const input = element("input", {
      type: "file",
      accept: "image/*",
      hidden: true,
      multiple: several && !camera,
      capture: camera ? "environment" : null,
    });
    input.addEventListener("change", () => {
      const files = [...input.files];
      input.value = "";
      if (files.length) onFiles(files);
    });
    return input;
  };
  const files = chooser(false),
    camera = chooser(true),
    shown = element("div", { class: "shown" });
  const choose = button(t(several ? "image.choose_several" : "image.choose"), () => files.click(), "primary");
  const row = element(
    "div",
    { class: "row" },
    choose,
    button(t("image.photo"), () => camera.click(), "photo"),
  );
  const zone = element(
    "div",
    { class: named ? "drop named" : "drop", role: "group", "aria-label": text },
    shown,
    element("p", { class: "invitation" }, text),
    row,
    element("p", { class: "note paste" }, t("image.paste")),
    files,
    camera,
  );
  for (const kind of ["dragenter", "dragover"]) zone.addEventListener(kind, () => zone.classList.add("over"));
  for (const kind of ["dragleave", "drop"]) zone.addEventListener(kind, () => zone.classList.remove("over"));
  zone.addEventListener("drop", event => {
    event.preventDefault();
    event.stopPropagation();
    if (filesOf(event.dataTransfer).length) onFiles(filesOf(event.dataTransfer));
  });
  root.append(zone);
  return {
    show(file) {
      zone.classList.toggle("filled", Boolean(file));
      choose.classList.toggle("primary", !file);
      choose.textContent = t(file ? "image.choose_another" : "image.choose");
      shown.replaceChildren(...(file ? [preview(file, t("image.yours"))] : []));
    },
  };
}
