// Figures over time: an hour of them, one a second, and fewer points of them for a line.

/** An hour. Twice as many may be held for a moment: cutting one by one would cost as much as drawing. */
const SAMPLES_MAX = 3600;

export class Series {
  #samples = [];

  push(at, value) {
    this.#samples.push({ at, value });
    if (this.#samples.length > 2 * SAMPLES_MAX) this.#samples = this.#samples.slice(-SAMPLES_MAX);
  }

  get first() {
    return this.#samples[0];
  }

  get last() {
    return this.#samples.at(-1);
  }

  clear() {
    this.#samples = [];
  }

  /**
   * What there is since `from`. Of each stretch of `width` it is the greatest, so that a spike is seen
   * however long the line is; stretches begin at multiples of `width`, so that the line does not waver.
   */
  since(from, width) {
    const samples = this.#samples;
    const thinned = [];
    let stretch;
    for (let at = this.#after(from); at < samples.length; at += 1) {
      const sample = samples[at];
      const own = Math.floor(sample.at / width);
      if (own !== stretch) thinned.push(sample);
      else if (sample.value >= thinned.at(-1).value) thinned[thinned.length - 1] = sample;
      stretch = own;
    }
    return thinned;
  }

  /** The sum of what there is since `from`. */
  sum(from) {
    let sum = 0;
    for (let at = this.#after(from); at < this.#samples.length; at += 1) sum += this.#samples[at].value;
    return sum;
  }

  /** The place of the first sample that is not older. */
  #after(from) {
    let [low, high] = [0, this.#samples.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#samples[middle].at < from) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}
