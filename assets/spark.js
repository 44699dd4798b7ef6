// A sparkline: an SVG that stretches to its box. Strokes do not scale with it, colours are the style
// sheet's, so that a change of theme or size needs no drawing.

const SVG = 'http://www.w3.org/2000/svg';
const WIDTH = 100;
const HEIGHT = 30;
/** Kept free at each edge, so that a stroke at the very top or bottom is not cut. */
const MARGIN = 2;

export class Spark {
  #area;
  #line;
  #end;
  #cursor;

  constructor() {
    this.svg = document.createElementNS(SVG, 'svg');
    this.svg.setAttribute('viewBox', `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute('preserveAspectRatio', 'none');
    this.svg.setAttribute('class', 'spark');
    this.svg.setAttribute('aria-hidden', 'true');
    [this.#area, this.#line, this.#cursor, this.#end] = ['area', 'line', 'cursor', 'end'].map((name) => {
      const path = document.createElementNS(SVG, 'path');
      path.setAttribute('class', name);
      this.svg.append(path);
      return path;
    });
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
