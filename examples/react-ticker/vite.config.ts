import react from '@vitejs/plugin-react';
import { defineConfig } from 'vite';

export default defineConfig({
  plugins: [react()],
  base: './',
  server: { host: '127.0.0.1' },
  // The client of this repository is a link, and has a React of its own for its tests.
  resolve: { dedupe: ['react', 'react-dom'] },
});
