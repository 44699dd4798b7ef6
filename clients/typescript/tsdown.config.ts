import { defineConfig } from 'tsdown';

const config: ReturnType<typeof defineConfig> = defineConfig({
  entry: ['src/index.ts', 'src/msgpack.ts', 'src/react.ts'],
  format: ['esm', 'cjs'],
  dts: true,
  target: 'es2022',
  platform: 'neutral',
  fixedExtension: false,
  clean: true,
});

export default config;
