# SPDX-License-Identifier: Apache-2.0
# find_package(weir) gives the target weir::weir, and weir::sim for programs that simulate; what
# the first links is what weir.pc says.
find_package(PkgConfig REQUIRED)
get_filename_component(_weir_libdir "${CMAKE_CURRENT_LIST_DIR}/../.." ABSOLUTE)
set(_weir_pkg_config_path "$ENV{PKG_CONFIG_PATH}")
set(ENV{PKG_CONFIG_PATH} "${_weir_libdir}/pkgconfig:$ENV{PKG_CONFIG_PATH}")
pkg_check_modules(WEIR REQUIRED QUIET IMPORTED_TARGET weir)
set(ENV{PKG_CONFIG_PATH} "${_weir_pkg_config_path}")
set(weir_VERSION "${WEIR_VERSION}")
if(NOT TARGET weir::weir)
  add_library(weir::weir INTERFACE IMPORTED)
  target_link_libraries(weir::weir INTERFACE PkgConfig::WEIR)
  target_compile_features(weir::weir INTERFACE cxx_std_20)
endif()
if(NOT TARGET weir::sim)
  add_library(weir::sim INTERFACE IMPORTED)
  target_link_libraries(weir::sim INTERFACE
    "-Wl,--whole-archive,${_weir_libdir}/libweir_sim_memory.a,--no-whole-archive"
    "${_weir_libdir}/libweir_sim.a" weir::weir)
endif()
