// SPDX-License-Identifier: Apache-2.0
// The memory that the models share: every store of a thread waits in the thread's own buffer
// until a process of its own commits it, at any later moment. As it stands buffers are first in,
// first out, as on x86. With -DWEAK stores to different places leave in any order, but a
// release store waits for those before it. Loads read memory; none of the models' threads loads
// what it stores itself.

#define DEPTH 8

typedef store { byte where; byte value; bool release }
typedef store_buffer { store entry[DEPTH]; byte count }
store_buffer buffers[THREADS];
byte memory[PLACES];

inline put(thread, place, what, is_release) {
    atomic {
        buffers[thread].count < DEPTH ->
        buffers[thread].entry[buffers[thread].count].where = place;
        buffers[thread].entry[buffers[thread].count].value = what;
        buffers[thread].entry[buffers[thread].count].release = is_release;
        buffers[thread].count++
    }
}

inline store_plain(thread, place, what) { put(thread, place, what, false) }
inline store_release(thread, place, what) { put(thread, place, what, true) }

// What a read-modify-write that releases waits for: the stores before it.
inline settle(thread) { buffers[thread].count == 0 }

proctype committer(byte thread) {
    byte chosen;
    byte i;
end:
    do
    :: atomic {
        buffers[thread].count > 0 ->
        chosen = 0;
#ifdef WEAK
        do
        :: chosen + 1 < buffers[thread].count -> chosen++
        :: break
        od;
        if
        :: chosen > 0 && buffers[thread].entry[chosen].release -> chosen = 0
        :: else
        fi;
        i = 0;
        do
        :: i < chosen && buffers[thread].entry[i].where == buffers[thread].entry[chosen].where ->
            chosen = i
        :: i < chosen && buffers[thread].entry[i].where != buffers[thread].entry[chosen].where ->
            i++
        :: i >= chosen -> break
        od;
        // An earlier store to the same place went first; it may itself have to wait.
        if
        :: buffers[thread].entry[chosen].release -> chosen = 0
        :: else
        fi;
#endif
        memory[buffers[thread].entry[chosen].where] = buffers[thread].entry[chosen].value;
        i = chosen;
        do
        :: i + 1 < buffers[thread].count ->
            buffers[thread].entry[i].where = buffers[thread].entry[i + 1].where;
            buffers[thread].entry[i].value = buffers[thread].entry[i + 1].value;
            buffers[thread].entry[i].release = buffers[thread].entry[i + 1].release;
            i++
        :: else -> break
        od;
        buffers[thread].count--;
        // One picture of what is equal: unused entries hold zeros.
        buffers[thread].entry[buffers[thread].count].where = 0;
        buffers[thread].entry[buffers[thread].count].value = 0;
        buffers[thread].entry[buffers[thread].count].release = false;
        chosen = 0;
        i = 0
    }
    od
}
