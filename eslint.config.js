import tseslint from 'typescript-eslint';

export default tseslint.config(
  {
    ignores: [
      ...['dist/', 'console/dist/', 'dist-package/', 'coverage/', 'eslint.config.js', 'jest.*.js'],
      // Exercises: their imports resolve in workshop/mine only, where `npm run workshop -- check` compiles them.
      ...[
        'workshop/mine/',
        'workshop/check-*/',
        'workshop/.workspace/',
        'workshop/exercises/*/start/',
        'workshop/exercises/*/solution/',
      ],
      // Run as they are, without a build.
      ...[
        'workshop/**/*.mjs',
        'bench/*.mjs',
        'faults/*.mjs',
        'tools/*.mjs',
        'test/support/*.mjs',
        'test/hosts/matrix/**',
      ],
    ],
  },
  ...tseslint.configs.recommendedTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname } },
    rules: {
      // An un-awaited write outlives its unit of work; the fence turns it into an error, this rule into a red line.
      '@typescript-eslint/no-floating-promises': 'error',
      // Handlers answer to interfaces that return promises, even where theirs has nothing to wait for.
      '@typescript-eslint/require-await': 'off',
      '@typescript-eslint/no-unused-vars': ['error', { argsIgnorePattern: '^_', varsIgnorePattern: '^_' }],
    },
  },
  {
    // Replies of HTTP requests, and whatever a test looks at.
    files: ['test/**/*.ts'],
    rules: {
      '@typescript-eslint/no-unsafe-return': 'off',
      '@typescript-eslint/no-unsafe-assignment': 'off',
      '@typescript-eslint/no-unsafe-member-access': 'off',
      '@typescript-eslint/no-unsafe-argument': 'off',
    },
  },
  {
    // Of the files in a folder of a module, tools/architecture.ts finds out: here '../x' may be the module itself.
    files: ['src/modules/*/*.ts'],
    rules: {
      'no-restricted-imports': [
        'error',
        {
          patterns: [
            {
              regex: '^\\.\\./(?!\\.\\./)[^/]+/(?!contract\\.js$)',
              message: "Another module is known by its contract.ts only: what isn't there may change or move away.",
            },
          ],
        },
      ],
    },
  },
);
