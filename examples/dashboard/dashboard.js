// This machine's figures as they come: four topics, a card each.
//
// The newest minute of each topic is asked for with the subscription (`last`), so that a page that was just
// opened has its lines at once. What a lost connection missed is recovered without a word of this code.

import { createClient } from './fanfare-client.js';

/** A minute of readings: the processor's come four times a second, others twice. */
const MINUTE = { cpu: 240, memory: 120, network: 120 };

const broker = new URLSearchParams(location.search).get('broker') ?? 'ws://127.0.0.1:7070/ws';
const client = createClient(broker);

client.on('state', ({ status, delayMs }) => {
  const state = document.getElementById('state');
  state.textContent = status === 'waiting' ? `no connection, trying again in ${Math.ceil(delayMs / 1000)} s` : status;
  state.classList.toggle('away', status === 'waiting' || status === 'closed');
  document.querySelector('main').classList.toggle('old', status !== 'connected');
});

/** A card with a figure, what else there is to say, and a line; `most` is the top of the scale. */
function card(id, read, most) {
  const shown = MINUTE[id];
  const [figure, more, line, area] = ['output', '.more', '.line', '.area'].map((part) => document.querySelector(`#${id} ${part}`));
  const values = [];
  let drawing;
  const draw = () => {
    drawing = undefined;
    const top = Math.max(most(values), 1);
    const from = shown - values.length;
    const points = values.map((value, at) => `${(((from + at) / (shown - 1)) * 100).toFixed(2)} ${(40 - (value / top) * 36).toFixed(2)}`);
    if (points.length === 0) return;
    line.setAttribute('d', `M${points.join('L')}`);
    area.setAttribute('d', `M${points.join('L')}V40H${points[0].split(' ')[0]}Z`);
  };
  return (data) => {
    const { value, text, beside } = read(data);
    values.push(value);
    if (values.length > shown) values.shift();
    figure.textContent = text;
    more.textContent = beside;
    // What is replayed comes all at once, and is drawn once.
    drawing ??= requestAnimationFrame(draw);
  };
}

/** Bars with a name each. */
function bars(id, entries) {
  const list = document.querySelector(`#${id} .bars`);
  for (const [at, { name, share, text }] of entries.entries()) {
    const item = list.children[at] ?? list.appendChild(document.createElement('li'));
    if (item.children.length === 0) item.append(document.createElement('span'), document.createElement('b'), document.createElement('meter'));
    const [label, figure, meter] = item.children;
    label.textContent = name;
    figure.textContent = text;
    meter.value = share;
    // Much is worth a look.
    meter.high = 0.9;
    meter.optimum = 0;
    meter.setAttribute('aria-label', name);
  }
  while (list.children.length > entries.length) list.lastChild.remove();
}

const cpu = card('cpu', ({ percent, load }) => ({ value: percent, text: `${percent.toFixed(1)} %`, beside: `load ${load.join('  ')}` }), () => 100);
const memory = card('memory', ({ used_bytes: used, total_bytes: total }) => ({ value: (used / total) * 100, text: bytes(used), beside: `of ${bytes(total)}` }), () => 100);
const network = card('network', ({ received_per_second: received, sent_per_second: sent }) => ({ value: received, text: `${bytes(received)}/s`, beside: `${bytes(sent)}/s sent` }), (values) => Math.max(...values) * 1.1);

const subscribe = (topic, show, last) => client.subscribe(topic, ({ data }) => show(data), { last });
subscribe('host.cpu', (data) => {
  cpu(data);
  bars('cpu', data.cores.map((percent, at) => ({ name: `core ${at + 1}`, share: percent / 100, text: `${percent.toFixed(0)} %` })));
}, MINUTE.cpu);
subscribe('host.memory', memory, MINUTE.memory);
subscribe('host.network', network, MINUTE.network);
subscribe('host.disk', ({ disks }) => bars('disk', disks.map(({ mounted, free_bytes: free, total_bytes: total }) => ({ name: mounted, share: 1 - free / total, text: `${bytes(free)} free of ${bytes(total)}` }))), 1);

function bytes(n) {
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  const unit = Math.min(units.length - 1, n < 1 ? 0 : Math.floor(Math.log10(n) / 3));
  return `${(n / 1000 ** unit).toFixed(unit === 0 ? 0 : 1)} ${units[unit]}`;
}
