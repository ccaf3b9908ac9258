# libtandem_cuda.so, the one thing that needs CUDA: built where nvcc and a LibTorch with CUDA are found,
# loaded with dlopen (src/cuda/plugin.h). Undefined symbols are allowed: the program that loads it
# provides Tandem's own, and the CUDA libraries that libtorch_cuda.so wants need not be on the machine
# that builds. CMake 3.25 takes CUDA's standard from CXX's but does not know nvcc's option for C++20;
# it is told. The .cu files are a target of their own, which sees no torch header.
if(TANDEM_CUDA STREQUAL "OFF")
  return()
endif()
file(GLOB _plugin CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*_plugin.cpp)
file(GLOB _cu CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/cuda/*.cu ${PROJECT_SOURCE_DIR}/kernels/*/*.cu)
if(NOT _plugin)
  return()
endif()
if(NOT CMAKE_CUDA_ARCHITECTURES)
  set(CMAKE_CUDA_ARCHITECTURES "80-real;90")  # A100 and H100; later ones compile the 90's PTX when they load it
endif()
include(CheckLanguage)
check_language(CUDA)
if(CMAKE_CUDA_COMPILER AND TARGET tandem::torch_cuda)
  enable_language(CUDA)
  foreach(_kind STANDARD EXTENSION)
    if(NOT CMAKE_CUDA20_${_kind}_COMPILE_OPTION)
      set(CMAKE_CUDA20_${_kind}_COMPILE_OPTION "-std=c++20")
    endif()
  endforeach()
  find_package(CUDAToolkit)
endif()
if(NOT CUDAToolkit_FOUND)
  if(TANDEM_CUDA STREQUAL "ON")
    message(FATAL_ERROR "TANDEM_CUDA=ON, but nvcc (CUDA Toolkit 13) or libtorch_cuda.so was not found. "
      "Put nvcc on PATH, or leave TANDEM_CUDA at AUTO: all but the GPU path works without it.")
  endif()
  message(STATUS "CUDA plug-in: not built (no nvcc, or a LibTorch without CUDA); the CPU path is complete")
  return()
endif()

add_library(tandem_cuda_plugin MODULE ${_plugin})
target_link_libraries(tandem_cuda_plugin PRIVATE tandem_base tandem::torch_cuda CUDA::cudart)
# The old kind of run path, because it also serves the libraries that libtorch_cuda.so looks for.
target_link_options(tandem_cuda_plugin PRIVATE LINKER:--no-as-needed LINKER:--disable-new-dtags)
if(_cu)
  add_library(tandem_cuda_kernels OBJECT ${_cu})
  target_include_directories(tandem_cuda_kernels PRIVATE ${PROJECT_SOURCE_DIR}/src ${PROJECT_SOURCE_DIR})
  target_link_libraries(tandem_cuda_kernels PRIVATE tandem_warnings)
  target_sources(tandem_cuda_plugin PRIVATE $<TARGET_OBJECTS:tandem_cuda_kernels>)
endif()
set_target_properties(tandem_cuda_plugin PROPERTIES
  OUTPUT_NAME tandem_cuda LIBRARY_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR} BUILD_RPATH "$ORIGIN")
message(STATUS "CUDA plug-in: nvcc ${CMAKE_CUDA_COMPILER_VERSION}, architectures ${CMAKE_CUDA_ARCHITECTURES}")
