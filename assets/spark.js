// A sparkline: an SVG that stretches to its box. Strokes do not scale with it, colours are the style
// sheet's, so that a change of theme or size needs no drawing.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 100;
const HEIGHT = 30;
/** Kept free at each edge, so that a stroke at the very top or bottom is not cut. */
const MARGIN = 2;
/** A gradient is found by a name that is unique in the page. */
let fades = 0;

function part(name, attributes, ...children) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

export class Spark {
  #area;
  #line;
  #end;
  #cursor;

  constructor() {
    const id = `fade-${(fades += 1)}`;
    const fade = part('linearGradient', { id, gradientUnits: 'userSpaceOnUse', x1: 0, y1: 0, x2: 0, y2: HEIGHT }, part('stop', { offset: 0 }), part('stop', { offset: 1 }));
    this.#area = part('path', { class: 'area', fill: `url(#${id})` });
    [this.#line, this.#cursor, this.#end] = ['line', 'cursor', 'end'].map((name) => part('path', { class: name, fill: 'none' }));
    const box = { class: 'spark', viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', 'aria-hidden': 'true' };
    this.svg = part('svg', box, fade, this.#area, this.#line, this.#cursor, this.#end);
  }

  /**
   * Draws `samples`, `{ at, value }` in the order of time, between `from` and `to`. The scale begins at
   * zero and ends at the greatest value or `least`. More than `hole` between two samples breaks the line.
   */
  draw(samples, { from, to, least = 0, hole = Infinity }) {
    const top = Math.max(least, ...samples.map((sample) => sample.value)) || 1;
    const x = (at) => (((at - from) / (to - from)) * WIDTH).toFixed(2);
    const y = (value) => (HEIGHT - MARGIN - (value / top) * (HEIGHT - 2 * MARGIN)).toFixed(2);

    let line = '';
    let area = '';
    let before;
    for (const { at, value } of samples) {
      if (before === undefined || at - before > hole) {
        if (before !== undefined) area += `V${HEIGHT}Z`;
        line += `M${x(at)} ${y(value)}`;
        area += `M${x(at)} ${HEIGHT}V${y(value)}`;
      } else {
        line += `L${x(at)} ${y(value)}`;
        area += `L${x(at)} ${y(value)}`;
      }
      before = at;
    }
    const last = samples.at(-1);
    this.#line.setAttribute('d', line);
    this.#area.setAttribute('d', last === undefined ? '' : `${area}V${HEIGHT}Z`);
    // A stroke of no length with round caps: a dot that stays round however the box is stretched.
    this.#end.setAttribute('d', last === undefined ? '' : `M${x(last.at)} ${y(last.value)}h0`);
  }

  /** A vertical line at a share of the width, or none. */
  point(share) {
    this.#cursor.setAttribute('d', share === undefined ? '' : `M${(share * WIDTH).toFixed(2)} 0V${HEIGHT}`);
  }
}
