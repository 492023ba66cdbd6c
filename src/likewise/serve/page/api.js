/** Calls of the service. Each failure is a Problem, whose message is one sentence for the reader. */
import { t } from "./texts.js";

const ROOT = new URL("../v1/", import.meta.url);
const TOKEN = "likewise.token";
const TRIES = 3;
const LONGEST_WAIT = 10; // seconds that a busy service may ask us to wait; longer ones are told to the reader
const BUSY = [429, 503];

/** What the calls of this page share; scope: read, write or admin; mostBytes: of one image, by the service's limits. */
export const session = { gallery: "", scope: "read", mostBytes: Infinity, onTokenNeeded: () => {} };

export const token = {
  get: () => sessionStorage.getItem(TOKEN) ?? "",
  set: value => (value ? sessionStorage.setItem(TOKEN, value) : sessionStorage.removeItem(TOKEN)),
};

const LEVELS = ["read", "write", "admin"];
export const may = scope => LEVELS.indexOf(session.scope) >= LEVELS.indexOf(scope);

export class Problem extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

/** The answer as JSON. query: an object of texts; body: an object (sent as JSON) or a FormData. */
export async function call(method, path, { query = {}, body } = {}) {
  return (await answer(method, path, query, body)).json();
}

/** The bytes of an answer, or null where there are none (404). */
export async function bytes(path, query) {
  try {
    return await (await answer("GET", path, query)).blob();
  } catch (problem) {
    if (problem.status === 404) return null;
    throw problem;
  }
}

/** A form of one upload or more; fields that are empty are left out. */
export function form(images, fields = {}) {
  const data = new FormData();
  for (const image of images) data.append("image", image, "image");
  for (const [name, value] of Object.entries(fields)) {
    for (const one of [value].flat()) if (one !== "" && one !== null && one !== undefined) data.append(name, one);
  }
  return data;
}

/** Sends a call, and again where the service is busy or the network failed: the key makes a repeated write harmless. */
async function answer(method, path, query, body) {
  const url = new URL(path, ROOT);
  if (session.gallery) url.searchParams.set("gallery", session.gallery);
  for (const [name, value] of Object.entries(query))
    if (value !== "" && value !== null) url.searchParams.set(name, value);
  const headers = {
    ...(method === "POST" && { "Idempotency-Key": newKey() }),
    ...(token.get() && { Authorization: `Bearer ${token.get()}` }),
  };
  const isForm = body instanceof FormData;
  if (body && !isForm) headers["Content-Type"] = "application/json";
  const options = { method, headers, body: isForm ? body : body && JSON.stringify(body), credentials: "same-origin" };
  for (let attempt = 1; ; attempt += 1) {
    const reply = await fetch(url, options).catch(() => null);
    if (reply?.ok) return reply;
    const wait = reply ? Number(reply.headers.get("Retry-After") ?? 1) : 0.5;
    const again = reply ? BUSY.includes(reply.status) && wait <= LONGEST_WAIT : attempt === 1;
    if (!again || attempt === TRIES) throw await problemOf(reply);
    await new Promise(resolve => setTimeout(resolve, 1000 * wait));
  }
}

async function problemOf(reply) {
  if (!reply) return new Problem(0, t("error.offline"));
  const told = await reply.json().catch(() => ({}));
  const detail = typeof told.detail === "string" ? told.detail : "";
  if (reply.status === 401) {
    const sentence = t(token.get() ? "error.token_wrong" : "error.token_missing");
    session.onTokenNeeded(sentence);
    return new Problem(401, sentence);
  }
  if (reply.status === 403 && token.get()) return new Problem(403, `${sentence(detail)} ${t("error.scope")}`);
  if (reply.status === 429)
    return new Problem(429, t("error.busy", { n: Number(reply.headers.get("Retry-After") ?? 1) }));
  if (reply.status === 503 && !detail) return new Problem(503, t("error.not_ready"));
  return new Problem(reply.status, sentence(detail) || t("error.other", { status: reply.status }));
}

/** With a capital letter and a full stop, as the sentences of the page have them. */
const sentence = text => text && `${text[0].toUpperCase()}${text.slice(1)}${/[.!?]$/.test(text) ? "" : "."}`;

/** 128 random bits; `crypto.randomUUID` is there on https only. */
const newKey = () =>
  Array.from(crypto.getRandomValues(new Uint8Array(16)), byte => byte.toString(16).padStart(2, "0")).join("");
