/**
 * `WeirLevel`, an abstract-level database (docs/level.md). Public exports, nothing else.
 *
 * @module weirpool/level
 */
export {
  WeirLevel,
  type WeirLevelHandle,
  type WeirLevelOptions,
  type WeirLevelSource,
  type WriteOptions,
} from './level.ts';
