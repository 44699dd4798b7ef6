/** The hooks, in a component that shows a price, who watches it, and the connection. */

import type { Client } from 'fanfare-client';
import { useConnection, usePresence, useTopic } from 'fanfare-client/react';
import type { ReactNode } from 'react';

export const Ticker = ({ client }: { client: Client<{ 'prices.btc': { bid: number } }> }): ReactNode => {
  const { status } = useConnection(client);
  const { message, error } = useTopic(client, 'prices.btc', { last: 1 });
  const presence = usePresence(client, 'prices.btc', { name: 'Ana' });
  if (error) return <p role="alert">{error.message}</p>;
  return (
    <p>
      {message?.data.bid ?? '…'}, {presence?.members.length ?? 0} watching, {status}
    </p>
  );
};
