/**
 * The page of the chat. What others say arrives as it was published, by whatever program: it is checked in `said`
 * and `typed`, and goes into the page by `textContent` only.
 */

import { createClient } from './fanfare-client.js';

const [NAME_CHARS_MAX, TEXT_CHARS_MAX] = [32, 1_000];
const [PEOPLE_MAX, LINES_MAX, EARLIER_MAX] = [500, 500, 50];
const [TYPING_EVERY_MS, TYPING_SHOWN_MS] = [2_000, 3_000];

const at = (id) => document.getElementById(id);
const composer = at('composer');
const text = composer.elements.text;

// Not `randomUUID`: that is for pages of `https` and `localhost`, and a phone comes by address.
const newId = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (byte) => byte.toString(16).padStart(2, '0')).join('');
// The tab's, so that it stays the same over a reload.
sessionStorage.chatId ??= newId();
const me = { id: sessionStorage.chatId, name: localStorage.chatName ?? '' };

let room = '';
let subscriptions = [];
let people; // connection -> {id, name}, of the room, once it is known
const typing = new Map(); // id -> {name, until}
const visited = new Set(['general', 'random', 'help']);

// ---- connection
const client = createClient(new URL('events/ws', document.baseURI));
client.on('state', (state) => {
  const words = { idle: 'connecting', connecting: 'connecting', connected: 'live', closed: 'closed by the server' };
  const away = state.status === 'waiting' && state.attempt > 1 ? `back in ${Math.ceil(state.delayMs / 1000)} s` : 'reconnecting';
  status({ connected: 'live', closed: 'ended' }[state.status] ?? 'connecting', words[state.status] ?? away);
});

/** Follows the room: what was said last, what is said, who is there, and who is typing. */
function follow() {
  const entered = room;
  const here = (listen) => (...all) => { if (entered === room) listen(...all); };
  subscriptions = [
    client.subscribe(`chat.${room}`, here(said), {
      last: EARLIER_MAX,
      presence: true,
      member: { id: me.id, name: me.name },
      onPresence: here(attend),
      onGap: here(missed),
      onError: here(({ message }) => notice(message)),
    }),
    client.subscribe(`typing.${room}`, here(typed), { onError: () => {} }),
  ];
}

function leave() {
  for (const subscription of subscriptions) subscription.unsubscribe();
  subscriptions = [];
}

/** Said while there is no connection, it goes out with the next one: the client keeps it. */
async function say() {
  const words = text.value.trim();
  if (words === '') return;
  text.value = '';
  at('notice').hidden = true;
  typedAt = 0;
  if (client.state.status !== 'connected') notice('There is no connection: what you say goes out with the next one.');
  try {
    await client.publish(`chat.${room}`, { from: me.id, name: me.name, text: words });
    at('notice').hidden = true;
  } catch (error) {
    notice(`Not sent: ${error.message}.`);
    text.value ||= words;
  }
}

// ---- what happens
const isText = (value, max) => typeof value === 'string' && value.trim() !== '' && [...value].length <= max;
const isFromSomebody = (data) => isText(data?.from, 40) && isText(data.name, NAME_CHARS_MAX);

function said({ data, at: atMs = Date.now() }) {
  if (!isFromSomebody(data) || !isText(data.text, TEXT_CHARS_MAX)) return;
  const { from, name, text } = data;
  typing.delete(from);
  line(bubble({ from, name, text, atMs }), from === me.id);
  if (document.hidden && from !== me.id) document.title = `● ${room} · fanfare chat`;
  showTyping();
}

/** The server began anew, or this page was away for long. What was said meanwhile may still be remembered. */
async function missed({ topic, epoch, from = 1, to = 0 }) {
  try {
    const history = await client.history(topic, { limit: EARLIER_MAX });
    const held = history.messages.filter(({ offset }) => history.epoch === epoch && from <= offset && offset <= to);
    if (topic !== `chat.${room}`) return;
    const lost = to - from + 1 - held.length;
    if (lost > 0) line(happened(lost === 1 ? 'One message was missed' : `${lost} messages were missed`));
    held.forEach(said);
  } catch (error) {
    notice(`What was said meanwhile could not be read: ${error.message}.`);
  }
}

function typed({ data }) {
  if (!isFromSomebody(data)) return;
  typing.set(data.from, { name: data.name, until: Date.now() + TYPING_SHOWN_MS });
  setTimeout(showTyping, TYPING_SHOWN_MS + 50);
  showTyping();
}

/** Who is there now. Who was not, or is not any more, is a line; not so on entering. */
function attend({ members }) {
  const before = people;
  people = new Map();
  for (const { connection, member } of members.slice(0, PEOPLE_MAX)) {
    if (isText(member?.id, 40) && isText(member.name, NAME_CHARS_MAX)) people.set(connection, member);
  }
  const tell = (some, others, what) => {
    const known = new Set([...others.values()].map(({ id, name }) => `${id} ${name}`));
    for (const { id, name } of some.values()) if (id !== me.id && !known.has(`${id} ${name}`)) line(happened(`${name} ${what}`));
  };
  if (before) {
    tell(before, people, 'left');
    tell(people, before, 'joined');
  }
  showPeople();
}

// ---- the page
function element(name, className, words) {
  const made = document.createElement(name);
  made.className = className;
  if (words !== undefined) made.textContent = words;
  return made;
}

const hue = (id) => [...id].reduce((sum, char) => (sum * 31 + char.codePointAt(0)) % 360, 7);

function badge(id, name) {
  const made = element('span', 'badge', [...name.trim()][0].toUpperCase());
  made.style.setProperty('--hue', hue(id));
  made.ariaHidden = 'true';
  return made;
}

let previous = {}; // the message above, if nothing is between

function bubble({ from, name, text, atMs }) {
  // Close together and by the same person: one name above them all.
  const isFirst = previous.from !== from || previous.name !== name || atMs - previous.atMs > 300_000;
  previous = { from, name, atMs };
  const made = element('li', `said${isFirst ? ' first' : ''}${from === me.id ? ' own' : ''}`);
  made.style.setProperty('--hue', hue(from));
  const words = element('div', 'bubble', text);
  words.append(element('time', '', new Date(atMs).toLocaleTimeString([], { hour: 'numeric', minute: '2-digit' })));
  made.append(element('span', 'who', name), badge(from, name), words);
  return made;
}

function happened(words) {
  previous = {};
  return element('li', 'happened', words);
}

const isAtEnd = () => at('log').scrollHeight - at('log').scrollTop - at('log').clientHeight < 80;

function line(made, isOwn = false) {
  const wasAtEnd = isAtEnd();
  at('empty').hidden = true;
  at('lines').append(made);
  if (at('lines').childElementCount > LINES_MAX) at('lines').children[1].remove(); // the first says that it is empty
  if (wasAtEnd || isOwn) toEnd();
  else at('newest').hidden = false;
}

function toEnd() {
  at('log').scrollTop = at('log').scrollHeight;
  at('newest').hidden = true;
}

function status(state, textContent) {
  Object.assign(at('status'), { textContent }).dataset.state = state;
}

function notice(textContent) {
  Object.assign(at('notice'), { textContent, hidden: false });
}

function showPeople() {
  // Somebody may be here with several tabs.
  const others = new Map([...(people?.values() ?? [])].filter(({ id }) => id !== me.id).map(({ id, name }) => [id, name]));
  const own = me.name === '' ? [] : [[me.id, `${me.name} (you)`]];
  const all = [...own, ...[...others].sort(([, a], [, b]) => a.localeCompare(b))];
  at('count').textContent = `Here now: ${all.length}`;
  Object.assign(at('open'), { textContent: `☰ ${all.length}`, ariaLabel: `Rooms and people, ${all.length} here now` });
  at('people').replaceChildren(...all.map(([id, name]) => {
    const made = element('li', 'person');
    made.append(badge(id, name), element('span', '', name));
    return made;
  }));
}

function showTyping() {
  for (const [id, { until }] of typing) if (until <= Date.now()) typing.delete(id);
  const names = [...typing.values()].map(({ name }) => name);
  const words = [`${names[0]} is typing…`, `${names[0]} and ${names[1]} are typing…`, 'Several people are typing…'];
  at('typing').textContent = names.length === 0 ? '' : words[Math.min(names.length, 3) - 1];
}

function showRooms() {
  at('rooms').replaceChildren(...[...visited].map((name) => {
    const link = element('a', '');
    link.append(element('span', '', name));
    link.href = `#${encodeURIComponent(name)}`;
    if (name === room) link.ariaCurrent = 'page';
    const made = element('li', '');
    made.append(link);
    return made;
  }));
  at('title').textContent = room;
  text.placeholder = `Message #${room}`;
  document.title = `${room} · fanfare chat`;
}

// ---- what the user does
/** The room that the address names. */
function enter() {
  let named = '';
  try { named = decodeURIComponent(location.hash.slice(1)).toLowerCase(); } catch { /* half an escape: no room */ }
  const next = /^[\p{Alphabetic}\p{N}-]{1,32}$/u.test(named) ? named : 'general';
  drawer(false);
  if (next === room) return;
  leave();
  room = next;
  visited.add(room);
  people = undefined;
  typing.clear();
  previous = {};
  at('empty').hidden = false;
  at('lines').replaceChildren(at('empty'));
  at('newest').hidden = at('notice').hidden = true;
  showRooms();
  showPeople();
  showTyping();
  if (me.name !== '') follow();
}

function drawer(isOpen) {
  document.body.classList.toggle('drawer', isOpen);
  at('open').ariaExpanded = String(isOpen);
}

let typedAt = 0;
text.addEventListener('input', () => {
  if (text.value.trim() === '' || Date.now() - typedAt < TYPING_EVERY_MS) return;
  typedAt = Date.now();
  client.publish(`typing.${room}`, { from: me.id, name: me.name }, { echo: false, retry: false });
});
text.addEventListener('keydown', (event) => {
  // Not while an input method is at work, and on a phone Enter is for new lines.
  if (event.key !== 'Enter' || event.shiftKey || event.isComposing || matchMedia('(pointer: coarse)').matches) return;
  event.preventDefault();
  say();
});
composer.addEventListener('submit', (event) => { event.preventDefault(); say(); text.focus(); });
at('newest').addEventListener('click', toEnd);
at('log').addEventListener('scroll', () => { if (isAtEnd()) at('newest').hidden = true; });
at('open').addEventListener('click', (event) => { event.stopPropagation(); drawer(true); });
document.addEventListener('click', (event) => { if (!at('aside').contains(event.target)) drawer(false); });
document.addEventListener('keydown', (event) => { if (event.key === 'Escape') drawer(false); });
at('go').addEventListener('submit', (event) => {
  event.preventDefault();
  location.hash = encodeURIComponent(event.target.elements.room.value.trim().toLowerCase().replaceAll(/\s+/g, '-'));
  event.target.reset();
});
at('rename').addEventListener('click', () => { drawer(false); ask(); });
at('ask').addEventListener('close', () => {
  const name = at('ask').querySelector('input').value.trim();
  if (name === '') return me.name === '' && ask(); // closed by Escape
  if (name === me.name) return;
  me.name = localStorage.chatName = name;
  composer.querySelector('button').disabled = false;
  // To be a member by another name is to leave and come back.
  leave();
  at('lines').replaceChildren(at('empty'));
  people = undefined;
  follow();
  showPeople();
  text.focus();
});
addEventListener('hashchange', enter);
addEventListener('resize', () => { if (at('newest').hidden) toEnd(); });
document.addEventListener('visibilitychange', showRooms);

function ask() {
  at('ask').querySelector('input').value = me.name;
  at('ask').showModal();
}

composer.querySelector('button').disabled = me.name === '';
enter();
if (me.name === '') ask();
