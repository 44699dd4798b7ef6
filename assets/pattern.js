// What a subscription covers.

/** Whether it is a pattern and no name. */
export const isPattern = (filter) => /(^|\.)(\*(\.|$)|>$)/.test(filter);

/** Whether a subscription, a name or a pattern, covers a topic. */
export function covers(filter, topic) {
  if (filter === topic) return true;
  const want = filter.split('.');
  const have = topic.split('.');
  if (topic.startsWith('$') && (want[0] === '*' || want[0] === '>')) return false;
  for (const [at, segment] of want.entries()) {
    if (segment === '>' && at === want.length - 1) return have.length > at;
    if (at >= have.length || (segment !== '*' && segment !== have[at])) return false;
  }
  return want.length === have.length;
}
