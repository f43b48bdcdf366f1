/**
 * Races of trees, each on the product, where nothing may happen, and on a naive variant that leaves
 * out the look that the race demands, where the scenario (test/scenarios/tree-stage.ts) must notice.
 */
import { describe, it } from 'vitest';
import { expectCaught, type Patch } from '../support/scenario.ts';

const CURSOR = 'src/tree/cursor.ts';
const DESCENT = 'src/tree/descent.ts';
const STORE = 'src/tree/store.ts';

function caught(play: string, patch: Patch): () => Promise<unknown> {
  return () =>
    expectCaught('tree-stage', [patch], { args: [play], symptom: ['violation', 'crash'] });
}

describe('a tree', () => {
  it(
    'I1 validates a node again before it trusts the child that was found in it',
    caught('child', {
      file: DESCENT,
      find: '      if (control.validate(frame, version) === 0) return this.#miss(AGAIN, child);\n',
      replace: '',
    }),
  );

  it(
    'I1 validates a leaf before it gives a value that was read there',
    caught('value', {
      file: STORE,
      find: 'if (control.validate(frame, descent.version) !== 0) return value;',
      replace: 'if (frame >= 0) return value;',
    }),
  );

  it(
    'I1 validates a leaf before it says that a key has no value',
    caught('get', {
      file: STORE,
      find: '      } else if (control.validate(frame, descent.version) !== 0) {\n',
      replace: '      } else if (frame >= 0) {\n',
    }),
  );

  it(
    'I1 validates a leaf before it says whether a key is there',
    caught('has', {
      file: STORE,
      find: '      if (control.validate(frame, descent.version) === 0) continue;\n      if (found < 0)',
      replace: '      if (found < 0)',
    }),
  );

  it(
    'I1 validates a leaf before it says that there is nothing to look at',
    caught('read', {
      file: STORE,
      find: '        if (control.validate(frame, version) === 0) continue;\n',
      replace: '',
    }),
  );

  it(
    'I1 looks again, once a leaf is latched, whether the key still belongs to it',
    caught('latch', {
      file: STORE,
      find: 'if (covers !== 1 || nodes.levelOf(frame) !== 0) throw changedError();',
      replace: 'if (nodes.levelOf(frame) !== 0) throw changedError();',
    }),
  );

  it(
    'I1 begins again when the leaf that it has found was merged away before it is latched',
    caught('gone', {
      file: STORE,
      find: "throw code === 'BLOB_NOT_FOUND' || code === 'BLOB_GONE' ? changedError() : error;",
      replace: 'throw code === undefined ? changedError() : error;',
    }),
  );

  it(
    'I1 looks again, once a child is latched, whether its parent has changed meanwhile',
    caught('visit', {
      file: DESCENT,
      find: 'if (parent !== undefined && control.validate(parent.frame, parent.version) === 0) {',
      replace: 'if (parent !== undefined && parent.version < 0) {',
    }),
  );

  it(
    'I1 validates a leaf before a scan goes on behind it',
    caught('scan', {
      file: CURSOR,
      find: 'if (core.control.validate(frame, version) !== 0) {',
      replace: 'if (version >= 0) {',
    }),
  );
});
