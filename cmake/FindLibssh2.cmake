# SPDX-License-Identifier: Apache-2.0

# Finds the headers of libssh2, for which Debian has no CMake package, and makes runhouse::libssh2. The library itself is
# loaded while a program runs, where there is one, so nothing is linked but what loads it.
# Sets Libssh2_FOUND, Libssh2_VERSION, Libssh2_INCLUDE_DIR (a cache variable: set it to point at another libssh2).

find_path(Libssh2_INCLUDE_DIR NAMES libssh2.h)
mark_as_advanced(Libssh2_INCLUDE_DIR)

if(Libssh2_INCLUDE_DIR)
  # '#define LIBSSH2_VERSION    "1.10.0"'
  file(STRINGS "${Libssh2_INCLUDE_DIR}/libssh2.h" _libssh2_line REGEX "^#define LIBSSH2_VERSION +\"")
  string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" Libssh2_VERSION "${_libssh2_line}")
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Libssh2 REQUIRED_VARS Libssh2_INCLUDE_DIR VERSION_VAR Libssh2_VERSION)

if(Libssh2_FOUND AND NOT TARGET runhouse::libssh2)
  add_library(runhouse::libssh2 INTERFACE IMPORTED)
  set_target_properties(runhouse::libssh2 PROPERTIES
    INTERFACE_INCLUDE_DIRECTORIES "${Libssh2_INCLUDE_DIR}"
    INTERFACE_LINK_LIBRARIES "${CMAKE_DL_LIBS}")
endif()
