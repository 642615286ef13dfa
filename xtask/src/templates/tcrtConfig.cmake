# Targets: tcrt::tcrt, the shared library, and tcrt::static.
get_filename_component(_tcrt_prefix "${CMAKE_CURRENT_LIST_DIR}/../../.." ABSOLUTE)

if(NOT TARGET tcrt::tcrt)
  add_library(tcrt::tcrt SHARED IMPORTED)
  set_target_properties(tcrt::tcrt PROPERTIES
    IMPORTED_LOCATION "${_tcrt_prefix}/lib/libtcrt.so.@VERSION@"
    IMPORTED_SONAME "@SONAME@"
    INTERFACE_INCLUDE_DIRECTORIES "${_tcrt_prefix}/include")
  add_library(tcrt::static STATIC IMPORTED)
  set_target_properties(tcrt::static PROPERTIES
    IMPORTED_LOCATION "${_tcrt_prefix}/lib/libtcrt.a"
    INTERFACE_INCLUDE_DIRECTORIES "${_tcrt_prefix}/include"
    INTERFACE_LINK_LIBRARIES "@SYSTEM_LIBRARIES@")
endif()

unset(_tcrt_prefix)
