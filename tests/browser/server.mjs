// Servers of a test's own: the command that `FANFARE` names, with settings, and tokens for it.

import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { fileURLToPath } from 'node:url';

const BINARY = process.env.FANFARE ?? fileURLToPath(new URL('../../target/debug/fanfare', import.meta.url));

/** Settings as the environment has them: `{ 'limits.topics': 5 }`. */
const asEnvironment = (settings) =>
  Object.fromEntries(Object.entries(settings).map(([name, value]) => [`FANFARE_${name.replace('.', '__').toUpperCase()}`, typeof value === 'string' ? value : JSON.stringify(value)]));

/** Starts a server; resolves once it listens. It ends with this process at the latest. */
export async function serve({ settings = {}, args = [], port = 0 } = {}) {
  const child = spawn(BINARY, ['serve', '--listen', `127.0.0.1:${port}`, ...args], {
    stdio: ['ignore', 'pipe', 'ignore'],
    env: { ...process.env, ...asEnvironment(settings) },
  });
  const end = () => child.kill('SIGKILL');
  process.once('exit', end);
  const exited = once(child, 'exit');
  const said = await Promise.race([once(child.stdout, 'data'), exited.then(() => undefined)]);
  if (said === undefined) throw new Error('the server ended before it listened');
  const home = new URL(String(said[0]).trim());
  return {
    home,
    port: Number(home.port),
    async stop(signal = 'SIGKILL') {
      process.off('exit', end);
      child.kill(signal);
      await exited;
    },
  };
}

/** A token of a configuration file's first secret. */
export const token = (file, ...args) => execFileSync(BINARY, ['token', '--config', file, ...args], { encoding: 'utf8' }).trim();

/** An API key, and the lines of a configuration for it. */
export function apiKey(name, ...args) {
  const lines = execFileSync(BINARY, ['token', '--api-key', name, ...args], { encoding: 'utf8' });
  return { key: /^# X-API-Key: (.*)$/m.exec(lines)[1], lines };
}

/** Publishes over HTTP, as a backend would. */
export async function publish(home, messages, headers = {}) {
  const answer = await fetch(new URL('v1/publish', home), {
    method: 'POST',
    headers: { 'content-type': 'application/json', ...headers },
    body: JSON.stringify({ messages }),
  });
  if (!answer.ok) throw new Error(`publishing: ${answer.status} ${await answer.text()}`);
}
