// Light or dark: the system's choice, until the button makes another, which is kept.

const KEPT_AS = 'fanfare.theme';

export function chooseTheme(button) {
  const dark = matchMedia('(prefers-color-scheme: dark)');
  const root = document.documentElement;
  const isDark = () => (root.dataset.theme ?? (dark.matches ? 'dark' : 'light')) === 'dark';
  const label = () => button.setAttribute('aria-label', `Switch to the ${isDark() ? 'light' : 'dark'} theme`);
  const kept = inStorage((storage) => storage.getItem(KEPT_AS));
  if (kept === 'light' || kept === 'dark') root.dataset.theme = kept;
  button.addEventListener('click', () => {
    root.dataset.theme = isDark() ? 'light' : 'dark';
    inStorage((storage) => storage.setItem(KEPT_AS, root.dataset.theme));
    label();
  });
  dark.addEventListener('change', label);
  label();
}

/** Storage may be forbidden; the choice then lasts as long as the page. */
function inStorage(change) {
  try {
    return change(localStorage);
  } catch {
    return null;
  }
}
