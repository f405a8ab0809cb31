// SPDX-License-Identifier: Apache-2.0
// expect: runhouse: a raw pointer means nothing on another machine; use a value, a std::unique_ptr or a std::shared_ptr
// lines: 15
#include <runhouse/send.hpp>

struct list {
  int value;
  list* next;
  template <class Archive>
  void serialize(Archive& ar) {
    ar(value, next);
  }
};
int length(const list& l) { return l.next == nullptr ? 1 : 2; }

void program(rh::cluster there) {
  auto length_there = there.send<&length>();
  auto call = length_there(list{1, nullptr});
}
