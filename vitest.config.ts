import { defineConfig } from 'vitest/config'

const TEN_MINUTES = 600_000

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: 'unit',
          include: [
            'test/unit/**/*.test.ts',
            'test/property/**/*.test.ts',
            'test/contract/**/*.test.ts',
          ],
          testTimeout: 30_000,
          hookTimeout: 60_000,
          expect: { poll: { timeout: 10_000 } },
        },
      },
      {
        test: {
          name: 'e2e',
          globalSetup: ['test/e2e/support/global-setup.ts'],
          maxConcurrency: 3,
          include: ['test/e2e/stories/**/*.test.ts'],
          // Stories share containers: one after the other, in one process.
          fileParallelism: false,
          maxWorkers: 1,
          pool: 'forks',
          testTimeout: TEN_MINUTES,
          hookTimeout: TEN_MINUTES,
        },
      },
    ],
  },
})
