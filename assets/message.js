// A line for a message, a gap or a remark: of the tail, and of the history.

import { clock, element, json, whole } from './format.js';

const LINE_CHARS = 300;
const OPENED_CHARS = 100_000;

const REASONS = {
  slow: 'this page was too slow',
  latest: 'only the newest of each key is kept',
  backplane: 'lost between servers',
  expired: 'no longer held when the connection was back',
  epoch: 'the numbering began anew',
  future: 'the server knows less than this page',
  pattern: 'the connection was away, and a pattern has no position to go on from',
};

/** `time` is when it came, for what has one; `topic` is left out where it goes without saying. */
export function messageLine(event, { time, topic }) {
  const when = time ? [element('time', {}, clock(time), element('span', {}, `.${String(time.getMilliseconds()).padStart(3, '0')}`))] : [];
  if (event.type === 'note') return element('li', { class: 'note' }, ...when, element('span', { class: 'value' }, event.text));
  const named = topic ? [element('span', { class: 'topic', title: topic }, topic)] : [];
  if (event.type === 'gap') return element('li', { class: 'gap' }, ...when, ...named, element('span', { class: 'value' }, gapText(event)));

  const line = element('summary', {}, ...when, ...named, element('span', { class: 'at' }, `#${event.offset}`), element('span', { class: 'value' }, json(event.data, { limit: LINE_CHARS })));
  const opened = element('details', {}, line);
  // Drawn when opened: of two hundred lines few ever are.
  opened.addEventListener('toggle', () => {
    if (opened.children.length > 1) return;
    const said = [
      event.at === undefined ? '' : `at ${new Date(event.at).toISOString()}`,
      event.from === undefined ? '' : `from ${event.from}`,
    ].filter((text) => text !== '');
    if (said.length > 0) opened.append(element('p', { class: 'said' }, said.join(', ')));
    opened.append(element('pre', { tabindex: '0', 'aria-label': `Message #${event.offset}` }, json(event.data, { indent: 2, limit: OPENED_CHARS })));
  });
  return element('li', { class: 'message' }, opened);
}

function gapText({ from, to, reason }) {
  const why = REASONS[reason] ?? reason;
  if (from === undefined || to === undefined) return `gap: ${why}`;
  if (to < from) return `gap: ${why}; nothing of the new numbering was missed`;
  return `gap: ${whole(to - from + 1)} left out, #${from} to #${to} (${why})`;
}
