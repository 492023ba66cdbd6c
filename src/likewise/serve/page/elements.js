/** Building elements. Text from the server becomes a text node, never markup. */

/** element("p", { class: "note", onclick: f }, "text", other); attributes that are null or false are left out. */
export function element(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "value" || name === "checked") node[name] = value;
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children.flat().filter(child => child !== null && child !== undefined));
  return node;
}

/** An element of an SVG drawing. */
export function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}

export const button = (text, onclick, kind = "") => element("button", { type: "button", class: kind, onclick }, text);

export const byId = id => document.getElementById(id);

let last = 0;

/** An id that no other element has. */
export const newId = () => `made-${(last += 1)}`;
