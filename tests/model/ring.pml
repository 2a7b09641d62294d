// SPDX-License-Identifier: Apache-2.0
// core/sequencer.hh and core/ring_gate.hh: one producer, two readers, a ring of two slots. The
// first reader stays to the end, the second leaves whenever it likes and then frees its gate.
// Here sequences count from 1, so that 0 is the slot that holds nothing; a gate and the cursor
// hold the last released and published sequence, as in the code.
//
// Checked: each reader sees every element until it leaves, once, in order, whole; nothing is
// destroyed or overwritten that a reader still wants; a gate isn't looked at after it was freed;
// and the first reader gets to the end (no state without a way on).
//
// Mutants, each of which must fail: see scripts/model.

#define CAPACITY 2
#define LAST 4
#define NEVER 255

#define THREADS 3
#define PRODUCER 0
#define SLOT(at) ((at) % CAPACITY)
#define CURSOR 2
#define END 3
#define GATE(reader) (3 + (reader))
#define JOINED(reader) (5 + (reader))
#define PLACES 8

#include "store_buffers.pml"

bool freed[3];  // by its reader; no look at the gate is allowed from then on

proctype producer() {
    byte claimed = 0;
    byte published = 0;
    byte reclaimed = 0;
    byte slowest;
    byte value;
    byte reader;
    byte room;
    byte saw[3];
    bool listed[3];
    listed[1] = true;
    listed[2] = true;

    do
    :: reclaimed == LAST && !listed[1] && !listed[2] -> break
    :: else ->
        // claim(1); the caller may claim again before it publishes.
        if
        :: claimed < LAST ->
            room = reclaimed + CAPACITY - claimed;
#ifdef MUTANT_CLAIM_ONE_TOO_MANY
            room++;
#endif
            if
            :: room > 0 ->
                claimed++;
#ifdef MUTANT_PUBLISH_BEFORE_WRITE
                store_release(PRODUCER, CURSOR, claimed);
                published = claimed;
#endif
                // The element is constructed.
                store_plain(PRODUCER, SLOT(claimed), claimed)
            :: else
            fi
        :: else -> room = 0
        fi;

        // publish() of what is claimed so far, or of its older half.
        if
        :: published < claimed ->
            if
            :: published = claimed
            :: published++
            :: claimed - published < CAPACITY && room > 0  // claim once more first
            fi;
#ifdef MUTANT_RELAXED_PUBLISH
            store_plain(PRODUCER, CURSOR, published);
#else
            store_release(PRODUCER, CURSOR, published);
#endif
            if
            :: published == LAST -> store_plain(PRODUCER, END, LAST)
            :: else
            fi
        :: else
        fi;

        // reclaim(): as claim() does it when it finds no room, or once a turn.
        if
        :: room == 0 || published == claimed ->
            slowest = published;
            reader = 1;
            do
            :: reader <= 2 && listed[reader] ->
                assert(!freed[reader]);
                value = memory[GATE(reader)];
                saw[reader] = value;
                if
                :: value == NEVER ->
                    listed[reader] = false;
                    store_release(PRODUCER, JOINED(reader), 0)
                :: value != NEVER && value < slowest -> slowest = value
                :: else
                fi;
                reader++
            :: reader <= 2 && !listed[reader] -> reader++
            :: reader > 2 -> break
            od;
#ifdef MUTANT_STALE_GATE
            slowest = published;
#endif
            do
            :: reclaimed < slowest ->
                reclaimed++;
                // The element is destroyed.
                store_plain(PRODUCER, SLOT(reclaimed), 0)
            :: else -> break
            od;
#ifdef MUTANT_CLAIM_MOVES_CURSOR
            store_release(PRODUCER, CURSOR, reclaimed + CAPACITY);
#endif
            value = 0;
            slowest = 0;
            reader = 0
        :: else
        fi;

        // Polling gates that stay as they are changes nothing: wait until one moves.
        if
        :: published == claimed && (claimed == LAST || reclaimed + CAPACITY == claimed) ->
            if
            :: listed[1] && memory[GATE(1)] != saw[1]
            :: listed[2] && memory[GATE(2)] != saw[2]
            :: !listed[1] && !listed[2]
            fi
        :: else
        fi
    od
}

proctype reader(byte me; bool may_leave) {
    byte next = 1;
    byte seen = 0;
    byte early;

    do
    :: memory[END] != 0 && next > memory[END] -> break
    :: may_leave -> break
#ifdef MUTANT_READ_BEFORE_CURSOR
    :: true ->
        early = memory[SLOT(next)];
        if
        :: memory[CURSOR] >= next
        :: memory[END] != 0 && next > memory[END] -> break
        fi;
#else
    :: memory[CURSOR] >= next ->
#endif
        seen = memory[CURSOR];
        do
        :: seen >= next ->
#ifdef MUTANT_RELEASE_BEFORE_READ
            store_release(me, GATE(me), next);
#endif
#ifdef MUTANT_READ_BEFORE_CURSOR
            assert(early == next);
            early = memory[SLOT(next + 1)];
#else
            assert(memory[SLOT(next)] == next);
#endif
            next++;
            if
            :: break  // releases what it has so far
            :: seen >= next
            fi
        :: else -> break
        od;
#ifndef MUTANT_RELEASE_BEFORE_READ
        store_release(me, GATE(me), next - 1)
#endif
    od;

    store_release(me, GATE(me), NEVER);
#ifndef MUTANT_FREE_WHILE_JOINED
    memory[JOINED(me)] == 0;
#else
    settle(me);
#endif
    freed[me] = true
}

init {
    atomic {
        memory[JOINED(1)] = 1;
        memory[JOINED(2)] = 1;
        run committer(0);
        run committer(1);
        run committer(2);
        run producer();
        run reader(1, false);
        run reader(2, true)
    }
}
