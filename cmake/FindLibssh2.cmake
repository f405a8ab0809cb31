# SPDX-License-Identifier: Apache-2.0

# Finds libssh2 and makes runhouse::libssh2, whichever of its names it goes by: upstream's, vcpkg's and Conan's CMake
# packages (libssh2 or Libssh2), else pkg-config, which is all that Debian has, else the library itself.
# Sets Libssh2_FOUND and Libssh2_VERSION.

if(NOT TARGET runhouse::libssh2)
  # Not by the name Libssh2: CONFIG mode would then overwrite the variables of this module.
  find_package(libssh2 CONFIG QUIET NAMES libssh2 Libssh2)
  foreach(_libssh2_target libssh2::libssh2 Libssh2::libssh2 libssh2::libssh2_shared Libssh2::libssh2_shared)
    if(TARGET ${_libssh2_target})
      add_library(runhouse::libssh2 INTERFACE IMPORTED)
      set_target_properties(runhouse::libssh2 PROPERTIES INTERFACE_LINK_LIBRARIES ${_libssh2_target})
      set(Libssh2_VERSION "${libssh2_VERSION}")
      set(_libssh2_library ${_libssh2_target})
      break()
    endif()
  endforeach()
endif()

if(NOT TARGET runhouse::libssh2)
  # pkg-config only says where to look: what its static part lists is not all installed on Debian.
  find_package(PkgConfig QUIET)
  if(PkgConfig_FOUND)
    pkg_check_modules(_libssh2_pc QUIET libssh2)
  endif()
  find_path(Libssh2_INCLUDE_DIR NAMES libssh2.h HINTS ${_libssh2_pc_INCLUDE_DIRS})
  find_library(Libssh2_LIBRARY NAMES ssh2 libssh2 HINTS ${_libssh2_pc_LIBRARY_DIRS})
  mark_as_advanced(Libssh2_INCLUDE_DIR Libssh2_LIBRARY)
  if(Libssh2_INCLUDE_DIR AND Libssh2_LIBRARY)
    file(STRINGS "${Libssh2_INCLUDE_DIR}/libssh2.h" _libssh2_line REGEX "^#define LIBSSH2_VERSION +\"")
    string(REGEX MATCH "[0-9]+\\.[0-9]+\\.[0-9]+" Libssh2_VERSION "${_libssh2_line}")
    add_library(runhouse::libssh2 UNKNOWN IMPORTED)
    set_target_properties(runhouse::libssh2 PROPERTIES
      IMPORTED_LOCATION "${Libssh2_LIBRARY}"
      INTERFACE_INCLUDE_DIRECTORIES "${Libssh2_INCLUDE_DIR}")
    set(_libssh2_library "${Libssh2_LIBRARY}")
  endif()
endif()

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(Libssh2 REQUIRED_VARS _libssh2_library VERSION_VAR Libssh2_VERSION)
