/**
 * Patterns: a segment `*` stands for one segment, a last segment `>` for one or more. Neither matches a
 * first segment that begins with `$`.
 */

/** What a pattern matches; nothing for what is a name. */
export const patternOf = (topic: string): RegExp | undefined => {
  let wild = false;
  const segments = topic.split('.').map((segment, at) => {
    if (segment !== '*' && segment !== '>') return segment.replace(/[\\^$+*?()[\]{}|]/g, '\\$&');
    wild = true;
    return `${at ? '' : '(?!\\$)'}${segment === '*' ? '[^.]' : '.'}+`;
  });
  return wild ? new RegExp(`^${segments.join('\\.')}$`, 's') : undefined;
};
