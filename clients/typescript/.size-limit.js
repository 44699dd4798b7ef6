/** What a page loads, minified and gzipped. */
export default [
  { name: 'core', path: 'dist/index.js', limit: '5 kB', gzip: true },
  { name: 'fallback', path: 'dist/fallback.js', limit: '4 kB', gzip: true },
  {
    name: 'msgpack, with its library',
    path: 'dist/msgpack.js',
    limit: '6.5 kB',
    gzip: true,
    // Peer dependencies are left out unless asked for.
    modifyEsbuildConfig: (config) => ({ ...config, external: [] }),
  },
  { name: 'shared, in the page', path: 'dist/shared.js', limit: '1 kB', gzip: true },
  { name: 'shared, in the worker, without the core', path: 'dist/worker.js', limit: '2.5 kB', gzip: true },
  { name: 'react, without React', path: 'dist/react.js', limit: '1 kB', gzip: true },
];
