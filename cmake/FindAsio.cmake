# SPDX-License-Identifier: Apache-2.0

# Finds standalone Asio, for which neither Asio nor Debian has a CMake package, and makes runhouse::asio.
# Sets Asio_FOUND, Asio_VERSION, Asio_INCLUDE_DIR (a cache variable: set it to point at another Asio).

find_path(Asio_INCLUDE_DIR NAMES asio/version.hpp)
mark_as_advanced(Asio_INCLUDE_DIR)

if(Asio_INCLUDE_DIR)
  # "#define ASIO_VERSION 102201 // 1.22.1"
  file(STRINGS "${Asio_INCLUDE_DIR}/asio/version.hpp" _asio_line REGEX "^#define ASIO_VERSION [0-9]+")
  string(REGEX MATCH "[0-9]+" _asio_number "${_asio_line}")
  if(_asio_number)
    math(EXPR _asio_major "${_asio_number} / 100000")
    math(EXPR _asio_minor "${_asio_number} / 100 % 1000")
    math(EXPR _asio_patch "${_asio_number} % 100")
    set(Asio_VERSION "${_asio_major}.${_asio_minor}.${_asio_patch}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Asio REQUIRED_VARS Asio_INCLUDE_DIR VERSION_VAR Asio_VERSION)

if(Asio_FOUND AND NOT TARGET runhouse::asio)
  find_package(Threads REQUIRED)
  add_library(runhouse::asio INTERFACE IMPORTED)
  set_target_properties(runhouse::asio PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${Asio_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES Threads::Threads
    # Asio 1.22 finds coroutines by itself with g++ but not with clang and libstdc++. Defining both for every
    # compiler keeps one program's files from disagreeing.
    INTERFACE_COMPILE_DEFINITIONS "ASIO_STANDALONE;ASIO_HAS_CO_AWAIT=1;ASIO_HAS_STD_COROUTINE=1")
endif()
