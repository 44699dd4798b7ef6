/**
 * `text/event-stream` (WHATWG HTML, 9.2.6), as far as this server writes it: one line of `data` an event.
 * Whatever else it may say is passed over.
 */

/** Takes a stream's text in pieces of any length, and tells its events. */
export const createEventReader = (heard: (event: string, data: string) => void): ((text: string) => void) => {
  let rest = '';
  let event = '';
  let data: string | undefined;
  return (text) => {
    const lines = (rest + text).split(/\r\n|\n|\r(?!$)/);
    rest = lines.pop() as string;
    for (const line of lines) {
      const [, field = '', value = ''] = /^([^:]*)(?:: ?(.*))?$/s.exec(line) ?? [];
      if (line === '') {
        if (data !== undefined) heard(event, data);
        event = '';
        data = undefined;
      } else if (field === 'event') event = value;
      else if (field === 'data') data = data === undefined ? value : `${data}\n${value}`;
    }
  };
};
