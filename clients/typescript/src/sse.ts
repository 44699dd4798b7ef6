/**
 * `text/event-stream` (WHATWG HTML, 9.2.6), as far as this server writes it: one line of `data` an event.
 * Whatever else it may say is passed over.
 */

/** Takes a stream's text in pieces of any length, and tells its events. */
export const createEventReader = (heard: (event: string, data: string) => void): ((text: string) => void) => {
  let rest = '';
  let event = '';
  let data: string | undefined;
  const read = (line: string): void => {
    if (line === '') {
      if (data !== undefined) heard(event, data);
      event = '';
      data = undefined;
      return;
    }
    const colon = line.indexOf(':');
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? '' : line.slice(line[colon + 1] === ' ' ? colon + 2 : colon + 1);
    if (field === 'event') event = value;
    else if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
  };
  return (text) => {
    // A line end at the end may be half of one.
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() as string;
    for (const line of lines) read(line);
  };
};
