"use strict";
// The decisions on the images of a run, kept in this browser for all its pages, and their CSV for `likewise train --decisions`.
const decisionMarks = { keep: "✓ keep", relabel: "→", remove: "✗ remove" };

/** Decisions by file. classOf: class of a file of this page, undefined for any other; a decision on another class is dropped. */
function openDecisions(run, classOf) {
  const KEY = `likewise-decisions-${run}`, decisions = new Map(kept());

  /** Decisions of an earlier visit; none where the browser keeps nothing for a page of this address. */
  function kept() {
    try {
      return JSON.parse(localStorage.getItem(KEY) ?? "[]").filter(([file, one]) => (classOf(file) ?? one.label) === one.label && Object.hasOwn(decisionMarks, one.action));
    } catch { return []; }
  }

  function keep() {
    try { localStorage.setItem(KEY, JSON.stringify([...decisions])); } catch { /* they last as long as the page */ }
  }

  const textOf = one => !one ? "" : one.action === "relabel" ? `${decisionMarks.relabel} ${one.label2}` : decisionMarks[one.action];

  /** A cell of the CSV; what a spreadsheet would take for a formula is led by an apostrophe. */
  const cell = text => `"${(/^[=+\-@\t\r]/.test(text) ? "'" : "") + text.replaceAll('"', '""')}"`;
  const csv = () => ["file,label,decision,new label", ...[...decisions].map(([file, one]) => [file, one.label, one.action, one.label2].map(cell).join(","))].join("\r\n") + "\r\n";

  function save() {
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([csv()], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  }

  /** How many of the page's files are decided on, and how many others of the run. */
  function counted(files) {
    const here = [...decisions.keys()].filter(file => classOf(file) !== undefined).length, others = decisions.size - here;
    return `${here.toLocaleString("en")} of ${files.toLocaleString("en")} files decided${others ? `, and ${others.toLocaleString("en")} on other pages` : ""}`;
  }

  return { decisions, keep, textOf, save, counted };
}
