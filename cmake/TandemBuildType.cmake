# Build types, the compiler cache and sanitizers. Release is -O2: the hot loops are in kernels/, which
# ask for -O3 themselves, and the rest is dominated by the time that torch headers take to compile.
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release CACHE STRING "" FORCE)
endif()
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -DNDEBUG")

# An empty compiler cache makes the first build a tenth longer, and later ones change units of several
# files: it is for those who switch between branches (the dev preset).
option(TANDEM_CCACHE_WANTED "compile through ccache where it is installed" OFF)
if(TANDEM_CCACHE_WANTED)
  find_program(TANDEM_CCACHE ccache)
endif()
if(TANDEM_CCACHE AND NOT DEFINED CMAKE_CXX_COMPILER_LAUNCHER)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env
    CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime ${TANDEM_CCACHE})
endif()
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU" AND CMAKE_CXX_COMPILER_LAUNCHER)
  add_compile_options($<$<COMPILE_LANGUAGE:CXX>:-fpch-preprocess>)  # lets ccache see into the PCH
endif()

if(TANDEM_SANITIZE)
  # vptr needs type information that LibTorch's libraries keep hidden.
  set(_sanitize -fsanitize=${TANDEM_SANITIZE} -fno-sanitize=vptr -fno-sanitize-recover=all)
  add_compile_options("$<$<COMPILE_LANGUAGE:CXX>:${_sanitize};-fno-omit-frame-pointer>")
  add_link_options(${_sanitize})
endif()
