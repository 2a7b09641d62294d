// SPDX-License-Identifier: Apache-2.0
// A user's own test of a service in the simulator: a killed host's memory is freed, so it says
// whether the simulator's operator new was linked, too.
#include <chrono>
#include <cstdio>

#include <weir/core/coroutine.hh>
#include <weir/core/sleep.hh>
#include <weir/io/sim/memory.hh>
#include <weir/io/sim/world.hh>

using namespace weir;
using namespace std::chrono_literals;

int main() {
    io::sim::world world(1);
    auto& tested = world.add_host("tested", 2);
    tested.start([](host& own) -> future<> {
        co_await sleep_for(1s);
        co_await own.until_stop();
    });
    world.run_for(2s);
    world.kill(tested);
    world.restart(tested);
    world.run_for(2s);
    const bool right = tested.running() && tested.starts() == 2 && io::sim::memory::tagged();
    std::puts(right ? "simulated" : "the simulator's memory is not linked");
    return right ? 0 : 1;
}
