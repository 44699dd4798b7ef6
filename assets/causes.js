// Why somebody was refused, sent away or missed something: a line for each cause, with its total, how
// often it was in the time that is shown, and when.

import { element, whole, write } from './format.js';
import { Series } from './series.js';
import { Spark } from './spark.js';

const POINTS_MAX = 60;

/** Counters of `$stats`, and the words for them. */
const GROUPS = [
  {
    name: 'Refused',
    causes: [
      ['refused', 'Server full, or draining'],
      ['refused_credentials', 'Credentials that do not count'],
      ['refused_origins', 'Foreign page, or unknown host'],
      ['denied', 'Address not allowed'],
    ],
  },
  {
    name: 'Over a limit',
    causes: [
      ['limited_attempts', 'Attempts to connect'],
      ['limited_credentials', 'Credentials not looked at'],
      ['limited_connections', 'Connections of an address'],
      ['limited_commands', 'Commands'],
      ['limited_publishes', 'Publishes of a client'],
      ['limited_topics', 'Publishes to a topic'],
      ['limited_bytes', 'Bytes'],
      ['limited_sizes', 'Too large'],
      ['limited_subscriptions', 'Subscriptions'],
      ['limited_members', 'Members of a topic'],
      ['limited_new_topics', 'Topics in all'],
      ['limited_time', 'Requests slow to arrive'],
      ['limited_waits', 'Publishes without room'],
      ['limited_lanes', 'Replies not taken'],
    ],
  },
  {
    name: 'Closed',
    causes: [
      ['closed_slow', 'Too slow'],
      ['closed_silent', 'Silent'],
      ['closed_expired', 'Credentials ended, or never came'],
      ['closed_limited', 'Went on over a limit'],
      ['closed_malformed', 'Malformed commands'],
      ['limited_backlogs', 'Owed too much, all together'],
    ],
  },
  {
    name: 'Messages missed',
    causes: [
      ['skipped', 'Left out, and told so by a gap'],
      ['conflated', 'Passed over for a newer one'],
    ],
  },
];

class Cause {
  #name;
  #series = new Series();
  #spark = new Spark();
  #lately = element('td', { class: 'lately' }, '–');
  #total = element('td', { class: 'total' }, '–');
  #newest = 0;

  constructor(name, label) {
    this.#name = name;
    this.node = element('tr', { 'data-cause': name, class: 'none' }, element('th', { scope: 'row', title: label }, label), element('td', { class: 'line' }, this.#spark.svg), this.#lately, this.#total);
  }

  take(now, before) {
    this.#newest = now[this.#name];
    if (before) this.#series.push(now.uptime_ms, now[this.#name] - before[this.#name]);
  }

  draw(spanMs) {
    const to = this.#series.last?.at;
    if (to === undefined) return;
    const from = to - spanMs;
    const width = spanMs / POINTS_MAX;
    this.#spark.draw(this.#series.since(from, width), { from, to, least: 1, hole: 2.5 * Math.max(width, 1000) });
    const lately = this.#series.sum(from);
    write(this.#lately, whole(lately));
    write(this.#total, whole(this.#newest));
    this.node.classList.toggle('none', this.#newest === 0);
    this.node.classList.toggle('alarm', lately > 0);
  }

  forget() {
    this.#series.clear();
  }
}

export class Causes {
  #causes = [];

  constructor(table) {
    for (const { name, causes } of GROUPS) {
      const rows = causes.map(([counter, label]) => new Cause(counter, label));
      this.#causes.push(...rows);
      const head = element('tr', { class: 'group' }, element('th', { scope: 'rowgroup', colspan: '4' }, name));
      table.append(element('tbody', {}, head, ...rows.map((row) => row.node)));
    }
  }

  take(now, before) {
    for (const cause of this.#causes) cause.take(now, before);
  }

  draw(spanMs) {
    for (const cause of this.#causes) cause.draw(spanMs);
  }

  forget() {
    for (const cause of this.#causes) cause.forget();
  }
}
