// SPDX-License-Identifier: Apache-2.0
// core/mesh: credits and slots of the calls of one shard to another. The caller takes a credit and
// claims a slot for each request; the callee claims one for each reply, at once or later, and
// either may be published at any moment, in the middle of a drain too. The callee releases the
// slots of requests batch by batch, the caller those of replies when it has read what was there,
// and only then takes the credits back. Levels of nested calls add up to the credits here.
//
// Checked: whoever claims has room (mesh_options::capacity() says why), every slot is read whole
// and in order before it is written again, and all calls are answered.
//
// Mutants, each of which must fail: see scripts/model.

#define CREDITS 2
#define BATCH 2
#ifndef CALLS
#define CALLS 6
#endif

#ifdef MUTANT_NO_SLACK
#define REQUESTS CREDITS
#else
#define REQUESTS (CREDITS + BATCH)
#endif
#define REPLIES CREDITS

#define THREADS 2
#define CALLER 0
#define CALLEE 1
#define REQUEST(at) ((at) % REQUESTS)
#define REPLY(at) (4 + (at) % REPLIES)
#define REQUEST_CURSOR 6
#define REQUEST_GATE 7
#define REPLY_CURSOR 8
#define REPLY_GATE 9
#define PLACES 10

#include "store_buffers.pml"

// A send while there is a credit; it becomes visible now or later.
inline send() {
    credits--;
    sent++;
    assert(sent - memory[REQUEST_GATE] <= REQUESTS);
    store_plain(CALLER, REQUEST(sent), sent);
    if
    :: true
    :: shown = sent; store_release(CALLER, REQUEST_CURSOR, shown)
    fi
}

proctype caller() {
    byte credits = CREDITS;
    byte sent = 0;
    byte shown = 0;
    byte read = 0;
    byte seen = 0;
    byte returned = 0;

    do
    :: read == CALLS -> break
    :: sent < CALLS && credits > 0 -> send()
    :: shown < sent -> shown = sent; store_release(CALLER, REQUEST_CURSOR, shown)
    :: memory[REPLY_CURSOR] > read ->
        seen = memory[REPLY_CURSOR];
        do
        :: read < seen ->
            read++;
            assert(memory[REPLY(read)] == read);
#ifdef MUTANT_HURRIED_CREDITS
            credits++;
            if
            :: sent < CALLS -> send()
            :: else
            fi
#else
            returned++
#endif
        :: else -> break
        od;
#ifdef MUTANT_CREDITS_BEFORE_RELEASE
        credits = credits + returned;
        returned = 0;
        if
        :: sent < CALLS -> send()
        :: else
        fi;
#endif
        store_release(CALLER, REPLY_GATE, read);
        credits = credits + returned;
        returned = 0;
        seen = 0
    od
}

inline answer() {
    answered++;
    assert(answered - memory[REPLY_GATE] <= REPLIES);
    store_plain(CALLEE, REPLY(answered), answered);
    if
    :: true
    :: shown = answered; store_release(CALLEE, REPLY_CURSOR, shown)
    fi
}

proctype callee() {
    byte read = 0;
    byte seen = 0;
    byte batch = 0;
    byte running = 0;  // handlers that wait for something
    byte answered = 0;
    byte shown = 0;

    do
    :: shown == CALLS -> break
    :: running > 0 -> running--; answer()
    :: shown < answered -> shown = answered; store_release(CALLEE, REPLY_CURSOR, shown)
    :: memory[REQUEST_CURSOR] > read ->
        seen = memory[REQUEST_CURSOR];
        do
        :: read < seen && batch < BATCH ->
            read++;
#ifndef MUTANT_LATE_RELEASE
            batch++;
#endif
            assert(memory[REQUEST(read)] == read);
            if
            :: running++
            :: answer()
            fi;
#ifdef MUTANT_LATE_RELEASE
            if
            :: memory[REQUEST_CURSOR] > seen -> seen = memory[REQUEST_CURSOR]
            :: true
            fi
#endif
        :: else -> break
        od;
        store_release(CALLEE, REQUEST_GATE, read);
        batch = 0;
        seen = 0
    od
}

init {
    atomic {
        run committer(CALLER);
        run committer(CALLEE);
        run caller();
        run callee()
    }
}
