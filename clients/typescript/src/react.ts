/**
 * Hooks. They subscribe in effects only, so a page rendered on a server opens nothing; what they give is the
 * same object until it changes.
 */

import { useMemo, useSyncExternalStore } from 'react';

import type { Client } from './client.ts';
import type { FanfareError } from './errors.ts';
import type { ConnectionState } from './link.ts';
import type { Presence } from './presence.ts';
import type { Message } from './protocol.ts';
import type { Gap, SubscribeOptions } from './subscription.ts';

/** What a topic shows: the newest message, the newest gap, and why nothing more comes. */
export interface TopicView<Data> {
  readonly message: Message<Data> | undefined;
  readonly gap: Gap | undefined;
  readonly error: FanfareError | undefined;
}

interface Store<View> {
  subscribe(changed: () => void): () => void;
  view(): View;
}

/** Stores that changed since the last frame. A screen shows no more than one change a frame. */
const dirty = /* @__PURE__ */ new Set<() => void>();
const nextFrame = (changed: () => void): void => {
  if (dirty.size === 0) {
    const run = (): void => {
      const all = [...dirty];
      dirty.clear();
      for (const each of all) each();
    };
    // A hidden page has no frames, but what asks for it there may still be read.
    if (typeof requestAnimationFrame === 'function' && !globalThis.document?.hidden) requestAnimationFrame(run);
    else setTimeout(run, 16);
  }
  dirty.add(changed);
};

const createStore = <View>(initial: View, start: (set: (change: Partial<View>) => void) => () => void): Store<View> => {
  let view = initial;
  return {
    subscribe(changed) {
      const stop = start((change) => {
        view = { ...view, ...change };
        nextFrame(changed);
      });
      return () => {
        dirty.delete(changed);
        stop();
      };
    },
    view: () => view,
  };
};

/** Options that are the same in what they say are the same. */
const useStable = <Value>(value: Value): Value => {
  const key = JSON.stringify(value);
  // biome-ignore lint/correctness/useExhaustiveDependencies: the key stands for the value.
  return useMemo(() => value, [key]);
};

const useStore = <View>(store: Store<View>, initial: View): View =>
  useSyncExternalStore(store.subscribe, store.view, () => initial);

const nothing: TopicView<never> = { message: undefined, gap: undefined, error: undefined };

/** The newest message of a topic or pattern. Renders once a frame at most, however many messages come. */
export const useTopic = <Topics extends object, Topic extends keyof Topics & string>(
  client: Client<Topics>,
  topic: Topic,
  options?: Pick<SubscribeOptions, 'since' | 'last' | 'maxRate'>,
): TopicView<Topics[Topic]> => {
  const settings = useStable(options);
  const store = useMemo(
    () =>
      createStore<TopicView<Topics[Topic]>>(nothing, (set) => {
        const { unsubscribe } = client.subscribe(topic, (message) => set({ message }), {
          ...settings,
          onGap: (gap) => set({ gap }),
          onError: (error) => set({ error }),
        });
        return unsubscribe;
      }),
    [client, topic, settings],
  );
  return useStore(store, nothing);
};

const nobody: { readonly presence: Presence | undefined } = { presence: undefined };

/** Who is in a topic. The component is a member itself, as `member`, while it is mounted. */
export const usePresence = <Topics extends object>(
  client: Client<Topics>,
  topic: keyof Topics & string,
  member?: unknown,
): Presence | undefined => {
  const shown = useStable(member);
  const store = useMemo(
    () =>
      createStore(nobody, (set) => {
        const options = { presence: true, member: shown, onPresence: (presence: Presence) => set({ presence }) };
        return client.subscribe(topic, () => {}, options).unsubscribe;
      }),
    [client, topic, shown],
  );
  return useStore(store, nobody).presence;
};

const idle: ConnectionState = { status: 'idle' };

/** Where the connection stands. */
export const useConnection = <Topics extends object>(client: Client<Topics>): ConnectionState => {
  const subscribe = useMemo(() => (changed: () => void) => client.on('state', changed), [client]);
  return useSyncExternalStore(
    subscribe,
    () => client.state,
    () => idle,
  );
};
