// The sentences of the page in its language, and how its numbers and lists are written.

const texts = JSON.parse(document.getElementById("texts").textContent);
export const language = document.documentElement.lang;

/** Return the sentence of this name, its {gaps} filled with these values. */
export function say(name, values = {}) {
  return texts[name].replace(/\{(\w+)\}/g, (_, gap) => values[gap] ?? "");
}

/** Tell whether there is a sentence of this name. */
export const has = (name) => name in texts;

/** Return a number with at most this many decimal places. */
export function number(value, places = 0) {
  return new Intl.NumberFormat(language, { maximumFractionDigits: places }).format(value);
}

export function percent(value) {
  return new Intl.NumberFormat(language, { style: "percent", maximumFractionDigits: 1 }).format(value);
}

/** Return milliseconds, as exact as they are worth. */
export const milliseconds = (value) => number(value, value < 10 ? 2 : value < 100 ? 1 : 0);

/** Return a number of bytes in a unit that people read. */
export function bytes(value) {
  const units = ["byte", "kilobyte", "megabyte", "gigabyte", "terabyte"];
  const step = Math.min(units.length - 1, value < 1000 ? 0 : Math.floor(Math.log10(value) / 3));
  const options = { style: "unit", unit: units[step], unitDisplay: "short", maximumFractionDigits: step ? 1 : 0 };
  return new Intl.NumberFormat(language, options).format(value / 1000 ** step);
}

export function list(items) {
  return items.length ? new Intl.ListFormat(language, { type: "conjunction" }).format(items) : texts.nobody;
}

export const clockTime = (moment) => new Intl.DateTimeFormat(language, { timeStyle: "medium" }).format(moment);
