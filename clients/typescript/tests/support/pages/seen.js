/** What a page follows, and keeps of what it sees. */

export const follow = async (client, topic) => {
  const seen = { heard: [], gaps: [], errors: [], states: [], connection: '' };
  client.on('state', ({ status, connection }) => {
    seen.states.push(status);
    seen.connection = connection ?? '';
  });
  client.on('error', ({ code }) => seen.errors.push(code));
  const subscription = client.subscribe(
    topic,
    ({ offset, data }) => seen.heard.push({ epoch: subscription.position.epoch, offset, data }),
    { onGap: (gap) => seen.gaps.push(gap) },
  );
  await subscription.ready;
  globalThis.client = client;
  globalThis.seen = seen;
};

/** `name` of the address of the page. */
export const given = (name) => new URLSearchParams(location.search).get(name);
