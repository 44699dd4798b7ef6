// The dashboard: a session with the server, and the views that it feeds.
//
// What is in sight stands in the address: `#/`, `#/topics/NAME/TAB`, `#/connections/TEXT`.

import { Account } from './account.js';
import { Connections } from './connections.js';
import { addressOf, duration, write } from './format.js';
import { Listing } from './listing.js';
import { Notice } from './notice.js';
import { Overview } from './overview.js';
import { Publish } from './publish.js';
import { Session } from './session.js';
import { chooseTheme } from './theme.js';
import { TopicView } from './topic.js';
import { Topics } from './topics.js';

const VIEWS = { '': 'overview', topics: 'topics', connections: 'connections' };
const TITLES = { overview: 'Overview', topics: 'Topics', connections: 'Connections' };
const STATES = { idle: 'Connecting', connecting: 'Connecting', connected: 'Live', waiting: 'Disconnected', closed: 'Closed', stranger: 'Signed out' };
/** What the end of a connection means to whoever reads it. */
const MEANINGS = {
  1001: 'The server is gone.',
  1006: 'The server does not answer.',
  1012: 'The server is restarting.',
  1013: 'The server is overloaded.',
  4008: 'This page was too slow.',
  4401: 'The credentials have ended.',
  4403: 'This connection was removed by an operator, or is not allowed.',
  4408: 'The connection went silent.',
  4429: 'Too many commands too fast.',
};
const CHECK_AGAIN_MS = 2000;

const part = (id) => document.getElementById(id);
chooseTheme(part('theme'));

const session = new Session(new URL('.', location.href));
const notice = new Notice(part('notice'));
const account = new Account({ root: document, session, changed: show });
const overview = new Overview({ root: document, took, failed: (error) => error.code !== 'closed' && notice.show(`The server's figures are not shown (${error.code}: ${error.message}).`) });
const listing = new Listing({ session, changed: listed, failed: (error) => (topics.trouble = `Topics cannot be listed (${error.code}: ${error.message}). Trying again.`) });
const topics = new Topics({ root: document, listing, chosen: (topic) => go(topic) });
const connections = new Connections({ root: document, session, changed: (list) => (overview.connections = list) });
const publish = new Publish({ root: document });
const topic = new TopicView({ root: document, go, join: () => session.another() });

session.on('access', limit);
session.on('connected', (client) => {
  if (session.access !== 'limited') overview.follow(client);
  topic.client = client;
  publish.client = client;
});
session.on('state', showState);
session.on('identity', ({ soon, endsAt }) => {
  if (!soon) return notice.hide();
  const act = () => account.open('expiring', { optional: true });
  return notice.show('Your token ends soon.', { label: 'Renew', act, until: endsAt, waiting: (s) => `${s} s are left.` });
});
addEventListener('hashchange', show);
show();
check();
performance.mark('usable');

async function check() {
  showState({ status: 'connecting' });
  try {
    await session.check();
  } catch (error) {
    const delayMs = error.retryAfterMs ?? CHECK_AGAIN_MS;
    const timer = setTimeout(check, delayMs);
    const act = () => {
      clearTimeout(timer);
      check();
    };
    showStatus('waiting');
    notice.show(`The server cannot be asked (${error.code}: ${error.message}).`, { label: 'Try now', act, until: performance.now() + delayMs });
  }
}

function route() {
  const [name = '', argument = '', tab = ''] = location.hash.replace(/^#\/?/, '').split('/');
  let text = '';
  try {
    text = decodeURIComponent(argument);
  } catch {
    // An address that somebody cut: it names nothing.
  }
  // The target of the skip link is a part of the page, no view.
  return { view: VIEWS[location.hash.startsWith('#/') ? name : ''] ?? 'overview', text, tab };
}

function go(name, tab) {
  location.hash = name === '' ? '#/topics' : addressOf(name, tab === 'tail' ? '' : tab);
  // On a narrow screen the topic lies below the table: bring it into view.
  const panel = part('topic');
  if (panel.getBoundingClientRect().top > innerHeight - 160) panel.scrollIntoView({ block: 'start' });
}

function show() {
  const { view, text, tab } = route();
  const isOpen = account.isOpen;
  for (const name of Object.values(VIEWS)) {
    part(name).hidden = isOpen || name !== view;
    const link = part(`to-${name}`);
    if (name === view) link.setAttribute('aria-current', 'page');
    else link.removeAttribute('aria-current');
  }
  part('views').hidden = isOpen && session.access === 'stranger';
  document.title = `${isOpen ? 'Sign in' : TITLES[view]} – fanfare`;
  overview.shown = !isOpen && view === 'overview';
  if (view === 'topics') {
    topics.current = text;
    if (text !== '') publish.suggest(text);
  }
  topic.show(view === 'topics' ? text : topic.topic, view === 'topics' ? tab : topic.tab, !isOpen && view === 'topics');
  if (view === 'connections' && text !== '') connections.find(text);
  feed();
}

/** Asks for no list that nobody sees. */
function feed() {
  const { view } = route();
  const live = session.client?.state.status === 'connected' && session.access !== 'limited' && session.access !== 'stranger';
  listing.live = live && view !== 'connections';
  connections.live = live && view !== 'topics';
}

function took(stats) {
  topics.total = stats.topics;
  write(part('version'), stats.version);
  write(part('uptime'), `up ${duration(stats.uptime_ms)}`);
}

function listed({ topics: all }) {
  topics.refresh();
  overview.topics = all;
}

/** Says what is missing, where the credential does not allow everything. */
function limit(access) {
  document.body.dataset.access = access;
  if (access === 'limited') {
    const text = session.hasCredential ? 'The token you signed in with does not have it.' : 'Without credentials nobody has it.';
    for (const view of [topics, connections]) view.refuse('This takes the admin right', text);
    write(part('limited-text'), `${text} What you may follow and publish works under Topics.`);
  }
  part('limited').hidden = access !== 'limited';
  if (access === 'stranger') showStatus('stranger');
  feed();
}

function showStatus(status) {
  part('status').dataset.state = status;
  write(part('status-text'), STATES[status]);
  document.body.classList.toggle('stale', status !== 'connected');
  publish.live = status === 'connected';
}

function showState(state) {
  const { status, code, reason, delayMs } = state;
  showStatus(session.access === 'stranger' ? 'stranger' : status);
  feed();
  if (status === 'connected') {
    connections.own = state.connection;
    notice.hide();
  }
  if (status !== 'waiting' && status !== 'closed') return;
  // Of credentials the form speaks.
  if (session.access === 'stranger' || (status === 'closed' && code === 1000)) return;
  const known = MEANINGS[code] ?? `The connection was closed with code ${code}.`;
  const text = reason && !known.toLowerCase().includes(reason) ? `${known.slice(0, -1)}: ${reason}.` : known;
  const until = delayMs === undefined ? undefined : performance.now() + delayMs;
  notice.show(text, { label: status === 'closed' ? 'Connect again' : 'Try now', act: () => session.client.connect(), until });
}
