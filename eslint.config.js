/**
 * The four type-aware rules that the formatter's linter does not have in its stable groups.
 * Everything else is Biome's business.
 */
import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig([
  {
    ignores: [
      'assembly/**',
      'build/**',
      'dist/**',
      'node_modules/**',
      '**/generated/**',
      '**/*.js',
    ],
  },
  {
    files: ['{src,test,bench,scripts,examples}/**/*.ts', '*.ts'],
    languageOptions: {
      parser: tseslint.parser,
      parserOptions: { project: './tsconfig.dev.json', tsconfigRootDir: import.meta.dirname },
    },
    plugins: { '@typescript-eslint': tseslint.plugin },
    rules: {
      '@typescript-eslint/no-floating-promises': 'error',
      '@typescript-eslint/no-misused-promises': 'error',
      '@typescript-eslint/await-thenable': 'error',
      '@typescript-eslint/switch-exhaustiveness-check': 'error',
    },
  },
]);
