/** WebSockets of networks that let none through. */

import type { SocketConstructor } from '../../src/index.ts';

/** Nothing ever comes. */
export class Silent {
  binaryType = '';
  onopen = null;
  onmessage = null;
  onclose: ((event: never) => void) | null = null;
  onerror = null;
  send(): void {}
  close(): void {}
}

/** A proxy answers the handshake with an error page. */
export const blocked = class extends Silent {
  constructor() {
    super();
    queueMicrotask(() => this.onclose?.({ code: 1006, reason: '' } as never));
  }
} as SocketConstructor;
