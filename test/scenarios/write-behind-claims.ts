/**
 * Claims of several threads, staged: what happens between the look whether an owner is dead and the
 * taking over of what it had.
 *
 * Argument: the play.
 */
import { SLOT_ATTACHED, SLOT_GENERATION } from '../../src/generated/layout.ts';
import type { PoolThread } from '../../src/memory/thread.ts';
import { SharedClaims } from '../../src/write-behind/shared-claims.ts';
import { SharedWords } from '../../src/write-behind/words.ts';
import { check, checkEqual } from '../support/checks.ts';

const KEY = 'a';
const words = SharedWords.make(1);

/** State words of the slots, as the pool has them: 0 is nobody's. */
const states: number[] = [];
/** Happens once, between a look at a slot's state and what is made of it. */
let meanwhile: (() => void) | undefined;

function attachedState(slot: number): number {
  const state = states[slot] ?? 0;
  const happens = meanwhile;
  meanwhile = undefined;
  happens?.();
  return state;
}

/** A thread joins at a slot that was given up `generation` times. */
function join(me: number, generation: number): SharedClaims {
  states[me] = generation * SLOT_GENERATION + SLOT_ATTACHED;
  const thread = { me, control: { attachedState }, lookAround: () => undefined };
  return new SharedClaims(words, thread as unknown as PoolThread);
}

function die(slot: number): void {
  states[slot] = 0;
}

/** Whether the claim is had at once; else a wait for it has begun. */
function takes(claims: SharedClaims): boolean {
  return claims.take(KEY, false).next().done === true;
}

const plays: Readonly<Record<string, () => void>> = {
  /** A thread is seen dead; its claim goes to another one, and from there to a living one in its slot. */
  'taken-over-twice'() {
    const dead = join(1, 1);
    checkEqual(takes(dead), true, 'the first one has the claim');
    die(1);
    const late = join(2, 1);
    const quick = join(3, 1);
    meanwhile = () => {
      checkEqual(takes(quick), true, 'the quick one takes it over');
      quick.release(KEY);
      checkEqual(takes(join(1, 2)), true, 'the new one takes it');
    };
    checkEqual(takes(late), false, 'the late one has it too');
    check(meanwhile === undefined, 'the moment has not come');
  },

  /** A new thread has the slot of one that died with the claim, which a third one has taken over. */
  'left-by-my-slot'() {
    const dead = join(1, 1);
    checkEqual(takes(dead), true, 'the first one has the claim');
    die(1);
    const heir = join(1, 2);
    checkEqual(takes(join(2, 1)), true, 'the third one takes it over, though the slot lives');
    heir.release(KEY);
    checkEqual(takes(join(3, 1)), false, 'another one takes it from the third one');
  },
};

const play = plays[process.argv[2] ?? ''];
check(play !== undefined, 'there is no such play');
play();
process.exit(0);
