// The dashboard: one connection, and the parts of the page that it feeds.

import { Connection } from './connection.js';
import { Figures } from './figures.js';
import { duration, write } from './format.js';
import { Publish } from './publish.js';
import { Tail } from './tail.js';
import { Topics } from './topics.js';

const part = (id) => document.getElementById(id);
const base = new URL('.', location.href);
const socketUrl = new URL('ws', base);
socketUrl.protocol = base.protocol === 'https:' ? 'wss:' : 'ws:';

chooseTheme();

const figures = new Figures(part('figures'));
const connection = new Connection({ url: socketUrl.href, changed: showState });
const tail = new Tail({ root: part('tail'), connection, changed: showFollowed });
const publish = new Publish({ root: document, connection, follow: (topic) => tail.follow(topic) });
const topics = new Topics({ root: part('topics'), url: new URL('v1/topics', base), chosen: choose, listed: greet });
/** Whether something was ever followed or typed: from then on the page chooses nothing by itself. */
let touched = false;

connection.follow('$stats', {
  message: ({ data }) => {
    figures.take(data);
    topics.total = data.topics;
    write(part('version'), data.version);
    write(part('uptime'), `up ${duration(data.uptime_ms)}`);
  },
  failed: ({ code, message }) => notice(`The server's figures are not shown (${code}: ${message}).`, false),
});
part('retry').addEventListener('click', () => connection.retry());
addEventListener('online', () => connection.retry());
addEventListener('hashchange', followHash);
part('tail-filter').addEventListener('input', () => (touched = true));
followHash();
connection.open();

/** The followed topic stands in the address, so that a reload or a link comes back to it. */
function followHash() {
  let filter;
  try {
    filter = decodeURIComponent(location.hash.slice(1));
  } catch {
    return;
  }
  // The target of the skip link is a part of the page, not a topic.
  if (filter !== '' && filter !== 'topics') tail.follow(filter);
}

function showFollowed(filter) {
  touched = true;
  topics.current = filter;
  const hash = filter === '' ? '' : `#${encodeURIComponent(filter)}`;
  if (location.hash !== hash) history.replaceState(null, '', hash || location.pathname + location.search);
}

function choose(topic) {
  tail.follow(topic);
  const panel = part('tail');
  // On a narrow screen the tail lies below the table: bring it into view.
  if (panel.getBoundingClientRect().top > innerHeight - 160) panel.scrollIntoView({ block: 'start' });
}

/** `fanfare --demo` publishes the machine's figures: the first visit shows them at once. */
function greet(listed) {
  if (!touched && listed.some(({ topic }) => topic.startsWith('host.'))) tail.follow('host.>');
}

function showState({ name, text, until }) {
  const words = { connecting: 'Connecting', live: 'Live', waiting: 'Disconnected', refused: 'Closed' };
  part('status').dataset.state = name;
  write(part('status-text'), words[name]);
  document.body.classList.toggle('stale', name !== 'live');
  topics.live = name === 'live';
  publish.live = name === 'live';
  // A wait hides behind its own text: between two attempts the notice stays where it is.
  if (name === 'live') notice('', false);
  else if (text !== undefined) notice(text, name !== 'connecting', until);
}

function notice(text, retry, until) {
  part('notice').hidden = text === '';
  write(part('notice-text'), text);
  part('retry').hidden = !retry;
  countDown(until);
}

let counting;
function countDown(until) {
  clearTimeout(counting);
  const left = until === undefined ? 0 : Math.ceil((until - performance.now()) / 1000);
  write(part('notice-wait'), left > 0 ? `Trying again in ${left} s.` : '');
  if (left > 0) counting = setTimeout(() => countDown(until), 1000);
}

function chooseTheme() {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
  const label = () => part('theme').setAttribute('aria-label', `Switch to the ${isDark() ? 'light' : 'dark'} theme`);
  // Storage may be forbidden; the choice then lasts as long as the page.
  const store = (change) => {
    try {
      return change(localStorage);
    } catch {
      return null;
    }
  };
  const kept = store((storage) => storage.getItem('fanfare.theme'));
  if (kept === 'dark' || kept === 'light') root.dataset.theme = kept;
  label();
  dark.addEventListener('change', label);
  part('theme').addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    store((storage) => storage.setItem('fanfare.theme', root.dataset.theme));
    label();
  });
}
