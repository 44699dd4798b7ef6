// Who this page is for the server, and how it asks: a credential that is kept for the tab, calls that show
// it, and a connection that does.
//
//   unknown ──check()──▶ open     nobody is asked who they are
//                    ├─▶ admin    the credential allows everything this page shows
//                    ├─▶ limited  what is for administrators is not allowed
//                    └─▶ stranger credentials are asked for: `wanted` ──signIn()──▶ admin, limited
//
// What it tells: `access`, `wanted` (sign in, and why), `identity` (subject, and when the credential ends),
// and the client's own `state` and `error`.

import { createClient } from './client.js';
import { exact, parse } from './exact.js';
import { withFallback } from './fallback.js';

const KEPT_AS = 'fanfare.credential';
const ANSWER_MS_MAX = 8000;

/** A refusal: of the server, with its code, or of the network. */
export class Refused extends Error {
  constructor(code, message, { status, retryAfterMs } = {}) {
    super(message);
    Object.assign(this, { code, status, retryAfterMs });
  }
}

/** A JSON Web Token has three parts. What has not is taken for a backend's key. */
export const isToken = (credential) => credential.split('.').length === 3;

const asHeaders = (credential) => {
  if (credential === undefined) return {};
  return isToken(credential) ? { authorization: `Bearer ${credential}` } : { 'x-api-key': credential };
};

/** Without a WebSocket: a page can show a key in a header of a request, and in nothing that a WebSocket has. */
function byKey(credential, encoding) {
  const keyed = (url, init) => fetch(url, { ...init, credentials: 'omit', headers: { ...init.headers, ...asHeaders(credential) } });
  return withFallback({ encoding, fetch: keyed, eventsOnly: true });
}

export class Session {
  access = 'unknown';
  /** `{ subject, endsAt }` of the credential, as far as it is known; `endsAt` by `performance.now()`. */
  identity = {};
  client;

  #base;
  #credential;
  #listeners = new Map();
  /** Continues the client, which waits for another token. */
  #renew;

  constructor(base) {
    this.#base = base;
    this.#credential = kept((storage) => storage.getItem(KEPT_AS)) ?? undefined;
  }

  get hasCredential() {
    return this.#credential !== undefined;
  }

  on(name, listener) {
    const listeners = this.#listeners.get(name) ?? [];
    this.#listeners.set(name, [...listeners, listener]);
  }

  #tell(name, value) {
    for (const listener of this.#listeners.get(name) ?? []) listener(value);
  }

  /**
   * Asks what the credential is good for, and connects. Throws what is no answer to that: a server that is
   * away, or full.
   */
  async check() {
    try {
      this.#become(await this.#judge(this.#credential));
    } catch (error) {
      if (error.code !== 'unauthorized') throw error;
      this.#become('stranger');
      this.#tell('wanted', this.hasCredential ? { reason: 'refused', message: error.message } : { reason: 'none' });
      return;
    }
    this.#connect();
  }

  /** Shows another credential; throws why it does not count. */
  async signIn(credential) {
    const access = await this.#judge(credential);
    this.#credential = credential;
    kept((storage) => storage.setItem(KEPT_AS, credential));
    this.#become(access);
    if (this.#renew && isToken(credential)) {
      this.#renew(credential);
      this.#renew = undefined;
    } else {
      this.client?.close();
      this.#connect();
    }
  }

  /** Forgets the credential, and everything that it let this page see. */
  signOut() {
    this.client?.close();
    kept((storage) => storage.removeItem(KEPT_AS));
    location.reload();
  }

  /** Calls the HTTP API below the page's own address. Resolves to the answer's body. */
  async call(path, { method = 'GET', query = {}, body, signal } = {}) {
    try {
      return await this.#fetch(this.#credential, path, { method, query, body, signal });
    } catch (error) {
      if (error.code === 'unauthorized') this.#want('refused', error.message);
      throw error;
    }
  }

  async #fetch(credential, path, { method = 'GET', query = {}, body, signal } = {}) {
    const url = new URL(path, this.#base);
    for (const [name, value] of Object.entries(query)) if (value !== '' && value !== undefined) url.searchParams.set(name, value);
    const late = AbortSignal.timeout(ANSWER_MS_MAX);
    const headers = { ...asHeaders(credential), ...(body !== undefined && { 'content-type': 'application/json' }) };
    let answer;
    let text;
    try {
      answer = await fetch(url, { method, headers, body, cache: 'no-store', credentials: 'omit', signal: signal ? AbortSignal.any([signal, late]) : late });
      text = await answer.text();
    } catch (cause) {
      if (signal?.aborted) throw new Refused('aborted', 'not waited for');
      throw new Refused('no_answer', late.aborted ? 'no answer in time' : 'the server does not answer', { cause });
    }
    const { status } = answer;
    let said;
    try {
      said = text === '' ? undefined : parse(text);
    } catch {
      // A proxy in front answers in its own way.
      throw new Refused('no_answer', `status ${status}, and no answer of fanfare's`, { status });
    }
    if (answer.ok) return said;
    const { code = 'internal', message = `status ${status}`, retry_after_ms: retryAfterMs } = said?.error ?? {};
    throw new Refused(code, message, { status, retryAfterMs });
  }

  async #judge(credential) {
    try {
      await this.#fetch(credential, 'v1/topics', { query: { limit: 1 } });
      return credential === undefined ? 'open' : 'admin';
    } catch (error) {
      if (error.status === 403 || (credential === undefined && error.status === 401 && (await this.#servesStrangers()))) return 'limited';
      throw error;
    }
  }

  /** Whether somebody without credentials may do something: a stream of no topic is then a bad request only. */
  async #servesStrangers() {
    const refused = await this.#fetch(undefined, 'v1/events').catch((error) => error);
    return refused?.status === 400;
  }

  /** Another client that shows the same, for what is to end by itself. */
  another(hear = () => {}, token = () => this.#credential) {
    const credential = this.#credential;
    const encoding = exact(hear);
    const byToken = credential === undefined ? { encoding } : { encoding, token };
    const options = credential === undefined || isToken(credential) ? byToken : byKey(credential, encoding);
    return createClient(new URL('ws', this.#base), options);
  }

  #connect() {
    const client = this.another(
      (event) => this.#hear(event),
      (reason) => this.#token(reason),
    );
    this.client = client;
    client.on('state', (state) => {
      if (client !== this.client) return;
      if (state.status === 'closed' && state.code === 4401) this.#want('refused');
      this.#tell('state', state);
    });
    client.on('error', (error) => client === this.client && this.#tell('error', error));
    client.connect();
    this.#tell('connected', client);
  }

  /** A token for the client. Another than the kept one has to be asked for: the answer may take a while. */
  #token(reason) {
    if (reason === 'connect') return this.#credential;
    const renewed = new Promise((resolve) => (this.#renew = resolve));
    if (reason === 'refused') this.#want('refused');
    return renewed;
  }

  #want(reason, message) {
    if (this.access === 'stranger') return;
    this.#become('stranger');
    this.#tell('wanted', { reason, message });
  }

  /** What the client keeps to itself: whose the token is, and when it ends. */
  #hear(event) {
    if (event.type !== 'authenticated' && event.type !== 'expiring') return;
    const { subject = this.identity.subject, expires_in_ms: left } = event;
    this.identity = { subject, endsAt: left === undefined ? undefined : performance.now() + left };
    this.#tell('identity', { ...this.identity, soon: event.type === 'expiring' });
  }

  #become(access) {
    if (this.access === access) return;
    this.access = access;
    this.#tell('access', access);
  }
}

/** Storage may be forbidden; the credential then lasts as long as the page. */
function kept(change) {
  try {
    return change(sessionStorage);
  } catch {
    return undefined;
  }
}
