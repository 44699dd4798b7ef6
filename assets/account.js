// Signing in and out: the form that asks for a credential, and the place in the bar that says whose it is
// and how long it lasts.

import { duration, write } from './format.js';

const REASONS = {
  none: 'This server asks for credentials.',
  refused: 'The credential that this page showed does not count, or no longer.',
  expiring: 'Your token ends soon. With a new one everything goes on as it is.',
  more: 'With a token that has the admin right this page shows more.',
};

export class Account {
  #session;
  #parts;
  #changed;
  #endsAt;
  #counting;
  #isOpen = false;

  /** `changed(isOpen)` is called when the form comes or goes. */
  constructor({ root, session, changed }) {
    this.#session = session;
    this.#changed = changed;
    const names = ['signin', 'signin-form', 'signin-reason', 'signin-credential', 'signin-send', 'signin-cancel', 'signin-error', 'account', 'account-who', 'account-left', 'account-in', 'account-out'];
    this.#parts = Object.fromEntries(names.map((name) => [name, root.querySelector(`#${name}`)]));
    const parts = this.#parts;
    parts['signin-form'].addEventListener('submit', (event) => {
      event.preventDefault();
      this.#signIn();
    });
    parts['signin-cancel'].addEventListener('click', () => this.close());
    parts['account-in'].addEventListener('click', () => this.open('more', { optional: true }));
    parts['account-out'].addEventListener('click', () => session.signOut());
    session.on('wanted', ({ reason, message }) => this.open(reason, { message }));
    session.on('identity', (identity) => this.#identify(identity));
    session.on('access', () => this.#show());
  }

  get isOpen() {
    return this.#isOpen;
  }

  /** Asks for a credential. Where it is `optional` one may go on without. */
  open(reason, { message = '', optional = false } = {}) {
    const parts = this.#parts;
    this.#isOpen = true;
    parts.signin.hidden = false;
    write(parts['signin-reason'], REASONS[reason]);
    parts['signin-cancel'].hidden = !optional;
    this.#trouble(message);
    this.#changed(true);
    parts['signin-credential'].focus();
  }

  close() {
    this.#isOpen = false;
    this.#parts.signin.hidden = true;
    this.#parts['signin-credential'].value = '';
    this.#changed(false);
  }

  async #signIn() {
    const { 'signin-credential': field, 'signin-send': send } = this.#parts;
    const credential = field.value.trim();
    if (credential === '') {
      this.#trouble('Paste a token or a key first.');
      return;
    }
    send.disabled = true;
    try {
      await this.#session.signIn(credential);
      this.close();
    } catch (error) {
      this.#trouble(`${error.code}: ${error.message}`);
      field.focus();
      field.select();
    } finally {
      send.disabled = false;
      this.#show();
    }
  }

  #identify({ endsAt }) {
    this.#endsAt = endsAt;
    this.#show();
  }

  #show() {
    clearTimeout(this.#counting);
    const { hasCredential, identity, access } = this.#session;
    const parts = this.#parts;
    const signedIn = hasCredential && access !== 'stranger' && access !== 'unknown';
    parts['account-out'].hidden = !signedIn;
    parts['account-in'].hidden = signedIn || access !== 'limited';
    parts.account.hidden = parts['account-out'].hidden && parts['account-in'].hidden;
    write(parts['account-who'], signedIn ? (identity.subject ?? 'signed in') : '');
    const left = this.#endsAt === undefined ? undefined : this.#endsAt - performance.now();
    write(parts['account-left'], !signedIn || left === undefined ? '' : left > 0 ? `${brief(left)} left` : 'ended');
    if (left > 0) this.#counting = setTimeout(() => this.#show(), left < 120_000 ? 1000 : 15_000);
  }

  #trouble(text) {
    const { 'signin-error': error, 'signin-credential': field } = this.#parts;
    error.hidden = text === '';
    write(error, text);
    if (text === '') field.removeAttribute('aria-invalid');
    else field.setAttribute('aria-invalid', 'true');
  }
}

/** Of a long time the greatest unit will do. */
const brief = (ms) => (ms < 120_000 ? `${Math.ceil(ms / 1000)} s` : duration(ms).split(' ').slice(0, 2).join(' '));
