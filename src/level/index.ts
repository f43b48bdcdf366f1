/** Public exports of weirpool/level, nothing else. */
export {
  WeirLevel,
  type WeirLevelHandle,
  type WeirLevelOptions,
  type WeirLevelSource,
  type WriteOptions,
} from './level.ts';
