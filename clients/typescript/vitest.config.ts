import { defineConfig } from 'vitest/config';

const config: ReturnType<typeof defineConfig> = defineConfig({
  test: { include: ['tests/**/*.test.{ts,tsx}'], testTimeout: 20_000 },
});

export default config;
