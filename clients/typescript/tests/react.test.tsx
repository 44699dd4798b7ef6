// @vitest-environment happy-dom

import { act, StrictMode } from 'react';
import { createRoot } from 'react-dom/client';
import { renderToString } from 'react-dom/server';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';

import type { Client } from '../src/index.ts';
import { useConnection, usePresence, useTopic } from '../src/react.ts';
import { pair } from './support/setup.ts';

const frame = (ms = 50): Promise<void> => act(async () => void (await vi.advanceTimersByTimeAsync(ms)));

let cleanup = (): void => {};
beforeEach(() => {
  vi.stubGlobal('IS_REACT_ACT_ENVIRONMENT', true);
  vi.useFakeTimers();
});
afterEach(async () => {
  await act(async () => cleanup());
  vi.useRealTimers();
});

const mount = async (
  element: React.ReactNode,
): Promise<{ text(): string; render(element: React.ReactNode): Promise<void> }> => {
  const container = document.createElement('div');
  const root = createRoot(container);
  cleanup = () => root.unmount();
  const render = (element: React.ReactNode) => act(async () => root.render(element));
  await render(element);
  return { text: () => container.textContent, render };
};

let renders = 0;
const Price = ({ client, topic = 'a' }: { client: Client; topic?: string }) => {
  renders++;
  const { message, gap, error } = useTopic(client, topic, { last: 1 });
  return <p>{error ? error.code : `${message?.data ?? 'nothing'}${gap ? ` after ${gap.from}-${gap.to}` : ''}`}</p>;
};

const Room = ({ client }: { client: Client }) => {
  const { status } = useConnection(client);
  const presence = usePresence(client, 'room', { name: 'ana' });
  return (
    <p>
      {presence?.members.length ?? 'nobody'} {status}
    </p>
  );
};

const Page = ({ client }: { client: Client }) => {
  const { status } = useConnection(client);
  return (
    <>
      <Price client={client} /> {status} {usePresence(client, 'room')?.version ?? 'unknown'}
    </>
  );
};

test('a topic shows its newest message, once a frame however many come', async () => {
  const { server, client } = pair();
  server.publish('a', 'early');
  const { text } = await mount(<Price client={client} />);
  expect(text()).toBe('nothing');
  await frame();
  expect(text()).toBe('early');
  renders = 0;
  for (let price = 0; price < 1000; price++) server.publish('a', price);
  await frame();
  expect(text()).toBe('999');
  expect(renders).toBe(1);
});

test('under StrictMode there is one subscription, and none after unmounting', async () => {
  const { server, client } = pair();
  await mount(
    <StrictMode>
      <Price client={client} />
    </StrictMode>,
  );
  await frame();
  expect([...server.last.follows.keys()]).toEqual(['a']);
  await act(async () => cleanup());
  await frame();
  expect([...server.last.follows.keys()]).toEqual([]);
});

test('another topic is another subscription, and shows nothing of the one before', async () => {
  const { server, client } = pair();
  const { text, render } = await mount(<Price client={client} topic="a" />);
  server.publish('a', 'of a');
  await frame();
  await render(<Price client={client} topic="b" />);
  await frame();
  expect(text()).toBe('nothing');
  server.publish('b', 'of b');
  await frame();
  expect(text()).toBe('of b');
  expect([...server.last.follows.keys()]).toEqual(['b']);
});

test('options that say the same do not subscribe again', async () => {
  const { server, client } = pair();
  const { render } = await mount(<Price client={client} />);
  await frame();
  for (let time = 0; time < 5; time++) await render(<Price client={client} />);
  await frame();
  expect(server.last.commands.map(({ type }) => type)).toEqual(['subscribe']);
});

test('gaps and refusals are shown', async () => {
  const { server, client } = pair();
  const { text } = await mount(<Price client={client} />);
  server.publish('a', 1);
  await frame();
  server.cut();
  for (let price = 2; price < 5; price++) server.publish('a', price);
  server.forget('a', 1);
  await frame(1000);
  server.publish('a', 5);
  await frame();
  expect(text()).toBe('5 after 2-4');
  server.refusals.set('secret', { code: 'forbidden' });
  await act(async () => cleanup());
  const refused = await mount(<Price client={client} topic="secret" />);
  await frame();
  expect(refused.text()).toBe('forbidden');
});

test('members and the connection', async () => {
  const { server, client } = pair();
  const { text } = await mount(<Room client={client} />);
  await frame();
  expect(text()).toBe('1 connected');
  server.presence('room', [{ connection: 'x', member: { name: 'bob' } }], []);
  await frame();
  expect(text()).toBe('2 connected');
  await act(async () => server.goodbye(4403, 'removed'));
  await frame();
  expect(text()).toBe('2 closed');
});

test('a page rendered on a server opens nothing', () => {
  const { server, client } = pair();
  expect(renderToString(<Page client={client} />).replace(/<!-- -->/g, '')).toBe('<p>nothing</p> idle unknown');
  expect(server.connections).toHaveLength(0);
});
