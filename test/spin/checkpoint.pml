/*
 * A checkpoint round (design, sections 6 and 9): capture, copy, write, sync, commit, publish,
 * retire, trim; against two writers, an evictor, the journal worker, failing store writes, and a
 * crash at any moment.
 *
 * Bytes:       the content of a blob is the set of records that were applied to it, as a mask; so
 *              every lost, doubled or early change shows. A record changes one blob or both, or
 *              deletes blob 1.
 * Crash:       recovery sees only what is synced, and perhaps the manifest record that is being
 *              synced. So R1 is asserted at each step that changes one of these: between such steps
 *              a crash finds nothing else.
 * Invariants:  I1   a frame that is clean equals the published image when it is evicted;
 *              I2   trim seq <= S of the synced manifest, and < every dirty and flushing seq;
 *              I3   the images of a round and its deletes are one cut, at S;
 *              W2D  no image and no mapping reaches the store before its records are durable;
 *              R1   the committed cut at S plus every durable record after it is everything.
 * Bounds:      two blobs, RECORDS records by two writers, ROUNDS rounds; one store write may fail.
 * Left out:    the gate's own protocol (gate.pml: `inGate` and `closed` stand for it), latches
 *              (latch.pml), scarce staging, slots and their reuse (I6), a failed sync (it poisons;
 *              what is on disk then is what a crash finds), the log's own format and torn tails.
 * Variants:    -DRETIRE_WITHOUT_COMPARE, -DTRIM_BEFORE_SYNC, -DBLOB_BEFORE_LOG,
 *              -DCLEAN_BEFORE_DURABLE, -DRETIRE_BEFORE_PUBLISH, -DKEEP_FAILED_IMAGE, -DEVICT_DIRTY,
 *              -DDELETE_WITHOUT_COMMIT, -DCAPTURE_ONE_BY_ONE, -DNO_COPY_ON_WRITE,
 *              -DFAILURE_FORGETS, -DTRIM_TO_END, -DRETIRE_BEFORE_DURABLE: each must be refuted.
 */

#ifndef RECORDS
#define RECORDS 3
#endif
#ifndef ROUNDS
#define ROUNDS 2
#endif
#define NONE 0
#define GONE 255                       /* instead of a content: no such blob */
#define BIT(seq) (1 << ((seq) - 1))
#define UP_TO(seq) ((1 << (seq)) - 1)

/* --- memory: lost in a crash --- */
byte appended;                         /* last seq */
bool latch[2];
bool closed;                           /* the gate */
byte inGate;
byte frame[2];                         /* content of each blob's frame */
bool evicted[2];                       /* there is no frame */
byte dirty[2], flushing[2];            /* seqs, 0 is none */
byte marked[2];                        /* captured mark: round that still needs the frame's bytes */
byte image[2], imageOf[2];             /* staging: preserved content, and of which round */
bool tombstone[2];
byte published[2];                     /* the mapping in shared memory */
byte round;

/* --- disk --- */
byte durable, trimmed;                 /* log: the records above `trimmed`, up to `durable` */
byte slot[2];                          /* fresh slot of this round: handed to the system */
byte slotSynced[2];                    /* and what of it survives */
byte manifest[2];                      /* content that the synced manifest names; GONE */
byte manifestS;
byte next[2];                          /* the same of a manifest record that is not synced yet */
byte nextS;
bool nextWritten;
bool failed;                           /* a store write has failed once */

/* --- ghosts: the log as it was appended --- */
byte touched[2];                       /* mask of the records that change the blob */
byte deletedAt[2];                     /* seq of the record that deletes it */

/* What blob b is after all records up to seq. */
#define WANTED(b, seq) \
  (deletedAt[b] != 0 && deletedAt[b] <= (seq) -> GONE : (touched[b] & UP_TO(seq)))

/* First seq that replay has to find, given the manifest's S. */
#define REPLAYED(s) (UP_TO(durable) & ~UP_TO(s) & ~UP_TO(trimmed))

/* What recovery makes of blob b out of a manifest (c, s) and the log. */
#define RECOVERED(b, c, s) \
  ((c) == GONE || (deletedAt[b] != 0 && (BIT(deletedAt[b]) & REPLAYED(s)) != 0) \
    -> GONE : ((c) | (touched[b] & REPLAYED(s))))

#define R1(b, c, s) \
  assert((s) <= durable && (c) == WANTED(b, s) && RECOVERED(b, c, s) == WANTED(b, durable))

/* Part of every step after which a crash would find something new. */
inline crashHere() {
  R1(0, manifest[0], manifestS);
  R1(1, manifest[1], manifestS);
  if
  :: nextWritten -> R1(0, next[0], nextS); R1(1, next[1], nextS)
  :: else
  fi
}

/* --- writers --- */

/* Before the first change after the capture the old bytes are kept for the round. */
inline preserve(b) {
#ifndef NO_COPY_ON_WRITE
  if
  :: marked[b] != NONE -> d_step { image[b] = frame[b]; imageOf[b] = marked[b]; marked[b] = NONE }
  :: else
  fi
#else
  skip
#endif
}

/* A miss reads what the published mapping names. */
inline load(b) {
  d_step {
    if
    :: evicted[b] -> frame[b] = published[b]; evicted[b] = false
    :: else
    fi
  }
}

inline setDirty(b) {
  if
  :: dirty[b] == 0 -> dirty[b] = appended
  :: else                              /* already lower: the minimum */
  fi
}

#define GONE_NOW (tombstone[1] || published[1] == GONE)

/* Writer 0 changes blob 0 or both, writer 1 changes or deletes blob 1. */
proctype Writer(byte me) {
  bool both, gone;
  byte one;
  do
  :: appended >= RECORDS -> break
  :: appended < RECORDS ->
     /* Which blobs, their latches and their frames: gate.pml shows how that is done. */
     atomic {
       if
       :: me == 0 && !latch[0] && !latch[1] -> both = true; latch[0] = true; latch[1] = true
       :: me == 0 && !latch[0] -> latch[0] = true
       :: me == 1 && !latch[1] -> one = 1; latch[1] = true
       fi;
       if
       :: GONE_NOW && (both || one == 1) -> gone = true
       :: else ->
          load(one);
          if
          :: both -> load(1)
          :: else
          fi
       fi
     };
     if
     :: gone -> gone = false
     :: !gone ->
        atomic { !closed -> inGate++ };
        if
        :: appended == RECORDS
        :: appended < RECORDS && one == 1 && deletedAt[1] == 0 ->
           /* op.delete: the bytes stay, the store keeps the blob until the round commits. */
           d_step {
             appended++;
             deletedAt[1] = appended;
             tombstone[1] = true;
             dirty[1] = 0;
#ifdef DELETE_WITHOUT_COMMIT
             manifest[1] = GONE;
             crashHere()
#endif
           }
        :: appended < RECORDS ->
           preserve(one);
           if
           :: both -> preserve(1)
           :: else
           fi;
           d_step {                    /* reserve the seq: the record is in the ring */
             appended++;
             touched[one] = touched[one] | BIT(appended);
             frame[one] = frame[one] | BIT(appended);
             setDirty(one);
             if
             :: both ->
                touched[1] = touched[1] | BIT(appended);
                frame[1] = frame[1] | BIT(appended);
                setDirty(1)
             :: else
             fi
           }
        fi;
        inGate--
     fi;
     d_step {
       latch[one] = false;
       if
       :: both -> latch[1] = false
       :: else
       fi;
       both = false; one = 0
     }
  od
}

/* --- eviction: the one rule --- */

#ifdef EVICT_DIRTY
#define MAY_EVICT(b) (flushing[b] == 0 && marked[b] == NONE && !tombstone[b])
#else
#define MAY_EVICT(b) \
  (dirty[b] == 0 && flushing[b] == 0 && marked[b] == NONE && !tombstone[b])
#endif

proctype Evictor() {
end:
  do
  :: d_step {
       !latch[0] && !evicted[0] && MAY_EVICT(0) ->
       assert(frame[0] == published[0]);
       evicted[0] = true; frame[0] = 0
     }
  :: d_step {
       !latch[1] && !evicted[1] && MAY_EVICT(1) ->
       assert(frame[1] == published[1]);
       evicted[1] = true; frame[1] = 0
     }
  od
}

/* --- journal worker: only whole records, in order --- */

proctype Journal() {
end:
  do
  :: d_step { durable < appended -> durable++; crashHere() }
  od
}

/* --- rounds --- */

inline capture(b) {
  if
  :: dirty[b] != 0 && !tombstone[b] ->
     flushing[b] = dirty[b]; dirty[b] = 0; marked[b] = round
  :: else -> marked[b] = NONE
  fi;
  if
  :: tombstone[b] && deletedAt[b] != 0 -> deleting[b] = true
  :: else
  fi
}

/* The checkpointer's copy, under the latch, unless a writer was faster. */
inline copy(b) {
  if
  :: flushing[b] == 0
  :: flushing[b] != 0 ->
     if
     :: atomic { marked[b] != NONE && !latch[b] -> latch[b] = true };
#ifdef KEEP_FAILED_IMAGE
        if
        :: imageOf[b] == NONE -> image[b] = frame[b]
        :: else                        /* there is an image already: a stale one */
        fi;
#else
        image[b] = frame[b];
#endif
        d_step { imageOf[b] = round; marked[b] = NONE; latch[b] = false }
     :: marked[b] == NONE
     fi
  fi
}

/* Phase 4; one write in all may fail. */
inline write(b) {
  if
  :: flushing[b] == 0 || bad
  :: flushing[b] != 0 && !bad ->
     if
     :: d_step {
          assert((image[b] & ~UP_TO(durable)) == 0);  /* W2D */
          slot[b] = image[b];
          image[b] = 0; imageOf[b] = NONE
        }
     :: atomic { !failed -> failed = true; bad = true }
     fi
  fi
}

inline putBack(b) {
  if
#ifndef FAILURE_FORGETS
  :: flushing[b] != 0 && !tombstone[b] -> dirty[b] = flushing[b]  /* lower than any set since */
#endif
  :: else
  fi;
#ifndef KEEP_FAILED_IMAGE
  image[b] = 0; imageOf[b] = NONE;     /* nobody reads it before the next capture discards it */
#endif
  flushing[b] = 0; marked[b] = NONE; deleting[b] = false
}

inline nextOf(b) {
  if
  :: deleting[b] -> next[b] = GONE
  :: !deleting[b] && held[b] != 0 -> next[b] = slotSynced[b]
  :: else -> next[b] = manifest[b]
  fi
}

inline retire(b) {
#ifdef RETIRE_WITHOUT_COMPARE
  d_step { dirty[b] = 0; flushing[b] = 0 };
#else
  d_step {
#ifndef RETIRE_BEFORE_DURABLE
    assert(flushing[b] == held[b]);    /* rounds are alone: the comparison never fails */
#endif
    flushing[b] = 0
  };
#endif
  if
  :: deleting[b] ->                    /* the tombstone goes, its frame is free */
     d_step { deleting[b] = false; tombstone[b] = false; evicted[b] = true; frame[b] = 0 }
  :: else
  fi;
  held[b] = 0
}

proctype Checkpointer() {
  byte upTo;
  bool bad;
  bool deleting[2];
  byte held[2];                        /* flushing seqs as captured */
  do
  :: round == ROUNDS -> break
  :: round < ROUNDS ->
     /* 1. Capture under the closed gate. */
     closed = true;
     (inGate == 0);
#ifdef CAPTURE_ONE_BY_ONE
     d_step { round++; upTo = appended; capture(0) };
     closed = false;
     d_step { capture(1); held[0] = flushing[0]; held[1] = flushing[1] };
#else
     d_step {
       round++; upTo = appended;
       capture(0); capture(1);
       held[0] = flushing[0]; held[1] = flushing[1]
     };
     closed = false;
#endif

     /* 2. Log first. */
#ifndef BLOB_BEFORE_LOG
     (durable >= upTo);
#endif

#ifdef CLEAN_BEFORE_DURABLE
     /* Copied and taken for clean, before anything is written. */
     copy(0); copy(1);
     d_step { slot[0] = image[0]; slot[1] = image[1]; flushing[0] = 0; flushing[1] = 0 };
#endif

     /* 3. Copy, 4. write. */
     copy(0);
     write(0);
     copy(1);
     write(1);
     if
     :: bad ->
        d_step {
          bad = false; upTo = 0;
          putBack(0); putBack(1);
          held[0] = 0; held[1] = 0; slot[0] = 0; slot[1] = 0
        }
     :: else ->
#ifdef RETIRE_BEFORE_DURABLE
        /* Written is taken for durable. */
        d_step { flushing[0] = 0; flushing[1] = 0 };
#endif
        /* 5. Sync the data. */
        d_step { slotSynced[0] = slot[0]; slotSynced[1] = slot[1] };
        /* 6. Commit: one manifest record, then its sync. */
        d_step { nextOf(0); nextOf(1); nextS = upTo; nextWritten = true; crashHere() };
#ifdef TRIM_BEFORE_SYNC
        d_step { trimmed = upTo; crashHere() };
#endif
        d_step {
          manifest[0] = next[0]; manifest[1] = next[1]; manifestS = nextS;
          nextWritten = false; next[0] = 0; next[1] = 0; nextS = 0;
          crashHere()
        };
#ifdef RETIRE_BEFORE_PUBLISH
        retire(0); retire(1);
#endif
        /* 7. Publish, then retire. */
        d_step { published[0] = manifest[0]; published[1] = manifest[1] };
#ifndef RETIRE_BEFORE_PUBLISH
        retire(0); retire(1);
#endif
        /* 8. Trim; I2. */
        d_step {
#ifdef TRIM_TO_END
          trimmed = durable;
#else
          trimmed = upTo;
#endif
          assert(trimmed <= manifestS);
          assert(dirty[0] == 0 || trimmed < dirty[0]);
          assert(dirty[1] == 0 || trimmed < dirty[1]);
          assert(flushing[0] == 0 && flushing[1] == 0);
          upTo = 0;
          crashHere();
          slot[0] = 0; slot[1] = 0; slotSynced[0] = 0; slotSynced[1] = 0
        }
     fi
  od
}

init {
  atomic {
    run Writer(0);
    run Writer(1);
    run Evictor();
    run Journal();
    run Checkpointer()
  }
}
