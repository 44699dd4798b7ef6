import { describe, expect, test } from 'vitest';

import { hear, onFakeTime, pair, pass } from './support/setup.ts';

onFakeTime();

describe('publishing', () => {
  test('the answer is where the message stands', async () => {
    const { server, client } = pair();
    expect(await client.publish('a', { bid: 1.5 }, { key: 'btc', idempotencyKey: 'k-1' })).toEqual({
      epoch: 'e1',
      offset: 1,
    });
    expect(server.last.commands).toEqual([
      { type: 'publish', id: 1, topic: 'a', data: { bid: 1.5 }, key: 'btc', idempotency_key: 'k-1' },
    ]);
  });

  test('with `receivers` the answer says how many it is for', async () => {
    const { client } = pair();
    hear(client, 'a');
    expect(await client.publish('a', 1, { receivers: true })).toEqual({ epoch: 'e1', offset: 1, receivers: 1 });
    expect(Object.keys(await client.publish('a', 2))).toEqual(['epoch', 'offset']);
    expect(await client.publish('b', 3, { receivers: true })).toEqual({ epoch: 'e2', offset: 1, receivers: 0 });
  });

  test('publishes wait for a connection, in order, each with a key of its own', async () => {
    const { server, client } = pair();
    server.mood = 'refuses';
    const all = Promise.all([1, 2, 3].map((data) => client.publish('a', data)));
    await pass(2000);
    server.mood = 'accepts';
    await pass(20_000);
    expect((await all).map(({ offset }) => offset)).toEqual([1, 2, 3]);
    expect(server.last.commands.map(({ data }) => data)).toEqual([1, 2, 3]);
    expect(new Set(server.last.commands.map((command) => command['idempotency_key'])).size).toBe(3);
  });

  test('one whose answer was lost is sent again, and taken once', async () => {
    const { server, client } = pair();
    const { heard } = hear(client, 'a');
    await pass();
    const published = client.publish('a', 1);
    const { say } = server.last;
    server.last.say = (event) => event['type'] !== 'published' && say.call(server.last, event);
    await pass();
    server.cut();
    await pass(1000);
    expect(await published).toEqual({ epoch: 'e1', offset: 1 });
    expect(heard).toEqual(['a:1=1']);
  });

  test('without retry nothing is queued, and nothing sent twice', async () => {
    const { server, client } = pair();
    await expect(client.publish('a', 1, { retry: false })).rejects.toMatchObject({ code: 'disconnected' });
    await pass();
    server.deaf = true;
    const lost = client.publish('a', 2, { retry: false });
    await pass();
    expect(server.last.commands).toEqual([{ type: 'publish', id: 1, topic: 'a', data: 2 }]);
    server.cut();
    await expect(lost).rejects.toMatchObject({ code: 'disconnected' });
    await pass(1000);
    expect(server.last.commands).toEqual([]);
  });

  test('the queue has a bound in commands and one in bytes, and room again after answers', async () => {
    const { server, client } = pair({ pendingMax: 2, pendingBytesMax: 1000 });
    server.deaf = true;
    const first = client.publish('a', 1);
    await expect(client.publish('a', 'x'.repeat(1000))).rejects.toMatchObject({ code: 'queue_full' });
    client.publish('a', 2);
    await expect(client.publish('a', 3)).rejects.toMatchObject({ code: 'queue_full' });
    await pass();
    server.deaf = false;
    server.cut();
    await pass(1000);
    expect(await first).toMatchObject({ offset: 1 });
    const last = client.publish('a', 'x'.repeat(800));
    await pass();
    expect(await last).toMatchObject({ offset: 3 });
  });

  test('one that is too large for the server is refused before it breaks the connection', async () => {
    const { server, client } = pair();
    server.messageBytesMax = 200;
    const early = client.publish('a', 'ä'.repeat(80));
    await pass();
    const late = client.publish('a', 'ä'.repeat(80));
    await expect(early).rejects.toMatchObject({ code: 'too_large' });
    await expect(late).rejects.toMatchObject({ code: 'too_large' });
    expect(server.last.commands).toEqual([]);
  });

  test('after a message too large for it the server does not get what was under way once more', async () => {
    const { server, client } = pair();
    client.connect();
    await pass();
    server.deaf = true;
    const lost = client.publish('a', 1);
    await pass();
    server.goodbye(1009, 'too large');
    await expect(lost).rejects.toMatchObject({ code: 'disconnected' });
    await pass(2000);
    expect(client.state.status).toBe('connected');
    expect(server.last.commands).toEqual([]);
  });

  test('what never left waits on, whatever the connection ended with', async () => {
    const { server, client } = pair();
    server.mood = 'silent';
    const published = client.publish('a', 1);
    await pass();
    server.last.end(1009, 'too large');
    server.mood = 'accepts';
    await pass(2000);
    expect(await published).toMatchObject({ offset: 1 });
  });

  test('a refusal has its code, and when to try again', async () => {
    const { server, client } = pair();
    server.refusals.set('a', { code: 'rate_limited', retry_after_ms: 120 });
    await expect(client.publish('a', 1)).rejects.toMatchObject({ code: 'rate_limited', topic: 'a', retryAfterMs: 120 });
  });

  test('what cannot be encoded is refused, and nothing else', async () => {
    const { client } = pair();
    const circle: { self?: object } = {};
    circle.self = circle;
    await expect(client.publish('a', circle)).rejects.toMatchObject({ code: 'bad_data' });
    await expect(client.publish('a', 1n)).rejects.toMatchObject({ code: 'bad_data' });
    expect(await client.publish('a', undefined)).toMatchObject({ offset: 1 });
  });

  test('close refuses what has no answer', async () => {
    const { server, client } = pair();
    server.deaf = true;
    const sent = client.publish('a', 1);
    await pass();
    client.close();
    await expect(sent).rejects.toMatchObject({ code: 'closed' });
    await expect(client.history('a')).rejects.toMatchObject({ code: 'closed' });
    expect(server.last.open).toBe(false);
  });
});

describe('history', () => {
  test('the newest messages, and where the topic stands', async () => {
    const { server, client } = pair();
    for (const data of [1, 2, 3]) server.publish('a', data);
    expect(await client.history('a', { limit: 2 })).toEqual({
      topic: 'a',
      epoch: 'e1',
      offset: 3,
      messages: [
        { offset: 2, data: 2 },
        { offset: 3, data: 3 },
      ],
    });
  });

  test('a request whose answer was lost is asked again', async () => {
    const { server, client } = pair();
    server.deaf = true;
    const history = client.history('a');
    await pass();
    server.cut();
    server.deaf = false;
    await pass(1000);
    expect(await history).toMatchObject({ topic: 'a', offset: 0, messages: [] });
  });
});

describe('presence', () => {
  const join = (client: ReturnType<typeof pair>['client'], name: string) =>
    client.subscribe('room', () => {}, { presence: true, member: { name } });
  const names = (presence: { members: readonly { member?: unknown }[] } | undefined) =>
    presence?.members.map(({ member }) => (member as { name: string }).name);

  test('it is kept current from diffs', async () => {
    const { server, client } = pair();
    const seen: unknown[] = [];
    const room = client.subscribe('room', () => {}, {
      presence: true,
      member: { name: 'ana' },
      onPresence: (now) => seen.push(names(now)),
    });
    await pass();
    expect(names(room.presence)).toEqual(['ana']);
    server.presence('room', [{ connection: 'x', member: { name: 'bob' } }], []);
    server.presence('room', [], [{ connection: 'c1' }]);
    expect(seen).toEqual([['ana'], ['ana', 'bob'], ['bob']]);
  });

  test('a diff that is missing is a reason to ask again, once', async () => {
    const { server, client } = pair();
    const room = join(client, 'ana');
    await pass();
    server.topic('room').version++;
    const before = room.presence;
    server.presence('room', [{ connection: 'x', member: { name: 'bob' } }], []);
    server.presence('room', [{ connection: 'y', member: { name: 'eve' } }], []);
    expect(room.presence).toBe(before);
    await pass();
    expect(server.last.commands.filter(({ type }) => type === 'presence')).toHaveLength(1);
    expect(room.presence?.version).toBe(4);
  });

  test('an old diff changes nothing, not even the object', async () => {
    const { server, client } = pair();
    const room = join(client, 'ana');
    await pass();
    const before = room.presence;
    server.last.say({ type: 'presence_diff', topic: 'room', version: 1, joined: [], left: [{ connection: 'c1' }] });
    expect(room.presence).toBe(before);
  });

  test('joining what is followed already moves no position', async () => {
    const { server, client } = pair();
    hear(client, 'room');
    await pass();
    server.publish('room', 1);
    join(client, 'ana');
    await pass();
    expect(server.last.commands.at(-1)).toEqual({
      type: 'subscribe',
      id: 2,
      topic: 'room',
      presence: true,
      member: { name: 'ana' },
    });
  });

  test('a member resumes before it subscribes again, others do not', async () => {
    const { server, client } = pair();
    join(client, 'ana');
    await pass();
    server.cut();
    await pass(1000);
    expect(server.last.commands.map(({ type }) => type)).toEqual(['resume', 'subscribe']);
    expect(server.last.commands[0]).toMatchObject({ resume: 'secret-c1' });
    expect(server.last.commands[1]).toMatchObject({ presence: true, member: { name: 'ana' } });
    const other = pair();
    hear(other.client, 'a');
    await pass();
    other.server.cut();
    await pass(1000);
    expect(other.server.last.commands.map(({ type }) => type)).toEqual(['subscribe']);
  });

  test('it can be asked for without joining', async () => {
    const { client } = pair();
    expect(await client.presence('room')).toEqual({ version: 0, members: [] });
  });
});
