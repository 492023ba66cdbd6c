/** Every text of the page, from one file a language, texts.en.json. A translation is one more file and its name here. */
const LANGUAGES = ["en"];

let texts = {};
let language = LANGUAGES[0];

/** Reads the texts of the first language of the browser that there is, and fills the page's own elements. */
export async function loadTexts() {
  language = navigator.languages.map(one => one.slice(0, 2)).find(one => LANGUAGES.includes(one)) ?? LANGUAGES[0];
  const answer = await fetch(new URL(`texts.${language}.json`, import.meta.url));
  texts = await answer.json();
  document.documentElement.lang = language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = t(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", t(node.dataset.label));
}

/** The text of a key with its {values} put in; `n` chooses between key.one and key.other. */
export function t(key, values = {}) {
  const plural = "n" in values ? `${key}.${new Intl.PluralRules(language).select(values.n)}` : key;
  const text = texts[plural] ?? texts[`${key}.other`] ?? texts[key] ?? key;
  return text.replace(/\{(\w+)\}/g, (whole, name) => {
    const value = values[name];
    if (value === undefined) return whole;
    return typeof value === "number" ? value.toLocaleString(language) : value;
  });
}

export const hasText = key => key in texts;

/** 0.9412 -> "94 %"; below 10 % with one digit, below 1 % with two, and never 0 % or 100 % for what is neither. */
export function percent(share) {
  const [sign, shown] =
    share > 0.99 && share < 1 ? ["> ", 0.99] : share > 0 && share < 0.0001 ? ["< ", 0.0001] : ["", share];
  const value = (100 * shown).toLocaleString(language, { maximumFractionDigits: shown < 0.01 ? 2 : shown < 0.1 ? 1 : 0 });
  return sign + t("page.percent", { value });
}

/** A similarity, with three digits behind the point; a dash where there is none. */
export function similarity(value) {
  if (value === null || value === undefined) return "–";
  return value.toLocaleString(language, { minimumFractionDigits: 3, maximumFractionDigits: 3 });
}
