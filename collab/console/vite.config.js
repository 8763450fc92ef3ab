import { defineConfig } from 'vite'

// Addresses are relative, so that the pages work below any path; nothing is inlined, so that the strict
// Content-Security-Policy of the pages needs no exception for data: addresses.
export default defineConfig({
  base: './',
  build: {
    target: 'es2022',
    assetsInlineLimit: 0,
    modulePreload: { polyfill: false },
    chunkSizeWarningLimit: 700,
    rollupOptions: { input: ['demo.html', 'console.html'] }
  }
})
