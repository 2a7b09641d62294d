// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <broker/server/request.hh>

#include <weir/core/future.hh>

namespace weir::broker {

class broker;

/// Has a request done. A produce has its place in its connection's line when this returns, so what
/// successive ones ask of a partition arrives there in order.
/// asked    lives until the future is settled
/// fails    the connection has to be closed
future<answer> dispatch(broker& here, request& asked);

// One handler an API, each in a file of its own.
future<answer> produce(broker& here, request& asked);
future<answer> fetch(broker& here, request& asked);
future<answer> list_offsets(broker& here, request& asked);
future<answer> metadata(broker& here, request& asked);

}  // namespace weir::broker
