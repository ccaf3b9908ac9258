# The layers of the project, lowest first. A layer sees the headers of all, but tests/unit's include
# check fails on an upward include. Layers from data on include torch headers and share the one
# precompiled header of tandem_pch; those before it must not. src/cuda/*_plugin.cpp belong to the
# plug-in (TandemCuda.cmake); the rest of src/cuda loads it and is light.
set(TANDEM_LIGHT_LAYERS core config store analysis policy methods)
set(TANDEM_TORCH_LAYERS cuda data topology nn readout probes continual plan train eval jobs app)
set(TANDEM_BENCH_LAYER bench)  # a program of its own

add_library(tandem_warnings INTERFACE)
target_compile_options(tandem_warnings INTERFACE
  "$<$<COMPILE_LANGUAGE:CXX>:-Wall;-Wextra;-Wshadow;$<$<BOOL:${TANDEM_WERROR}>:-Werror>>"
  "$<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=-Wall,-Wextra>"
  "$<$<AND:$<COMPILE_LANGUAGE:CUDA>,$<BOOL:${TANDEM_WERROR}>>:-Werror=all-warnings>")

add_library(tandem_base INTERFACE)
target_include_directories(tandem_base INTERFACE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
target_link_libraries(tandem_base INTERFACE tandem_libraries tandem_warnings)

# A compiler call costs 4 s where torch headers are, whatever is in the file: templates that the headers
# leave pending are instantiated at the end of each, precompiled or not. So files of a layer are compiled
# some at a time (names at namespace level must differ within a layer; TANDEM_UNITY=OFF compiles each
# alone, which is quicker where one file changes again and again).
option(TANDEM_UNITY "compile several files of a layer in one go" ON)
function(tandem_join_files target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${TANDEM_UNITY} UNITY_BUILD_BATCH_SIZE 8)
endfunction()

add_library(tandem_kernels OBJECT)
file(GLOB_RECURSE _sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*.cpp)
list(FILTER _sources EXCLUDE REGEX "_(test|bench)\\.cpp$")
target_sources(tandem_kernels PRIVATE ${_sources} ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
target_link_libraries(tandem_kernels PRIVATE tandem_base)
target_compile_options(tandem_kernels PRIVATE -O3 -fno-math-errno -ffp-contract=off)

include(TandemEmbed)       # the .sql files as string constants, the git revision

add_library(tandem_pch OBJECT ${PROJECT_SOURCE_DIR}/cmake/empty.cpp)
target_link_libraries(tandem_pch PRIVATE tandem_base tandem_torch_headers)
target_precompile_headers(tandem_pch PRIVATE ${PROJECT_SOURCE_DIR}/src/data/tensor.h)

add_library(tandem_fmt OBJECT ${PROJECT_SOURCE_DIR}/cmake/empty.cpp
  $<$<BOOL:${TANDEM_FMT_ONCE}>:${PROJECT_SOURCE_DIR}/cmake/fmt_once.cpp>)
target_link_libraries(tandem_fmt PRIVATE tandem_base)

set(_layer_targets tandem_kernels tandem_fmt)
foreach(_layer IN LISTS TANDEM_LIGHT_LAYERS TANDEM_TORCH_LAYERS TANDEM_BENCH_LAYER)
  if(_layer STREQUAL "analysis")
    set(_dir ${PROJECT_SOURCE_DIR}/analysis)
  else()
    set(_dir ${PROJECT_SOURCE_DIR}/src/${_layer})
  endif()
  file(GLOB _sources CONFIGURE_DEPENDS ${_dir}/*.cpp)
  if(_layer STREQUAL "nn")
    file(GLOB _modules CONFIGURE_DEPENDS ${_dir}/attention/*.cpp)
    list(APPEND _sources ${_modules})
  endif()
  list(FILTER _sources EXCLUDE REGEX "/main\\.cpp$|_plugin\\.cpp$")
  add_library(tandem_room_${_layer} OBJECT ${PROJECT_SOURCE_DIR}/cmake/empty.cpp ${_sources})
  target_link_libraries(tandem_room_${_layer} PRIVATE tandem_base)
  if(_layer IN_LIST TANDEM_TORCH_LAYERS OR _layer STREQUAL TANDEM_BENCH_LAYER)
    target_link_libraries(tandem_room_${_layer} PRIVATE tandem_torch_headers)
    if(NOT _layer STREQUAL "cuda")
      target_precompile_headers(tandem_room_${_layer} REUSE_FROM tandem_pch)
    endif()
  endif()
  tandem_join_files(tandem_room_${_layer})
  if(NOT _layer STREQUAL TANDEM_BENCH_LAYER)
    list(APPEND _layer_targets tandem_room_${_layer})
  endif()
endforeach()

function(tandem_objects name)
  add_library(${name} INTERFACE)
  target_link_libraries(${name} INTERFACE tandem_base)
  foreach(_target IN LISTS ARGN)
    target_sources(${name} INTERFACE $<TARGET_OBJECTS:${_target}>)
  endforeach()
endfunction()
set(_light tandem_kernels tandem_fmt tandem_embedded)
foreach(_layer IN LISTS TANDEM_LIGHT_LAYERS)
  list(APPEND _light tandem_room_${_layer})
endforeach()
tandem_objects(tandem_light ${_light})
tandem_objects(tandem_everything ${_layer_targets} tandem_embedded)
target_link_libraries(tandem_everything INTERFACE tandem_torch)
tandem_objects(tandem_benchmarks tandem_room_${TANDEM_BENCH_LAYER})
# Benchmarks take published protocols from the grid files of this tree.
target_compile_definitions(tandem_room_${TANDEM_BENCH_LAYER}
                           PRIVATE TANDEM_EXPERIMENTS="${PROJECT_SOURCE_DIR}/experiments")

# kernels/*/*_bench.cpp, where Google Benchmark is installed: `./tandem build tandem_kernel_bench`.
file(GLOB _benchmarks CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/kernels/*/*_bench.cpp)
if(_benchmarks AND benchmark_FOUND)
  add_executable(tandem_kernel_bench EXCLUDE_FROM_ALL ${_benchmarks})
  target_link_libraries(tandem_kernel_bench PRIVATE tandem_light benchmark::benchmark_main)
endif()
