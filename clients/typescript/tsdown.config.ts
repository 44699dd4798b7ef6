import { defineConfig, type UserConfig } from 'tsdown';

/** What the server's dashboard uses. `assets/` has copies, which `npm run vendor` makes and a test compares. */
const page = { client: 'src/index.ts', fallback: 'src/fallback.ts' };
const entries = ['index', 'fallback', 'msgpack', 'react', 'shared', 'worker'];
const common: UserConfig = {
  format: ['esm', 'cjs'],
  target: 'es2022',
  platform: 'neutral',
  fixedExtension: false,
  clean: false,
  checks: { pluginTimings: false },
};

const config: UserConfig[] = [
  // Each entry is a file of its own, which a page can load as it is.
  ...entries.map((name) => ({ ...common, entry: [`src/${name}.ts`], dts: false })),
  // Types that several of them have are the same ones.
  { ...common, entry: entries.map((name) => `src/${name}.ts`), outDir: 'dist/types', dts: { emitDtsOnly: true } },
  ...Object.entries(page).map(
    ([name, from]): UserConfig => ({
      ...common,
      entry: { [name]: from },
      outDir: 'page',
      format: 'esm',
      dts: false,
      minify: true,
    }),
  ),
];

export default defineConfig(config) as UserConfig[];
