/** Existing class names, offered while one is typed. */
import { call } from "./api.js";
import { element, newId } from "./elements.js";

const OFFERED = 20;
const PAUSE = 150; // milliseconds without a key before names are asked for

/** Gives an input the names of the classes that contain what is typed. */
export function suggestClasses(input) {
  const list = element("datalist", { id: newId() });
  input.setAttribute("list", list.id);
  input.after(list);
  let timer = 0,
    latest = 0;
  const offer = async () => {
    const turn = (latest += 1);
    const found = await call("GET", "classes", { query: { q: input.value.trim(), limit: OFFERED } }).catch(() => null);
    if (found && turn === latest)
      list.replaceChildren(...found.classes.map(one => element("option", { value: one.label })));
  };
  input.addEventListener("focus", offer);
  input.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(offer, PAUSE);
  });
}
