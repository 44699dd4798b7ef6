/** One price: a subscription of its own, which renders once a frame at most. */

import { useTopic } from 'fanfare-client/react';
import { memo } from 'react';

import { client } from './client.ts';

/** Also what was published last before the page came. */
const newest = { last: 1 };
const money = new Intl.NumberFormat('en', { minimumFractionDigits: 2, maximumFractionDigits: 2 });

export const Row = memo(({ symbol }: { readonly symbol: string }) => {
  const { message } = useTopic(client, `prices.${symbol}`, newest);
  if (!message) return <li className="row">{symbol}</li>;
  const { price, last, open } = message.data;
  const change = price / open - 1;
  const percent = Math.abs(change * 100).toFixed(2);
  // Two names of one animation, in turn, so that each change begins it anew.
  const flash = message.offset % 2 ? 'odd' : 'even';
  return (
    <li className={`row ${change < 0 ? 'down' : 'up'}`}>
      <span className="symbol">{symbol}</span>
      <span className={`price ${flash} ${price < last ? 'fell' : 'rose'}`}>{money.format(price)}</span>
      <span className="change">
        {change < 0 ? '−' : '+'}
        {percent} %
      </span>
      <span className="bar" style={{ '--share': Math.min(1, Math.abs(change) * 20) } as object} />
    </li>
  );
});
