/** Presence, tokens and what to do when a publish is refused, against a server at `url`. */

import { createClient, FanfareError, type SocketConstructor } from 'fanfare-client';

export const room = async (url: string, WebSocket: SocketConstructor, log: (line: string) => void): Promise<void> => {
  const token = async (reason: string) => {
    log(`a token to ${reason}`);
    return 'a token of your own service';
  };
  const client = createClient(url, { WebSocket, token });
  const here = client.subscribe('room.1', ({ data }) => log(`heard ${JSON.stringify(data)}`), {
    presence: true,
    member: { name: 'Ana' },
    onPresence: ({ members }) => log(`${members.length} here`),
  });
  await here.ready;
  try {
    await client.publish('not a topic', 'hello');
  } catch (error) {
    if (error instanceof FanfareError && error.code === 'bad_topic') log('no such topic');
    else throw error;
  }
  await client.publish('room.1', 'hello');
  client.close();
};
