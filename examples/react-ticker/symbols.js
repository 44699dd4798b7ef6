/** A thousand made-up companies, the same for the feed and for the page. */

const first = ['AR', 'BE', 'CO', 'DU', 'EL', 'FI', 'GA', 'HY', 'IN', 'JO', 'KE', 'LU', 'MA', 'NO', 'OR', 'PI', 'QU', 'RE', 'SO', 'TY'];
const second = ['B', 'D', 'F', 'K', 'L', 'M', 'N', 'R', 'S', 'X'];
const third = ['A', 'E', 'I', 'O', 'T'];

/** @type {readonly string[]} */
export const symbols = first.flatMap((a) => second.flatMap((b) => third.map((c) => `${a}${b}${c}`)));
