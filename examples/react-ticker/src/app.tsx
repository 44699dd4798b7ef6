/** The list, what it is filtered by, and how it fares. */

import { useConnection } from 'fanfare-client/react';
import { useDeferredValue, useMemo, useState } from 'react';

import { symbols } from '../symbols.js';
import { client } from './client.ts';
import { Figures } from './figures.tsx';
import { Row } from './row.tsx';

export const App = () => {
  const state = useConnection(client);
  const [wanted, setWanted] = useState('');
  const filter = useDeferredValue(wanted.trim().toUpperCase());
  const shown = useMemo(() => symbols.filter((symbol) => symbol.includes(filter)), [filter]);
  return (
    <>
      <header>
        <h1>A thousand prices</h1>
        <p className={`state ${state.status}`} role="status">
          {state.status === 'waiting' ? `back in ${(state.delayMs / 1000).toFixed(1)} s` : state.status}
        </p>
        <Figures />
        <input
          type="search"
          aria-label="Filter by symbol"
          placeholder="Filter by symbol"
          value={wanted}
          onChange={({ target }) => setWanted(target.value)}
        />
      </header>
      <main>
        <div className="row head" aria-hidden="true">
          <span>Symbol</span>
          <span>Price</span>
          <span>Today</span>
          <span className="bar" />
        </div>
        <ul>
          {shown.map((symbol) => (
            <Row key={symbol} symbol={symbol} />
          ))}
        </ul>
        {shown.length === 0 && <p className="none">No symbol has “{filter}” in it.</p>}
      </main>
    </>
  );
};
