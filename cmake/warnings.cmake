# SPDX-License-Identifier: Apache-2.0

# What our own tests, examples and benchmarks are compiled with. It is no part of runhouse::runhouse.
add_library(runhouse_warnings INTERFACE)
target_compile_options(runhouse_warnings INTERFACE -Wall -Wextra -Wpedantic -Wconversion -Wshadow -Werror)

if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  if(CMAKE_CXX_COMPILER_VERSION VERSION_LESS 13)
    # Sees an overlap in every "text" + std::string at -O2: GCC bug 105651.
    target_compile_options(runhouse_warnings INTERFACE -Wno-restrict)
  endif()
  if(RUNHOUSE_SANITIZE)
    # GCC's manual says that sanitizers make the first find what is not there. The second is about Asio's fences.
    target_compile_options(runhouse_warnings INTERFACE -Wno-maybe-uninitialized -Wno-tsan)
  endif()
endif()
