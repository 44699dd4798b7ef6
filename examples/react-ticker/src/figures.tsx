/** How many messages come, and whether the screen keeps up. Written past React, which has enough to do. */

import { useEffect, useRef } from 'react';

import { client } from './client.ts';

export const Figures = () => {
  const messages = useRef<HTMLElement>(null);
  const frames = useRef<HTMLElement>(null);
  useEffect(() => {
    let heard = 0;
    let drawn = 0;
    let since = performance.now();
    const { unsubscribe } = client.subscribe('prices.*', () => heard++);
    let next = requestAnimationFrame(function frame(now) {
      drawn++;
      if (now - since >= 1000) {
        const seconds = (now - since) / 1000;
        if (messages.current) messages.current.textContent = Math.round(heard / seconds).toLocaleString('en');
        if (frames.current) frames.current.textContent = String(Math.round(drawn / seconds));
        [heard, drawn, since] = [0, 0, now];
      }
      next = requestAnimationFrame(frame);
    });
    return () => {
      unsubscribe();
      cancelAnimationFrame(next);
    };
  }, []);
  return (
    <dl>
      <div>
        <dt>messages/s</dt>
        <dd ref={messages}>…</dd>
      </div>
      <div>
        <dt>frames/s</dt>
        <dd ref={frames}>…</dd>
      </div>
    </dl>
  );
};
