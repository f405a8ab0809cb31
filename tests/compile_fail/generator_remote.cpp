// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a generator gives its values as a stream; call it, or enqueue() it
#include <runhouse/send.hpp>

rh::generator<int> count(int to) { co_yield to; }

void program(rh::cluster there) { auto kept = there.send<&count>().remote(1); }
