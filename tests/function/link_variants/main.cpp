// SPDX-License-Identifier: Apache-2.0
// The only file that includes main.hpp; compiled once for all variants.
#include "checks.hpp"

#include <runhouse/main.hpp>

#include <cstdio>
#include <dlfcn.h>
#include <stdexcept>
#include <string_view>

int main(int argc, char** argv) {
  rh::serve_if_asked(argc, argv);
  if (argc == 2 && std::string_view(argv[1]) == "identity") {
    std::puts(rh::detail::short_text(rh::detail::program_identity()).c_str());
    return 0;
  }
  try {
    const auto there = rh::local(1);
    check_a(there);
    check_b(there);
    check_static(there);
    check_shared(there);
    check_own_local();
    // A library that is opened later: no worker has it, and its calls say so; everything else goes on as before, also
    // in a worker that starts only now.
    if (argc > 1) {
      void* const plugin = ::dlopen(argv[1], RTLD_NOW | RTLD_GLOBAL);
      if (plugin == nullptr) throw std::runtime_error(::dlerror());
      const auto later = rh::local(1);
      reinterpret_cast<void (*)(const rh::cluster&)>(::dlsym(plugin, "check_plugin"))(later);
      check_a(later);
      check_shared(later);
    }
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s\n", e.what());
    return 1;
  }
  std::puts("right");
}
