"use strict";
(() => {
  const data = JSON.parse(document.getElementById("pair-counts").textContent);
  const slider = document.getElementById("at"), line = document.getElementById("th-line");
  const last = data.same.length - 1, same = data.same[0], different = data.different[0];
  const count = new Intl.NumberFormat("en"), say = (key, text) => { document.getElementById(`th-${key}`).textContent = text; };
  const percent = (share, places) => `${(100 * share).toFixed(places)}\u00a0%`;

  function show() {
    const at = Number(slider.value), value = data.low + at * (data.high - data.low) / last;
    const accepted = data.different[at], rejected = same - data.same[at];
    line.setAttribute("x1", 1000 * at / last);
    line.setAttribute("x2", 1000 * at / last);
    say("value", value.toFixed(3).replace("-", "\u2212"));
    say("far", percent(accepted / different, 2));
    say("far-of", `${count.format(accepted)} of ${count.format(different)} different pairs accepted`);
    say("frr", percent(rejected / same, 2));
    say("frr-of", `${count.format(rejected)} of ${count.format(same)} same pairs rejected`);
    say("accuracy", percent((data.same[at] / same + 1 - accepted / different) / 2, 1));
    slider.setAttribute("aria-valuetext", `${value.toFixed(3)}: FAR ${percent(accepted / different, 2)}, FRR ${percent(rejected / same, 2)}`);
    for (const button of buttons) button.setAttribute("aria-pressed", button.dataset.at === slider.value);
  }

  const buttons = [...document.querySelectorAll(".threshold [data-at]")];
  for (const button of buttons) button.addEventListener("click", () => { slider.value = button.dataset.at; show(); });
  slider.addEventListener("input", show);
  show();
})();
