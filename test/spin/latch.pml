/*
 * The hybrid latch of one frame, as assembly/latch.ts, frames.ts, page-table.ts and threads.ts
 * build it: each atomic access of those files is one step here, under the same name.
 *
 * Word:        version | owner + 1 | flags G E P X, changed by compare-and-swap or by its owner;
 *              shared latches and pins are counted in another word (Dekker).
 * Invariants:  I1   a pinned frame keeps its blob;
 *              I5   a version is never seen twice for different bytes;
 *              D1   who only tries never parks, and takes its claim back;
 *              G1   the reaper gives back exactly what the dead thread held;
 *              and: exclusive excludes everybody, a validated read is not torn, nobody parks for
 *              ever beside a free latch, a pending writer is not overtaken by new readers.
 * Parking:     without time-out, so a lost wake-up is an invalid end state. (The product wakes
 *              every 100 ms to look around; no correctness may rest on that.)
 * Scenarios:   one of
 *   -DRW       a parking writer, a writer that upgrades or else only tries, a shared reader
 *   -DOPT      the same two writers, an optimistic reader
 *   -DPARK     two parking writers, a shared reader
 *   -DEVICT    a pinned reader, another one or one without a pin, an evictor that waits for the
 *              frame, loads the other blob, and then the first one again
 *   -DDELETE   a pinned reader or writer that may wait, a deleter, an evictor that waits
 *   -DDEATH    a writer or a reader that may die between any two steps, a survivor that writes or
 *              reads, the reaper
 *   -DSTARVE   two readers that never stop, one writer; LTL formula `writer_served`, weak fairness
 * Bounds:      one frame, two blobs, three threads, one or two ops each, at most one death; the
 *              bounded spin is one attempt more (a failed attempt leaves nothing but P behind).
 * Left out:    weak memory (SPIN knows sequential consistency only: the argument for the plain
 *              accesses stands in assembly/latch.ts), re-entrant shared latches, HELD, the locks of
 *              the shards and how the replacement lock waits, dirty seqs (checkpoint.pml), closing,
 *              a reaper that dies.
 * Variants:    each breaks one place and must be refuted: -DNO_RECHECK_SHARED,
 *              -DNO_RECHECK_EXCLUSIVE, -DNO_RECHECK_DRAINED, -DNO_DROP_CLAIM (RW);
 *              -DNO_VALIDATION, -DVALIDATE_IGNORES_X, -DNO_VERSION_MOVE (OPT); -DWAKE_BEFORE_STORE,
 *              -DREGISTER_AFTER_LOOK (PARK); -DNO_SECOND_LOOK, -DPIN_WITHOUT_WORD, -DPIN_ID_FIRST,
 *              -DVERSION_GOES_BACK (EVICT); -DDROP_WITHOUT_LOOK, -DDROP_WITHOUT_LOCK (DELETE);
 *              -DRELEASE_WITHOUT_REPAIR, -DSTEAL, -DREAP_KEEPS_HOLDS, -DREAP_WITHOUT_WAKE (DEATH);
 *              -DCLAIM_NOT_KEPT (STARVE).
 */

#define X 1                            /* the owner may write the bytes */
#define P 2                            /* the owner waits for the readers to leave */
#define E 4                            /* the frame changes its blob */
#define G 8                            /* the blob was deleted while pinned */
#define FLAGS 15
#define OWNER_MASK 112
#define OWNER(me) (((me) + 1) << 4)
#define VERSION_ONE 128
#define VERSION(w) ((w) & ~127)
#define NEXT(w) (VERSION(w) + VERSION_ONE)
#define IS_OWNER(w, me) (((w) & OWNER_MASK) == OWNER(me))

#define THREADS 4
#define VERSIONS 24

#define OK 0
#define BUSY 1
#define GONE 2
#define STOPPED 3

/* --- shared memory of the frame --- */
short word;                            /* A_WORD */
byte id = 1;                           /* A_ID, 0 when no blob is mapped */
byte shared, pins;                     /* B_HOLDS: one word, always read and changed together */
byte waiters;                          /* B_WAITERS */
byte frameWaiters;                     /* H_FRAME_WAITERS */
bool stopped;                          /* H_STATUS: poisoned */
bool replacement;                      /* LOCK_REPLACEMENT */
byte half0, half1;                     /* the bytes: equal whenever nobody writes */

/*
 * B_WAKE as its waiters see it: `moved` says that it was bumped since this thread read it, `asleep`
 * that it is inside atomic.wait. The same for H_FRAME_WAKE, where only the evictor waits.
 */
bool moved[THREADS], asleep[THREADS];
bool frameMoved, frameAsleep;

/* --- thread slots: read by the reaper only --- */
#ifdef DEATH
bool intent[THREADS], waitingOn[THREADS], dead[THREADS];
byte holdPins[THREADS], holdShared[THREADS];
#endif

/* --- ghosts: what the properties are said with --- */
byte inX, inS;                         /* threads that were told that they have the latch */
byte bytesAt[VERSIONS];                /* bytes + 1 that were readable at a version */
byte finished;

/* The bytes become readable under the version that is in the word: I5. */
inline published() {
  assert((word >> 7) < VERSIONS);
  assert(half0 == half1);
  assert(bytesAt[word >> 7] == 0 || bytesAt[word >> 7] == half0 + 1);
  bytesAt[word >> 7] = half0 + 1
}

inline enterX() { d_step { inX++; assert(inX == 1 && inS == 0) } }
inline enterS() { d_step { inS++; assert(inX == 0) } }

/* --- waiting --- */

inline wakeFrame() {
  if
  :: waiters != 0 ->
     d_step { moved[0] = 1; moved[1] = 1; moved[2] = 1; moved[3] = 1 };
     d_step { asleep[0] = 0; asleep[1] = 0; asleep[2] = 0; asleep[3] = 0 }
  :: else
  fi
}

#if defined(EVICT) || defined(DELETE)
inline wakeFrameWaiters() {
  if
  :: frameWaiters != 0 -> frameMoved = 1; frameAsleep = 0
  :: else
  fi
}
inline wakeAfterLatch() {
  wakeFrame();
  if
  :: pins == 0 -> wakeFrameWaiters()
  :: else
  fi
}
#else
inline wakeFrameWaiters() { skip }
inline wakeAfterLatch() { wakeFrame() }
#endif

inline registerWaiter(me) {
#ifdef DEATH
  d_step { intent[me] = 1; waitingOn[me] = 1 };
  waiters++;
  intent[me] = 0;
#else
  waiters++;
#endif
  moved[me] = 0
}

inline unregisterWaiter(me) {
#ifdef DEATH
  intent[me] = 1;
  waiters--;
  d_step { waitingOn[me] = 0; intent[me] = 0 }
#else
  waiters--
#endif
}

inline park(me) {
  d_step {
    if
    :: !moved[me] -> asleep[me] = 1
    :: else
    fi
  };
  (!asleep[me] || stopped);
  asleep[me] = 0
}

/* --- holds: both counts lie in one word --- */

inline addHolds(me, p, s) {
#ifdef DEATH
  d_step { intent[me] = 1; holdPins[me] = holdPins[me] + p; holdShared[me] = holdShared[me] + s };
  d_step { pins = pins + p; shared = shared + s };
  intent[me] = 0
#else
  d_step { pins = pins + p; shared = shared + s }
#endif
}

/* leftS, leftP: what the subtraction left. */
inline dropHolds(me, p, s) {
#ifdef DEATH
  d_step { intent[me] = 1; holdPins[me] = holdPins[me] - p; holdShared[me] = holdShared[me] - s };
  d_step { pins = pins - p; shared = shared - s; leftP = pins; leftS = shared };
  intent[me] = 0
#else
  d_step { pins = pins - p; shared = shared - s; leftP = pins; leftS = shared }
#endif
}

inline dropShared(me) {
  dropHolds(me, 0, 1);
  if
  :: leftS == 0 -> wakeFrame()
  :: else
  fi;
  if
  :: leftS == 0 && leftP == 0 -> wakeFrameWaiters()
  :: else
  fi;
  leftS = 0; leftP = 0
}

inline dropPin(me) {
  dropHolds(me, 1, 0);
  if
  :: leftP == 0 -> wakeFrameWaiters()
  :: else
  fi;
  leftS = 0; leftP = 0
}

/* --- shared --- */

inline tryShared(me) {
  r = BUSY;
  if
  :: (word & FLAGS) == 0 ->
     addHolds(me, 0, 1);
#ifdef NO_RECHECK_SHARED
     r = OK
#else
     if
     :: (word & FLAGS) == 0 -> r = OK
     :: else -> dropShared(me)
     fi
#endif
  :: else
  fi;
  if
  :: r == BUSY ->
     if
     :: (word & G) != 0 -> r = GONE
     :: else
     fi
  :: else
  fi
}

inline acquireShared(me) {
  do
  :: stopped -> r = STOPPED; break
  :: else ->
     tryShared(me);
     if
     :: r != BUSY -> break
     :: else
     fi;
#ifdef REGISTER_AFTER_LOOK
     /* The last look lies before the registration. */
     registerWaiter(me);
     park(me);
     tryShared(me);
#else
     registerWaiter(me);
     tryShared(me);
     if
     :: r == BUSY -> park(me); tryShared(me)
     :: else
     fi;
#endif
     unregisterWaiter(me);
     if
     :: r != BUSY -> break
     :: else                           /* SLICE: the caller looks around and calls again */
     fi
  od
}

inline releaseShared(me) {
  inS--;
  dropShared(me)
}

/* --- exclusive --- */

inline tryExclusive(me) {
  r = BUSY;
  w = word;
  if
  :: (w & FLAGS) == 0 ->
     if
     :: shared == 0 ->
        d_step {
          if
          :: word == w -> word = VERSION(w) | OWNER(me) | X; r = OK
          :: else
          fi
        };
#ifndef NO_RECHECK_EXCLUSIVE
        if
        :: r == OK ->
           if
           :: shared == 0
           :: else -> word = VERSION(w) | OWNER(me) | P; r = BUSY
           fi
        :: else
        fi
#endif
     :: else
     fi
  :: else
  fi;
  w = 0
}

inline tryClaim(me) {
  r = BUSY;
  claimed = 0;
  w = word;
  if
  :: (w & G) != 0 -> r = GONE
  :: (w & FLAGS) == P && IS_OWNER(w, me) -> claimed = 1
  :: (w & FLAGS) == 0 ->
     d_step {
       if
       :: word == w -> word = VERSION(w) | OWNER(me) | P; claimed = 1
       :: else
       fi
     }
  :: else
  fi;
  if
  :: claimed ->
     /* drained */
#ifndef NO_RECHECK_DRAINED
     if
     :: shared == 0 ->
#endif
        w = word;
        word = VERSION(w) | OWNER(me) | X;
        r = OK
#ifndef NO_RECHECK_DRAINED
     :: else
#ifdef CLAIM_NOT_KEPT
        -> word = VERSION(word)
#endif
     fi
#endif
  :: else
  fi;
  claimed = 0; w = 0
}

inline dropClaim(me) {
  w = word;
  if
  :: (w & P) != 0 && IS_OWNER(w, me) -> word = VERSION(w); wakeAfterLatch()
  :: else
  fi;
  w = 0
}

inline acquireExclusive(me, mayPark) {
  do
  :: stopped -> dropClaim(me); r = STOPPED; break
  :: else ->
     tryExclusive(me);
     if
     :: r == BUSY -> tryClaim(me)
     :: else
     fi;
     if
     :: r == BUSY && !mayPark -> tryClaim(me)  /* the spin; who parks attempts it below */
     :: else
     fi;
     if
     :: r != BUSY -> break
     :: r == BUSY && !mayPark ->
#ifndef NO_DROP_CLAIM
        dropClaim(me);
#endif
        break
     :: else
     fi;
     registerWaiter(me);
     tryClaim(me);
     if
     :: r == BUSY -> park(me); tryClaim(me)
     :: else
     fi;
     unregisterWaiter(me);
     if
     :: r != BUSY -> break
     :: else                           /* SLICE: P stays, the caller calls again */
     fi
  od;
#ifdef DEATH
  /* stoppedMeanwhile */
  if
  :: r == OK ->
     if
     :: stopped -> word = VERSION(word); wakeAfterLatch(); r = STOPPED
     :: else
     fi
  :: else
  fi
#endif
}

/* Release and publication are one step: the store of the word. */
inline releaseExclusive(me) {
  inX--;
#ifdef WAKE_BEFORE_STORE
  wakeAfterLatch();
#endif
  d_step {
    assert((word & X) != 0 && IS_OWNER(word, me));
#ifdef NO_VERSION_MOVE
    word = VERSION(word);
#else
    word = NEXT(word);
#endif
    published()
  };
#ifndef WAKE_BEFORE_STORE
  wakeAfterLatch()
#endif
}

inline writeBytes() {
  half0 = half0 + 1;
  half1 = half1 + 1
}

/* --- optimistic --- */

inline optimistic() {
  seen = word;
  if
  :: (seen & (X | E | G)) != 0 -> r = BUSY
  :: else -> seen = VERSION(seen); r = OK
  fi
}

#ifdef NO_VALIDATION
#define UNTOUCHED(w, v) true
#elif defined(VALIDATE_IGNORES_X)
#define UNTOUCHED(w, v) (VERSION(w) == (v))
#else
#define UNTOUCHED(w, v) (((w) & ~(P | OWNER_MASK)) == (v))
#endif

inline readOptimistic() {
  optimistic();
  if
  :: r == OK ->
     x = half0;
     y = half1;
     d_step {
       if
       :: UNTOUCHED(word, seen) -> assert(x == y && bytesAt[seen >> 7] == x + 1)
       :: else
       fi
     };
     x = 0; y = 0
  :: else
  fi
}

/* Optimistic to exclusive. */
inline upgrade(me) {
  r = BUSY;
  d_step {
    if
    :: word == seen -> word = seen | OWNER(me) | X; r = OK
    :: else
    fi
  };
  if
  :: r == OK ->
     if
     :: shared == 0
     :: else -> word = seen; wakeAfterLatch(); r = BUSY
     fi
  :: else
  fi
}

#define LOCALS short w, seen; byte r, x, y, leftS, leftP; bool claimed

/* --- threads of -DRW, -DPARK and -DSTARVE --- */

#if !defined(EVICT) && !defined(DELETE)
proctype Writer(byte me) {
  LOCALS;
  acquireExclusive(me, true);
  if
  :: r == OK ->
     enterX();
     writeBytes();
     releaseExclusive(me)
  :: else -> assert(stopped)
  fi;
  finished++
}

#endif

#if defined(RW) || defined(OPT)
/* Reads without a latch, upgrades, and if that fails tries the ordinary way. */
proctype Upgrader(byte me) {
  LOCALS;
  optimistic();
  if
  :: r == OK ->
     x = half0;
     upgrade(me);
     if
     :: r == OK -> assert(x == half0 && x == half1)
     :: else
     fi;
     x = 0
  :: else
  fi;
  seen = 0;
  if
  :: r != OK -> acquireExclusive(me, false)
  :: else
  fi;
  if
  :: r == OK ->
     enterX();
     writeBytes();
     releaseExclusive(me)
  :: else -> assert(!IS_OWNER(word, me))  /* D1: nothing is left behind */
  fi;
  finished++
}

#endif

#if defined(RW) || defined(PARK) || defined(DEATH)
proctype SharedReader(byte me) {
  LOCALS;
  acquireShared(me);
  if
  :: r == OK ->
     enterS();
     x = half0;
     assert(x == half1);
     x = 0;
     releaseShared(me)
  :: else -> assert(stopped)
  fi;
  finished++
}

#endif

#ifdef OPT
proctype OptimisticReader() {
  LOCALS;
  readOptimistic();
  seen = 0;
  readOptimistic();
  seen = 0;
  finished++
}

#endif

#ifdef STARVE
/* A reader that never stops asking, and may park. */
proctype EternalReader(byte me) {
  LOCALS;
end:
  do
  :: acquireShared(me);
     enterS();
     releaseShared(me)
  od
}

#endif

/* --- threads of -DEVICT and -DDELETE --- */

#if defined(EVICT) || defined(DELETE)

/* Pins blob `want`: r is OK, or BUSY and nothing is held. */
inline pin(me, want) {
  r = BUSY;
  if
  :: id == want ->                     /* found in the page table */
     addHolds(me, 1, 0);
#ifdef PIN_WITHOUT_WORD
     if
     :: id == want -> r = OK
     :: else -> dropPin(me)
     fi
#else
#ifdef PIN_ID_FIRST
     if
     :: id == want ->
        if
        :: (word & (E | G)) == 0 -> r = OK
        :: else -> dropPin(me)
        fi
     :: else -> dropPin(me)
     fi
#else
     if
     :: (word & (E | G)) == 0 ->
        if
        :: id == want -> r = OK
        :: else -> dropPin(me)
        fi
     :: else -> dropPin(me)
     fi
#endif
#endif
  :: else
  fi
}

/* Blob 1 has odd bytes, blob 2 even ones: a reader knows whose bytes it sees. */
#define BYTES_OF(blob, bytes) (((bytes) & 1) == ((blob) & 1))

/* Pins blob 1, reads it under a shared latch. Deleted meanwhile: the latch says GONE. */
proctype PinReader(byte me) {
  LOCALS;
  pin(me, 1);
  if
  :: r == OK ->
     acquireShared(me);
     if
     :: r == OK ->
        enterS();
        assert(id == 1 && BYTES_OF(1, half0));
        releaseShared(me)
     :: else -> assert(r == GONE && id == 0)
     fi;
     assert(id != 2);                  /* I1: while pinned the frame is nobody else's */
     dropPin(me)
  :: else
  fi;
  finished++
}

#ifdef EVICT
/* Looks up blob 1 and reads it without a pin. */
proctype PinlessReader() {
  LOCALS;
  seen = word;
  if
  :: id == 1 && (seen & (X | E | G)) == 0 ->
     seen = VERSION(seen);
     x = half0;
     y = half1;
     d_step {
       if
       :: UNTOUCHED(word, seen) -> assert(x == y && BYTES_OF(1, x))
       :: else
       fi
     };
     x = 0; y = 0
  :: else
  fi;
  finished++
}

#endif

#ifdef DELETE
proctype PinWriter(byte me) {
  LOCALS;
  pin(me, 1);
  if
  :: r == OK ->
     acquireExclusive(me, true);
     if
     :: r == OK ->
        enterX();
        assert(id == 1);
        half0 = half0 + 2;
        half1 = half1 + 2;
        releaseExclusive(me)
     :: else -> assert(r == GONE && id == 0)
     fi;
     assert(id != 2);
     dropPin(me)
  :: else
  fi;
  finished++
}

#endif

#define EVICTABLE (shared == 0 && pins == 0)

inline lockTake() { atomic { !replacement -> replacement = 1 } }
inline lockGive() { replacement = 0 }

/* r is OK: the frame is this thread's (X and E). BUSY: everything is as before. */
inline takeVictim(me) {
  r = BUSY;
  w = word;
  if
  :: (w & (X | P | E)) == 0 ->
     if
     :: EVICTABLE ->
        d_step {
          if
          :: word == w -> word = VERSION(w) | OWNER(me) | X | E; r = OK
          :: else
          fi
        };
#ifndef NO_SECOND_LOOK
        if
        :: r == OK ->
           if
           :: EVICTABLE
           :: else -> word = w; wakeFrame(); r = BUSY
           fi
        :: else
        fi
#endif
     :: else
     fi
  :: else
  fi;
  w = 0
}

/* Gives the blob up, goes through the free list, and loads `blob` whose bytes are `bytes`. */
inline changeBlob(me, blob, bytes) {
  enterX();
  /* unmap */
  id = 0;
  word = NEXT(word) | (word & (FLAGS | OWNER_MASK));
  wakeFrame();
  /* giveFree, takeFree: the free list belongs to the replacement lock */
  word = NEXT(word) | X | E;
  wakeFrame();
  wakeFrameWaiters();
  word = word | OWNER(me);
  /* publishLoading, read, finishLoad with a pin */
  id = blob;
  half0 = bytes;
  half1 = bytes;
  addHolds(me, 1, 0);
  d_step {
    inX--;
#ifdef VERSION_GOES_BACK
    word = VERSION(word) - 2 * VERSION_ONE;  /* as if the frame's versions began again */
#else
    word = NEXT(word);
#endif
    published()
  };
  wakeFrame();
  dropPin(me)
}

/* Needs the frame for another blob; parks until one may be evicted. */
inline evict(me, blob, bytes) {
  do
  :: frameWaiters++;                   /* enterFrameQueue */
     frameMoved = 0;
     lockTake();
     takeVictim(me);
     lockGive();
     if
     :: r == OK -> frameWaiters--; break
     :: else
     fi;
     d_step {
       if
       :: !frameMoved -> frameAsleep = 1
       :: else
       fi
     };
     (!frameAsleep);
     frameWaiters--
  od;
  changeBlob(me, blob, bytes)
}

proctype Evictor(byte me) {
  LOCALS;
  evict(me, 2, 10);
#ifdef EVICT
  evict(me, 1, 21);
#endif
  finished++
}

#ifdef DELETE
/* Deletes blob 1 under the exclusive latch; a pin that is left keeps the frame as GONE. */
proctype Deleter(byte me) {
  LOCALS;
  bool pinned;
  pin(me, 1);
  if
  :: r == OK ->
     acquireExclusive(me, true);
     if
     :: r == OK ->
        enterX();
        dropPin(me);
        id = 0;                        /* unmap */
        word = NEXT(word) | (word & (FLAGS | OWNER_MASK));
        wakeFrame();
        /*
         * dropBlob: E, then the pins. Under the lock, or the wake-up of the last pin may come when
         * the evictor, who looks under the lock too, would still see E instead of G.
         */
#ifndef DROP_WITHOUT_LOCK
        lockTake();
#endif
        word = word | E;
#ifdef DROP_WITHOUT_LOOK
        pinned = 0;
#else
        pinned = (pins > 0);
#endif
        inX--;
        if
        :: pinned -> word = NEXT(word) | G
        :: else
        fi;
#ifndef DROP_WITHOUT_LOCK
        lockGive();
#endif
        wakeFrame();
        if
        :: !pinned -> changeBlob(me, 2, 30)  /* given back, and used for blob 2 */
        :: else
        fi
     :: else -> assert(r == GONE); dropPin(me)
     fi
  :: else
  fi;
  finished++
}

#endif
#endif

/* --- threads of -DDEATH: `dead` stops a thread between any two steps --- */

#ifdef DEATH
bool alive;                            /* nobody will die */

proctype MortalWriter(byte me) {
  LOCALS;
  {
    addHolds(me, 1, 0);
    acquireExclusive(me, true);
    if
    :: r == OK ->
       enterX();
       writeBytes();
       releaseExclusive(me)
    :: else
    fi;
    dropPin(me)
  } unless { dead[me] };
  finished++
}

/* Pin and shared latch in one addition, as pinShared does, else the slow path. */
proctype MortalReader(byte me) {
  LOCALS;
  {
    addHolds(me, 1, 1);
    if
    :: (word & FLAGS) == 0 -> r = OK
    :: else ->
       dropHolds(me, 1, 1);
       if
       :: leftS == 0 -> wakeFrame()
       :: else
       fi;
       leftS = 0; leftP = 0;
       r = BUSY
    fi;
    if
    :: r == OK ->
       assert(inX == 0);
       assert(inX == 0 && half0 == half1);  /* still */
       dropHolds(me, 1, 1);
       if
       :: leftS == 0 -> wakeFrame()
       :: else
       fi;
       leftS = 0; leftP = 0
    :: else
    fi
  } unless { dead[me] };
  finished++
}

/* One death at most, at any time. */
proctype Killer() {
  if
  :: dead[0] = 1
  :: dead[1] = 1
  :: alive = 1
  fi
}

/* Knows that the thread is gone: the exit event has come. */
proctype Reaper() {
  byte gone;
  bool undecided;
  if
  :: alive -> goto done
  :: dead[0] -> gone = 0
  :: dead[1] -> gone = 1
  fi;
  /* beginReap, reapSlot */
  undecided = intent[gone];
  if
  :: !undecided ->
     if
     :: waitingOn[gone] -> waiters--; waitingOn[gone] = 0
     :: else
     fi;
     /* reapFrame */
     if
     :: IS_OWNER(word, gone) && (word & X) != 0 ->
#ifdef RELEASE_WITHOUT_REPAIR
        d_step { inX = 0; word = NEXT(word) }
#else
        undecided = 1
#endif
     :: IS_OWNER(word, gone) && (word & P) != 0 -> word = VERSION(word)
     :: else
     fi
  :: else
  fi;
  if
  :: undecided -> stopped = 1
  :: else ->
#ifndef REAP_KEEPS_HOLDS
     d_step {
       pins = pins - holdPins[gone];
       shared = shared - holdShared[gone];
       holdPins[gone] = 0; holdShared[gone] = 0
     };
#endif
#ifndef REAP_WITHOUT_WAKE
     wakeFrame()
#endif
  fi;
done:
  finished++
}

#ifdef STEAL
/* Takes a time-out for a sign of death. The product has no such thread. */
proctype Thief() {
  if
  :: (word & X) != 0 -> word = NEXT(word)
  :: finished >= 1
  fi
}
#endif
#endif

/* --- the programs --- */

#define PROGRAMS 3                     /* of those that count themselves as finished */

init {
  bytesAt[0] = 1;
#if defined(EVICT) || defined(DELETE)
  half0 = 1; half1 = 1; bytesAt[0] = 2;
#endif
  atomic {
#ifdef RW
    run Writer(0); run Upgrader(1); run SharedReader(2)
#endif
#ifdef OPT
    run Writer(0); run Upgrader(1); run OptimisticReader()
#endif
#ifdef PARK
    run Writer(0); run Writer(1); run SharedReader(2)
#endif
#ifdef STARVE
    run Writer(0); run EternalReader(1); run EternalReader(2)
#endif
#ifdef EVICT
    run PinReader(0);
    if
    :: run PinReader(1)
    :: run PinlessReader()
    fi;
    run Evictor(2)
#endif
#ifdef DELETE
    if
    :: run PinReader(0)
    :: run PinWriter(0)
    fi;
    run Deleter(1);
    run Evictor(2)
#endif
#ifdef DEATH
    if
    :: run MortalWriter(0)
    :: run MortalReader(1)
    fi;
    if
    :: run Writer(2)
    :: run SharedReader(2)
    fi;
    run Killer(); run Reaper();
#ifdef STEAL
    run Thief()
#endif
#endif
  };
#ifndef STARVE
  /* Everybody is through, or it is a deadlock: nothing may be left behind. */
  (finished == PROGRAMS);
  assert(stopped ||
    (shared == 0 && pins == 0 && waiters == 0 && (word & (X | P | E)) == 0 && half0 == half1))
#endif
}

#ifdef STARVE
ltl writer_served { <> (finished == 1) }
#endif
