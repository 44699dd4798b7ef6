import { defineConfig } from 'vitest/config';

const config: ReturnType<typeof defineConfig> = defineConfig({
  test: {
    include: ['tests/**/*.test.{ts,tsx}'],
    testTimeout: 20_000,
    // What is waited for comes when it comes: others may be busy with the same processors.
    expect: { poll: { timeout: 15_000 } },
  },
});

export default config;
