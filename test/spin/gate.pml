/*
 * The commit gate (design, section 7): mini-transactions that need two latches, a frame, ring
 * credit and perhaps staging frames, against a reader, the journal worker and the checkpointer.
 *
 * Op:          acquire outside the gate (both latches, a frame, credit): only try while holding;
 *              when a try fails give everything back, wait for that one thing, start again.
 *              Seal: enter the gate and preserve what is captured; without a staging frame leave
 *              it, wait, enter again. Inside: change both blobs, append, publish, release, leave.
 * Gate:        one flag for each thread and one pending word: who enters stores its flag and then
 *              reads the word, the checkpointer stores the word and then reads the flags.
 * Staging:     an image that an op has preserved belongs to the round: the checkpointer writes it
 *              and frees the staging frame, also while it has to leave a latched frame for later.
 * Invariants:  no deadlock (an invalid end state);
 *              D1   an op that holds a latch waits for no latch, frame or credit, and one that is
 *                   inside the gate waits for nothing;
 *              I1   the image of a captured frame is its content at capture;
 *              I3   at capture nothing is half done, and every record up to S is published.
 * Bounds:      two blobs, latched in opposite order by two writers of OPS ops each; frames for two
 *              new blobs, credit for one record, one staging frame, one reader; a round begins at
 *              any moment at which something is dirty.
 * Left out:    how a latch waits and wakes (latch.pml; whoever waits for one holds nothing, so a
 *              blocking guard stands for it), what a round writes and how it fails
 *              (checkpoint.pml), undo, deletes, quotas of frames.
 * Also:        -DLOG_CREDIT: credit on the log's disk, which a round gives back when it trims,
 *              instead of credit in the ring, which the journal worker gives back.
 *              -DSEAL_RESTARTS: the seal gives everything back before it waits for staging. By
 *              default the op keeps its latches and its frame over that wait. Both are free of
 *              deadlock; with the default a latch may be held for as long as one write lasts.
 * Variants:    -DENTER_AT_BEGIN, -DWAIT_STAGING_INSIDE, -DWAIT_SECOND_LATCH,
 *              -DWAIT_CREDIT_HOLDING (with -DLOG_CREDIT), -DAPPEND_OUTSIDE, -DFLAG_AFTER_LOOK,
 *              -DSTAGING_BEFORE_LATCH, -DCOPIES_IN_ORDER: each must be refuted.
 */

#ifndef OPS
#define OPS 2
#endif
#ifndef FRAMES
#define FRAMES 2
#endif
#define FREE 255
#define READER 2
#define CHECKPOINTER 3

byte latch[2] = FREE;                  /* owner of each blob's frame */
byte frames = FRAMES;                  /* clean frames that a new blob can take */
byte credit = 1;                       /* records that fit into the ring */
byte staging = 1;                      /* free staging frames */

bool pending;                          /* the checkpointer wants the gate closed */
bool inside[2];                        /* the writers' flags */

byte appended;                         /* records reserved in the log: the last seq */
byte published;                        /* records that are there, with their dirty seqs */
byte durable;                          /* records that the journal worker has written and synced */
byte dirty;                            /* new blobs that a round has to write */
bool captured[2];                      /* captured and not yet preserved */
bool staged[2];                        /* preserved: the image lies in a staging frame */

/* --- ghosts --- */
byte content[2];                       /* each op adds one to both */
byte image[2];                         /* the content at capture */

#define HOLDS_NOTHING(me) (latch[0] != (me) && latch[1] != (me))

inline give(me) {
  atomic {
    if
    :: latch[0] == me -> latch[0] = FREE
    :: else
    fi;
    if
    :: latch[1] == me -> latch[1] = FREE
    :: else
    fi
  }
}

/* --- gate --- */

inline enterGate(me) {
#ifdef FLAG_AFTER_LOOK
  (!pending);
  inside[me] = true
#else
  do
  :: inside[me] = true;
     if
     :: !pending -> break
     :: pending -> inside[me] = false  /* out again: the checkpointer waits for this flag */
     fi;
     (!pending)                        /* the short critical section of D1: capture, no I/O */
  od
#endif
}

inline leaveGate(me) { inside[me] = false }

/* --- ops --- */

/* Until a round has given frames back. */
#define WAIT_FOR_FRAME (frames > 0)

/* Preserves one blob's bytes for the round, inside the gate; short of staging: `lacking`. */
inline preserve(blob) {
#ifdef WAIT_STAGING_INSIDE
  do
  :: !captured[blob] -> break
  :: atomic { captured[blob] && staging > 0 -> staging-- };
     assert(content[blob] == image[blob]);
     atomic { captured[blob] = false; staged[blob] = true }
  :: captured[blob] && staging == 0 ->
     assert(!inside[me]);              /* what would follow is a wait for a write */
     (staging > 0)
  od
#else
  if
  :: !captured[blob]
  :: atomic { captured[blob] && staging > 0 -> staging-- };
     assert(content[blob] == image[blob]);
     atomic { captured[blob] = false; staged[blob] = true }
  :: captured[blob] && staging == 0 -> lacking = true
  fi
#endif
}

proctype Writer(byte me; byte first; byte second) {
  byte op;
  bool lacking;

#ifdef ENTER_AT_BEGIN
begin:
  enterGate(me);
#endif

acquire:
  if
  :: atomic { latch[first] == FREE -> latch[first] = me }
  :: latch[first] != FREE ->
     assert(HOLDS_NOTHING(me));
     (latch[first] == FREE);
     goto acquire
  fi;
#ifdef WAIT_SECOND_LATCH
  atomic { latch[second] == FREE -> latch[second] = me };
#else
  if
  :: atomic { latch[second] == FREE -> latch[second] = me }
  :: latch[second] != FREE ->
     give(me);
     assert(HOLDS_NOTHING(me));
     (latch[second] == FREE);
     goto acquire
  fi;
#endif
  if
  :: atomic { frames > 0 -> frames-- }
  :: frames == 0 ->
     give(me);
     assert(HOLDS_NOTHING(me));
     WAIT_FOR_FRAME;
     goto acquire
  fi;
#ifdef WAIT_CREDIT_HOLDING
  atomic { credit > 0 -> credit-- };
#else
  if
  :: atomic { credit > 0 -> credit-- }
  :: credit == 0 ->
     frames++;
     give(me);
     assert(HOLDS_NOTHING(me));
     (credit > 0);
     goto acquire
  fi;
#endif

#ifdef APPEND_OUTSIDE
  appended++;
#endif

seal:
#ifndef ENTER_AT_BEGIN
  enterGate(me);
#endif
  preserve(first);
  preserve(second);
  if
  :: !lacking
  :: lacking ->
     lacking = false;
     leaveGate(me);
#ifdef SEAL_RESTARTS
     frames++;
     credit++;
     give(me);
     assert(HOLDS_NOTHING(me));
     (staging > 0);
     goto acquire
#else
     (staging > 0);
#ifdef ENTER_AT_BEGIN
     enterGate(me);
#endif
     goto seal
#endif
  fi;

  /* Sealed: from here to the end nothing waits. */
  assert(!captured[0] && !captured[1]);
  content[first]++;
  content[second]++;
#ifndef APPEND_OUTSIDE
  appended++;
#endif
  atomic { published++; dirty++ };
  give(me);
  leaveGate(me);
  op++;
  if
  :: op < OPS ->
#ifdef ENTER_AT_BEGIN
     goto begin
#else
     goto acquire
#endif
  :: else
  fi
}

/* A latch on blob 0, and a frame for a miss: tries while it holds the latch. */
proctype Reader() {
again:
  atomic { latch[0] == FREE -> latch[0] = READER };
  if
  :: atomic { frames > 0 -> frames-- };
     frames++                          /* clean: it may be evicted at once */
  :: frames == 0 ->
     give(READER);
     assert(HOLDS_NOTHING(READER));
     WAIT_FOR_FRAME;
     goto again
  fi;
  give(READER)
}

/* --- journal worker: never waits for anybody --- */

proctype Journal() {
end:
  do
  :: atomic { durable < published -> durable++ };
#ifndef LOG_CREDIT
     credit++
#endif
  od
}

/* --- rounds --- */

/* Writes a preserved image, then the staging frame is free. */
#define WRITE_STAGED(blob) atomic { staged[blob] -> staged[blob] = false; staging++ }

/*
 * Only tries the latch, and takes a staging frame only together with it, so that it never has one
 * while it waits. An op may be faster with the same frame: whoever clears `captured` copies.
 */
inline copy(blob) {
  atomic {
    captured[blob] && latch[blob] == FREE && staging > 0 -> latch[blob] = CHECKPOINTER; staging--
  };
  assert(captured[blob] && content[blob] == image[blob]);
  atomic { captured[blob] = false; staged[blob] = true };
  latch[blob] = FREE
}

inline waitingCopy(blob) {
  if
  :: captured[blob] ->
     atomic { staging > 0 -> staging-- };
     if
     :: atomic { captured[blob] && latch[blob] == FREE -> captured[blob] = false }
     :: !captured[blob]
     fi;
     staging++
  :: !captured[blob]
  fi;
  if
  :: WRITE_STAGED(blob)
  :: !staged[blob]
  fi
}

proctype Checkpointer() {
  byte taken, upTo;
end:
  do
  :: dirty > 0 ->                      /* begins when somebody asks, or at any other time */
     /* 1. Capture */
     pending = true;
     (!inside[0]);
     (!inside[1]);
     atomic {
       assert(appended == published && content[0] == content[1]);
       upTo = appended;
       taken = dirty; dirty = 0;
       captured[0] = true; image[0] = content[0];
       captured[1] = true; image[1] = content[1]
     };
     pending = false;
     /* 2. Log first */
     (durable >= upTo);
     /* 3., 4. Copy and write */
#ifdef STAGING_BEFORE_LATCH
     waitingCopy(0);
     waitingCopy(1);
#else
#ifdef COPIES_IN_ORDER
     do
     :: copy(0)
     :: WRITE_STAGED(0)
     :: !captured[0] && !staged[0] -> break
     od;
     do
     :: copy(1)
     :: WRITE_STAGED(1)
     :: !captured[1] && !staged[1] -> break
     od;
#else
     do
     :: copy(0)
     :: copy(1)
     :: WRITE_STAGED(0)
     :: WRITE_STAGED(1)
     :: !captured[0] && !captured[1] && !staged[0] && !staged[1] -> break
     od;
#endif
#endif
     /* 5. to 8. Sync, commit, retire, trim: the new blobs' frames are clean. */
     atomic {
#ifdef LOG_CREDIT
       credit = credit + taken;
#endif
       frames = frames + taken; taken = 0; upTo = 0
     }
  od
}

init {
  atomic {
    run Writer(0, 0, 1);
    run Writer(1, 1, 0);
    run Reader();
    run Journal();
    run Checkpointer()
  }
}
