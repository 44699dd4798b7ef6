import { describe, expect, test } from 'vitest';

import type { Gap, Message, Position } from '../src/index.ts';
import { hear, onFakeTime, pair, pass, show } from './support/setup.ts';

onFakeTime();

describe('following', () => {
  test('subscribed, heard, left', async () => {
    const { server, client } = pair();
    const { heard, stop, ready } = hear(client, 'a');
    await pass();
    expect(await ready).toEqual({ epoch: 'e1', offset: 0 });
    server.publish('a', 'one');
    stop();
    await pass();
    server.publish('a', 'two');
    expect(heard).toEqual(['a:1="one"']);
    expect(server.last.commands).toEqual([
      { type: 'subscribe', id: 1, topic: 'a' },
      { type: 'unsubscribe', id: 2, topic: 'a' },
    ]);
  });

  test('what is asked in one turn leaves in one frame', async () => {
    const { server, client } = pair();
    client.connect();
    await pass();
    for (let at = 0; at < 100; at++) hear(client, `row.${at}`);
    await pass();
    expect(server.last.frames.map((frame) => frame.length)).toEqual([100]);
    server.cut();
    await pass(1000);
    expect(server.last.frames.map((frame) => frame.length)).toEqual([100]);
  });

  test('frames have the length and the count that the server takes', async () => {
    const { server, client } = pair({ batchMax: 50 });
    server.messageBytesMax = 1000;
    for (let at = 0; at < 200; at++) hear(client, `row.${at}`.padEnd(at % 30, '.x'.repeat(15)));
    await pass();
    expect(server.last.commands).toHaveLength(200);
    expect(server.last.frames.length).toBeGreaterThan(4);
    for (const frame of server.last.frames) {
      expect(frame.length).toBeLessThanOrEqual(50);
      expect(JSON.stringify(frame).length).toBeLessThanOrEqual(1000);
    }
  });

  test('several followers are one subscription, and the last one out ends it', async () => {
    const { server, client } = pair();
    const [first, second] = [hear(client, 'a'), hear(client, 'a')];
    await pass();
    server.publish('a', 1);
    first.stop();
    first.stop();
    server.publish('a', 2);
    second.stop();
    await pass();
    expect([first.heard, second.heard]).toEqual([['a:1=1'], ['a:1=1', 'a:2=2']]);
    expect(server.last.commands.map(({ type }) => type)).toEqual(['subscribe', 'unsubscribe']);
  });

  test('left and followed again in the same turn is followed', async () => {
    const { server, client } = pair();
    client.connect();
    await pass();
    hear(client, 'a').stop();
    const { heard } = hear(client, 'a');
    await pass();
    server.publish('a', 1);
    expect(heard).toEqual(['a:1=1']);
  });

  test('patterns hear what they match, once for each follower', async () => {
    const { server, client } = pair();
    const [all, some, one] = [hear(client, '>'), hear(client, 'a.*'), hear(client, 'a.b')];
    await pass();
    server.publish('a.b', 1);
    server.publish('c', 2);
    expect([all.heard, some.heard, one.heard]).toEqual([['a.b:1=1', 'c:1=2'], ['a.b:1=1'], ['a.b:1=1']]);
  });

  test('a refused subscription ends, says why, and leaves the others', async () => {
    const { server, client, errors } = pair();
    server.refusals.set('secret', { code: 'forbidden' });
    const ended: string[] = [];
    const { ready } = hear(client, 'secret', { onError: ({ code }: { code: string }) => ended.push(code) });
    const { heard } = hear(client, 'a');
    await pass();
    await expect(ready).rejects.toMatchObject({ code: 'forbidden', topic: 'secret' });
    expect(ended).toEqual(['forbidden']);
    expect(errors.map(({ code }) => code)).toEqual(['forbidden']);
    server.publish('a', 1);
    expect(heard).toEqual(['a:1=1']);
  });

  test('a subscription that is put off is asked for again when the server says', async () => {
    const { server, client } = pair();
    server.refusals.set('a', { code: 'overloaded', retry_after_ms: 700 });
    const { heard } = hear(client, 'a');
    await pass(600);
    server.refusals.clear();
    await pass(200);
    server.publish('a', 1);
    expect(heard).toEqual(['a:1=1']);
  });
});

describe('rates', () => {
  const said = (server: ReturnType<typeof pair>['server']) =>
    server.last.commands.map(({ type, max_rate, since }) =>
      [type, max_rate, since && `since ${since.offset}`].filter((each) => each !== undefined).join(' '),
    );

  test('the server is asked for what the most demanding follower wants, and nothing is lost when that changes', async () => {
    const { server, client, errors, gaps } = pair();
    const calm = hear(client, 'a', { maxRate: 5 });
    await pass();
    server.publish('a', 1);
    const quick = hear(client, 'a', { maxRate: 100 });
    // Comes before the server has heard of it.
    server.publish('a', 2);
    await pass();
    server.publish('a', 3);
    const every = hear(client, 'a');
    await pass();
    server.publish('a', 4);
    // Nobody wants more than comes already.
    hear(client, 'a', { maxRate: 7 });
    await pass();
    every.stop();
    server.publish('a', 5);
    await pass();
    server.publish('a', 6);
    expect(said(server)).toEqual([
      'subscribe 5',
      'unsubscribe',
      'subscribe 100 since 1',
      'unsubscribe',
      'subscribe since 3',
      'unsubscribe',
      'subscribe 100 since 4',
    ]);
    const all = ['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4', 'a:5=5', 'a:6=6'];
    expect([calm.heard, quick.heard, every.heard]).toEqual([all, all.slice(1), all.slice(3, 4)]);
    expect([errors, gaps]).toEqual([[], []]);
  });

  test('one that is wanted before the server has answered is asked for once it has', async () => {
    const { server, client, errors } = pair();
    client.connect();
    await pass();
    const { heard } = hear(client, 'a', { maxRate: 5 });
    const late = hear(client, 'a', { last: 2 });
    await pass();
    expect(said(server)).toEqual(['subscribe 5', 'subscribe 5', 'unsubscribe', 'subscribe since 0']);
    server.publish('a', 1);
    expect([heard, late.heard, errors]).toEqual([['a:1=1'], ['a:1=1'], []]);
  });

  test('it is asked for again on another connection, beside the position', async () => {
    const { server, client } = pair();
    const { heard } = hear(client, 'a', { maxRate: 5 });
    await pass();
    server.publish('a', 1);
    const other = hear(client, 'b');
    await pass();
    server.cut();
    server.publish('a', 2);
    // What changed meanwhile needs no word.
    other.stop();
    hear(client, 'a', { maxRate: 9 });
    await pass(1000);
    expect(said(server)).toEqual(['subscribe 9 since 1']);
    expect(heard).toEqual(['a:1=1', 'a:2=2']);
  });

  test('one that the server does not take ends the subscription', async () => {
    const { server, client, errors } = pair();
    server.refusals.set('a.*', { code: 'bad_request' });
    await expect(hear(client, 'a.*', { maxRate: 5 }).ready).rejects.toMatchObject({ code: 'bad_request' });
    expect(errors.map(({ code, topic }) => `${code} ${topic}`)).toEqual(['bad_request a.*']);
  });
});

describe('older messages', () => {
  test('since and last are replayed, then comes what is new', async () => {
    const { server, client } = pair();
    for (const data of [1, 2, 3]) server.publish('a', data);
    const last = hear(client, 'a', { last: 2 });
    const since = hear(client, 'a', { since: { epoch: 'e1', offset: 0 } });
    await pass();
    server.publish('a', 4);
    expect(last.heard).toEqual(['a:2=2', 'a:3=3', 'a:4=4']);
    expect(since.heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4']);
  });

  test('a late follower gets its older messages, and the others nothing twice', async () => {
    const { server, client } = pair();
    const early = hear(client, 'a');
    const wild = hear(client, '*');
    await pass();
    for (const data of [1, 2, 3]) server.publish('a', data);
    const late = hear(client, 'a', { last: 2 });
    // Still on its way while the next one comes.
    server.publish('a', 4);
    await pass();
    server.publish('a', 5);
    const every = ['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4', 'a:5=5'];
    expect(early.heard).toEqual(every);
    expect(wild.heard).toEqual(every);
    expect(late.heard).toEqual(every.slice(2));
    expect(await late.ready).toEqual({ epoch: 'e1', offset: 2 });
  });

  test('older messages for one are not for those who came in between', async () => {
    const { server, client } = pair();
    hear(client, 'a');
    await pass();
    for (const data of [1, 2]) server.publish('a', data);
    const between = hear(client, 'a');
    const late = hear(client, 'a', { last: 2 });
    await pass();
    server.publish('a', 3);
    expect(between.heard).toEqual(['a:3=3']);
    expect(late.heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3']);
  });

  test('what was not wanted back is there for who asks for it', async () => {
    const { server, client } = pair();
    const early = hear(client, 'a');
    await pass();
    await client.publish('a', 'mine', { echo: false });
    server.publish('a', 'theirs');
    const late = hear(client, 'a', { last: 2 });
    await pass();
    expect(late.heard).toEqual(['a:1="mine"', 'a:2="theirs"']);
    expect(early.heard).toEqual(['a:2="theirs"']);
  });

  test('a numbering that began anew is not taken for older messages by a pattern', async () => {
    const { server, client } = pair();
    const { heard } = hear(client, '*');
    await pass();
    for (const data of [1, 2, 3]) server.publish('a', data);
    server.topics.clear();
    hear(client, 'a');
    await pass();
    server.publish('a', 'new');
    expect(heard.slice(3)).toEqual(['a:1="new"']);
    // The same while the connection is away.
    hear(client, 'b.c');
    const wild = hear(client, 'x.*');
    await pass();
    for (const data of [1, 2, 3, 4, 5]) server.publish('x.y', data);
    server.cut();
    server.topics.clear();
    for (const data of [1, 2, 3, 4, 5, 6]) server.publish('x.y', -data);
    await pass(1000);
    hear(client, 'x.y', { last: 2 });
    await pass();
    expect(wild.heard.slice(5)).toEqual(['gap x.* ?-? pattern', 'x.y:5=-5', 'x.y:6=-6']);
  });

  test('a position that is no longer held is a gap for who asked', async () => {
    const { server, client } = pair();
    const early = hear(client, 'a');
    await pass();
    for (const data of [1, 2, 3]) server.publish('a', data);
    server.forget('a', 1);
    const late = hear(client, 'a', { since: { epoch: 'e1', offset: 1 } });
    await pass();
    server.publish('a', 4);
    expect(late.heard).toEqual(['gap a 2-3 expired', 'a:4=4']);
    expect(early.heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4']);
  });
});

describe('recovery', () => {
  const followed = async (topic = 'a') => {
    const made = pair();
    const subscription = hear(made.client, topic);
    await pass();
    made.server.publish('a', 1);
    return { ...made, ...subscription };
  };

  test('what came in between is recovered, and nothing is heard twice', async () => {
    const { server, heard, gaps } = await followed();
    for (const round of [2, 4, 6]) {
      server.cut();
      server.publish('a', round);
      await pass(5000);
      server.publish('a', round + 1);
      await pass(5000);
    }
    expect(heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4', 'a:5=5', 'a:6=6', 'a:7=7']);
    expect(gaps).toEqual([]);
    expect(server.last.commands[0]).toEqual({
      type: 'subscribe',
      id: 4,
      topic: 'a',
      since: { epoch: 'e1', offset: 5 },
    });
  });

  test('what is no longer held is a gap, with its bounds', async () => {
    const { server, heard, gaps } = await followed();
    server.cut();
    for (const data of [2, 3, 4]) server.publish('a', data);
    server.forget('a', 1);
    await pass(1000);
    server.publish('a', 5);
    expect(heard).toEqual(['a:1=1', 'gap a 2-4 expired', 'a:5=5']);
    expect(gaps.map(show)).toEqual(['gap a 2-4 expired']);
  });

  test('a server that forgot everything begins a new numbering, and says so', async () => {
    const { server, heard } = await followed();
    server.restart(0);
    server.publish('a', 'new');
    await pass(1000);
    server.publish('a', 'newer');
    expect(heard).toEqual(['a:1=1', 'gap a 1-1 epoch', 'a:2="newer"']);
  });

  test('a numbering that begins anew under a follower is the one that it goes on with', async () => {
    const { server, heard } = await followed();
    server.publish('a', 2);
    server.topics.clear();
    server.publish('a', 'new');
    server.cut();
    server.publish('a', 'newer');
    await pass(1000);
    expect(server.last.commands[0]).toMatchObject({ since: { epoch: 'e2', offset: 1 } });
    expect(heard).toEqual(['a:1=1', 'a:2=2', 'a:1="new"', 'a:2="newer"']);
  });

  test('a server that knows less is a gap without bounds', async () => {
    const { server, heard } = await followed();
    server.cut();
    const topic = server.topic('a');
    topic.head = 0;
    topic.log = [];
    await pass(1000);
    server.publish('a', 'again');
    expect(heard).toEqual(['a:1=1', 'gap a ?-? future', 'a:1="again"']);
  });

  test('a pattern has nothing to recover from, and says so', async () => {
    const { server, heard } = await followed('*');
    server.cut();
    server.publish('a', 2);
    await pass(1000);
    server.publish('a', 3);
    expect(heard).toEqual(['a:1=1', 'gap * ?-? pattern', 'a:3=3']);
  });

  test('a gap of the server keeps its place, and moves the position', async () => {
    const { server, client, heard } = await followed();
    const wild = hear(client, '>');
    await pass();
    server.topic('a').head = 5;
    server.last.say({ type: 'gap', topic: 'a', epoch: 'e1', from: 2, to: 5, reason: 'slow' });
    server.publish('a', 6);
    expect(heard).toEqual(['a:1=1', 'gap a 2-5 slow', 'a:6=6']);
    expect(wild.heard).toEqual(['gap a 2-5 slow', 'a:6=6']);
    server.last.say({ type: 'gap', topic: 'a', epoch: 'e1', from: 7, to: 9, reason: 'slow' });
    server.cut();
    await pass(1000);
    expect(server.last.commands[0]).toMatchObject({ since: { epoch: 'e1', offset: 9 } });
  });

  test('a connection that is lost during a replay goes on where the slowest follower is', async () => {
    const { server, client, heard } = await followed();
    for (const data of [2, 3, 4]) server.publish('a', data);
    const late = hear(client, 'a', { since: { epoch: 'e1', offset: 0 } });
    const { message } = server;
    server.message = (connection, topic, offset, data) => {
      if (offset === 3) return server.cut();
      message.call(server, connection, topic, offset, data);
    };
    await pass();
    server.message = message;
    await pass(2000);
    server.publish('a', 5);
    expect(late.heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4', 'a:5=5']);
    expect(heard).toEqual(['a:1=1', 'a:2=2', 'a:3=3', 'a:4=4', 'a:5=5']);
  });

  test('own messages that were not wanted back do not come by way of recovery', async () => {
    const { server, client, heard } = await followed();
    expect(await client.publish('a', 'mine', { echo: false })).toEqual({ epoch: 'e1', offset: 2 });
    server.cut();
    server.publish('a', 'theirs');
    await pass(1000);
    server.publish('a', 'after');
    expect(heard).toEqual(['a:1=1', 'a:3="theirs"', 'a:4="after"']);
  });
});

describe('iteration', () => {
  const take = async (events: AsyncIterator<Message | Gap>, count: number) => {
    const taken: string[] = [];
    for (let at = 0; at < count; at++) {
      const { value, done } = await events.next();
      if (done) return [...taken, 'end'];
      taken.push(show(value));
    }
    return taken;
  };

  test('messages that came before the loop wait for it', async () => {
    const { server, client } = pair();
    server.publish('a', 1);
    const subscription = client.subscribe('a', { last: 1 });
    await pass();
    const position: Position | undefined = await subscription.ready;
    expect(position).toEqual({ epoch: 'e1', offset: 0 });
    server.publish('a', 2);
    expect(await take(subscription[Symbol.asyncIterator](), 2)).toEqual(['a:1=1', 'a:2=2']);
    expect(subscription.position).toEqual({ epoch: 'e1', offset: 2 });
  });

  test('at its bound the oldest are left out, and a gap for each topic says so', async () => {
    const { server, client } = pair();
    const events = client.subscribe('*', { bufferMax: 2 })[Symbol.asyncIterator]();
    const first = events.next();
    await pass();
    server.publish('a', 0);
    expect(show((await first).value as Message)).toBe('a:1=0');
    for (let at = 0; at < 3; at++) for (const topic of ['a', 'b']) server.publish(topic, at);
    expect(await take(events, 4)).toEqual(['gap a 2-3 buffer', 'gap b 1-2 buffer', 'a:4=2', 'b:3=2']);
  });

  test('leaving the loop ends the subscription', async () => {
    const { server, client } = pair();
    const subscription = client.subscribe('a');
    await pass();
    server.publish('a', 1);
    for await (const event of subscription) {
      expect(show(event)).toBe('a:1=1');
      break;
    }
    await pass();
    expect(server.last.commands.at(-1)).toEqual({ type: 'unsubscribe', id: 2, topic: 'a' });
  });

  test('close ends a loop, a refusal throws in it', async () => {
    const { server, client } = pair();
    server.refusals.set('secret', { code: 'forbidden' });
    const refused = take(client.subscribe('secret')[Symbol.asyncIterator](), 1);
    const open = take(client.subscribe('a')[Symbol.asyncIterator](), 1);
    const caught = expect(refused).rejects.toMatchObject({ code: 'forbidden' });
    await pass();
    client.close();
    await caught;
    expect(await open).toEqual(['end']);
    await expect(client.subscribe('a').ready).rejects.toMatchObject({ code: 'closed' });
  });

  test('a server that sends the client away for good throws in a loop', async () => {
    const { server, client } = pair();
    const events = client.subscribe('a')[Symbol.asyncIterator]();
    await pass();
    const next = expect(events.next()).rejects.toMatchObject({ code: 'closed', message: '4403 removed' });
    server.goodbye(4403, 'removed');
    await next;
    expect(await events.next()).toEqual({ value: undefined, done: true });
  });
});
