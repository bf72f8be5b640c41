import { defineConfig } from 'vite';

/** The server serves four files of fixed names, and its Content-Security-Policy allows nothing inline. */
export default defineConfig({
  root: import.meta.dirname,
  base: '/mesh/console/',
  // The options of the compiler are in tsconfig.json.
  build: {
    outDir: 'dist',
    target: 'es2022',
    cssCodeSplit: false,
    // The polyfill would be an inline script.
    modulePreload: false,
    rolldownOptions: {
      output: { codeSplitting: false, entryFileNames: 'app.js', assetFileNames: 'app[extname]' },
    },
  },
});
