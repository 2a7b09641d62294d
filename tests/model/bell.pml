// SPDX-License-Identifier: Apache-2.0
// How two shards sleep and wake each other. Each has a ring of two slots to the other, and a bell
// word: one bit for its peer, one that says ASLEEP. A turn takes the bells, drains if its peer
// rang, sends what there is room for, and rings once for messages and for the gate that it moved.
// A shard that found nothing to do sleeps, by compare-and-swap from a silent bell.
//
// Checked: every message arrives once, in order, whole, and nobody is parked for ever while a
// message waits or a full ring has been emptied (no state without a way on).
//
// Mutants, each of which must fail: see scripts/model.

#define CAPACITY 2
#ifndef MESSAGES
#define MESSAGES 3
#endif
#define RANG 1
#define ASLEEP 2

#define THREADS 2
// The ring from shard `from` to the other, and the bell of shard `of`.
#define SLOT(from, at) ((from) * 4 + (at) % CAPACITY)
#define CURSOR(from) ((from) * 4 + 2)
#define GATE(from) ((from) * 4 + 3)
#define BELL(of) (8 + (of))
#define PLACES 10

#include "store_buffers.pml"

bool wake[2];  // what an eventfd remembers, or a message to the other's kernel ring

inline ring_the_bell() {
#ifdef MUTANT_PLAIN_RING
    old = memory[BELL(peer)];
    store_release(me, BELL(peer), old | RANG);
#else
    atomic {
#ifndef MUTANT_RELAXED_RING
        settle(me);
#endif
        old = memory[BELL(peer)];
        memory[BELL(peer)] = old | RANG
    }
#endif
#ifndef MUTANT_NO_WAKE
    if
    :: (old & ASLEEP) && !(old & RANG) -> wake[peer] = true  // once a sleep
    :: else
    fi;
#endif
    old = 0
}

inline take_the_bells() {
    atomic {
        settle(me);
        bells = memory[BELL(me)];
        memory[BELL(me)] = 0
    }
}

inline drain() {
    do
    :: memory[CURSOR(peer)] > received ->
        received++;
        assert(memory[SLOT(peer, received)] == received);
        worked = true;
#ifndef MUTANT_NO_RING_FOR_GATES
        dirty = true
#endif
    :: else -> break
    od;
    if
    :: worked -> store_release(me, GATE(peer), received)
    :: else
    fi
}

inline send() {
    do
    :: sent < MESSAGES && sent < memory[GATE(me)] + CAPACITY ->
        sent++;
        store_plain(me, SLOT(me, sent), sent);
        worked = true;
#ifdef MUTANT_BELL_BEFORE_PUBLISH
        ring_the_bell();
#else
        dirty = true;
#endif
        store_release(me, CURSOR(me), sent);
        if
        :: break  // one this turn, the rest in another
        :: true
        fi
    :: else -> break
    od
}

proctype shard(byte me) {
    byte peer = 1 - me;
    byte sent = 0;
    byte received = 0;
    byte bells = 0;
    byte old = 0;
    bool worked = false;
    bool dirty = false;

    do
    :: true ->
#ifdef MUTANT_DRAIN_BEFORE_EXCHANGE
        drain();
        take_the_bells();
#else
        take_the_bells();
        if
        :: bells & RANG -> drain()
        :: else
        fi;
#endif
        bells = 0;
        send();
        if
        :: dirty -> ring_the_bell()
        :: else
        fi;
        if
        :: worked
        :: !worked && sent == MESSAGES && received == MESSAGES -> break
        :: !worked && (sent < MESSAGES || received < MESSAGES) ->
#ifdef MUTANT_PLAIN_SLEEP
            bells = memory[BELL(me)];
            if
            :: bells == 0 ->
                store_plain(me, BELL(me), ASLEEP);
                settle(me);
                old = ASLEEP
            :: else
            fi;
            bells = 0;
#else
            atomic {
                settle(me);
                if
                :: memory[BELL(me)] == 0 -> memory[BELL(me)] = ASLEEP; old = ASLEEP
                :: else
                fi
            }
#endif
            if
            :: old == ASLEEP ->
                old = 0;
                atomic { wake[me] -> wake[me] = false }  // parked
            :: else
            fi
        fi;
        worked = false;
        dirty = false
    od
}

init {
    atomic {
        run committer(0);
        run committer(1);
        run shard(0);
        run shard(1)
    }
}
