"use strict";
// One file that holds all pages: each is shown in a frame, and links between them change the frame.
const { first, pages } = JSON.parse(document.getElementById("pages").textContent);
const frame = document.getElementById("page");
let current = "";

/** The page that a link leads to from the current one: `../../compare.html` of `runs/a/report.html` is `compare.html`. */
function resolved(href) {
  const parts = current.split("/").slice(0, -1);
  for (const part of href.split("/")) if (part === "..") parts.pop(); else if (part !== ".") parts.push(part);
  return parts.join("/");
}

function show(name) {
  current = name;
  frame.srcdoc = pages[name];
}

frame.addEventListener("load", () => {
  document.title = frame.contentDocument.title || document.title;
  frame.contentDocument.addEventListener("click", event => {
    const href = event.target.closest("a[href]")?.getAttribute("href") ?? "";
    if (href.startsWith("#")) {
      event.preventDefault();
      frame.contentDocument.getElementById(decodeURIComponent(href.slice(1)))?.scrollIntoView();
    } else if (Object.hasOwn(pages, resolved(decodeURIComponent(href)))) {
      event.preventDefault();
      show(resolved(decodeURIComponent(href)));
    }
  });
});
show(first);
