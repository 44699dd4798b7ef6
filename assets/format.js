// How numbers, times and JSON values are written, and how elements are made. Whatever a peer sent
// reaches the page as text nodes only: nothing here, or anywhere, parses markup.

const plain = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const fine = new Intl.NumberFormat('en', { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const short = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 4 });

/** Makes an element; children are elements or strings, strings become text nodes. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

/** Sets text only where it differs: an untouched node costs no layout. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Each of these returns [figure, unit].
export const count = (n) => (n < 1e6 ? [plain.format(n), ''] : [short.format(n), '']);
export const rate = (n) => (n > 0 && n < 99.95 ? [fine.format(n), ''] : count(n));
export const percent = (n) => [n < 99.95 ? fine.format(n) : plain.format(n), '%'];

export function bytes(n) {
  const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'];
  let unit = 0;
  while (n >= 1023.5 && unit < units.length - 1) {
    n /= 1024;
    unit += 1;
  }
  return [unit === 0 || n >= 99.95 ? plain.format(n) : fine.format(n), units[unit]];
}

/** A figure and its unit as one text. */
export const joined = ([figure, unit]) => (unit === '' || unit === '%' ? figure + unit : `${figure} ${unit}`);

export const whole = (n) => plain.format(n);

export function duration(ms) {
  const s = Math.floor(ms / 1000);
  if (s < 60) return `${s} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${s % 60} s`;
  if (s < 86_400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86_400)} d ${Math.floor((s % 86_400) / 3600)} h`;
}

export function clock(date) {
  const two = (n) => String(n).padStart(2, '0');
  return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`;
}

/** A topic or pattern as a fragment of this page's address. */
export const addressOf = (topic, tab) => `#/topics/${encodeURIComponent(topic)}${tab ? `/${tab}` : ''}`;

/** Yields `[class, text]` for a JSON value; `indent` of 0 means one line, for reading: plain keys lose their quotes. */
function* tokens(value, indent, depth = 0) {
  const line = (n) => (indent === 0 ? '' : `\n${' '.repeat(indent * n)}`);
  const between = indent === 0 ? ', ' : ',';
  if (value === null || typeof value === 'boolean') {
    yield ['word', String(value)];
  } else if (typeof value === 'number' || typeof value === 'bigint') {
    yield ['number', String(value)];
  } else if (typeof value === 'string') {
    yield ['string', JSON.stringify(value)];
  } else {
    const list = Array.isArray(value);
    const entries = Object.entries(value);
    yield ['', list ? '[' : '{'];
    for (const [at, [key, inner]] of entries.entries()) {
      yield ['', (at === 0 ? '' : between) + line(depth + 1)];
      if (!list) {
        yield ['key', indent === 0 && /^[\p{L}_][\p{L}\p{N}_]*$/u.test(key) ? key : JSON.stringify(key)];
        yield ['', ': '];
      }
      yield* tokens(inner, indent, depth + 1);
    }
    yield ['', (entries.length === 0 ? '' : line(depth)) + (list ? ']' : '}')];
  }
}

/** A JSON value as coloured text, cut with an ellipsis after `limit` characters. */
export function json(value, { indent = 0, limit = 400 } = {}) {
  const out = document.createDocumentFragment();
  let left = limit;
  for (const [kind, text] of tokens(value, indent)) {
    const shown = text.length > left ? `${text.slice(0, left)}…` : text;
    out.append(kind === '' ? shown : element('span', { class: `json-${kind}` }, shown));
    left -= text.length;
    if (left < 0) break;
  }
  return out;
}
