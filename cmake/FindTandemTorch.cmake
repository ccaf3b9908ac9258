# LibTorch without its TorchConfig.cmake, which stops where no CUDA toolkit is installed.
# Searched in this order: -DTANDEM_LIBTORCH=DIR, .deps/libtorch of the project, python3's torch.
# Defines tandem::torch (torch_cpu + c10) and, where the CUDA libraries are there,
# tandem::torch_cuda for the plug-in only.
set(TANDEM_LIBTORCH "" CACHE PATH "folder that holds LibTorch's include/ and lib/")
set(_version_needed 2.11)
set(_remedy
  "  ./tandem build                                   (puts it into .deps/libtorch)\n"
  "  python3 -m pip install --no-deps --target .deps/libtorch -r cmake/libtorch.txt\n"
  "  cmake -DTANDEM_LIBTORCH=/path/to/torch ...       (the folder of include/ and lib/)")
string(CONCAT _remedy ${_remedy})

# Sets TORCH_ROOT to dir where that holds the LibTorch that is needed, else adds to TORCH_PASSED_OVER.
function(tandem_try_torch dir)
  set(_header ${dir}/include/torch/headeronly/version.h)
  if(NOT EXISTS ${dir}/lib/libtorch_cpu.so)
    set(_reason "no lib/libtorch_cpu.so")
  elseif(NOT EXISTS ${dir}/include/torch/csrc/api/include/torch/torch.h)
    set(_reason "no headers of the C++ interface")
  elseif(NOT EXISTS ${_header})
    set(_reason "older than ${_version_needed}")
  else()
    file(STRINGS ${_header} _lines REGEX "define TORCH_VERSION_(MAJOR|MINOR) ")
    string(REGEX MATCHALL "[0-9]+" _numbers "${_lines}")
    list(JOIN _numbers "." _version)
    if(_version STREQUAL _version_needed)
      set(TORCH_ROOT ${dir} PARENT_SCOPE)
      return()
    endif()
    set(_reason "version ${_version}, but ${_version_needed} is needed")
  endif()
  set(TORCH_PASSED_OVER "${TORCH_PASSED_OVER}  ${dir}: ${_reason}\n" PARENT_SCOPE)
endfunction()

unset(TORCH_ROOT)
set(TORCH_PASSED_OVER "")
if(TANDEM_LIBTORCH)
  tandem_try_torch(${TANDEM_LIBTORCH})
  if(NOT TORCH_ROOT)
    message(FATAL_ERROR "TANDEM_LIBTORCH does not hold the LibTorch that is needed:\n"
      "${TORCH_PASSED_OVER}Give another folder, leave it empty (-DTANDEM_LIBTORCH=), or:\n${_remedy}")
  endif()
else()
  tandem_try_torch(${PROJECT_SOURCE_DIR}/.deps/libtorch/torch)
endif()
if(NOT TORCH_ROOT)
  find_program(TANDEM_PYTHON3 python3)
  if(TANDEM_PYTHON3)
    execute_process(
      COMMAND ${TANDEM_PYTHON3} -c
              "import importlib.util as u; s = u.find_spec('torch'); print(s.submodule_search_locations[0] if s else '')"
      OUTPUT_VARIABLE _python_torch OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
    if(_python_torch)
      tandem_try_torch(${_python_torch})
    endif()
  endif()
endif()
if(NOT TORCH_ROOT)
  message(FATAL_ERROR "LibTorch ${_version_needed} was not found.\n"
    "${TORCH_PASSED_OVER}Any one of these mends it:\n${_remedy}")
endif()
message(STATUS "LibTorch ${_version_needed}: ${TORCH_ROOT}")
set(TANDEM_TORCH_ROOT ${TORCH_ROOT} CACHE INTERNAL "where LibTorch was found")

add_library(tandem_torch_headers INTERFACE)
target_include_directories(tandem_torch_headers SYSTEM INTERFACE
  ${TORCH_ROOT}/include ${TORCH_ROOT}/include/torch/csrc/api/include)
add_library(tandem_torch INTERFACE)
target_link_libraries(tandem_torch INTERFACE tandem_torch_headers
  ${TORCH_ROOT}/lib/libtorch_cpu.so ${TORCH_ROOT}/lib/libc10.so)
target_link_options(tandem_torch INTERFACE
  LINKER:-rpath-link,${TORCH_ROOT}/lib LINKER:--allow-shlib-undefined)
add_library(tandem::torch ALIAS tandem_torch)
if(EXISTS ${TORCH_ROOT}/lib/libtorch_cuda.so)
  add_library(tandem_torch_cuda INTERFACE)
  target_link_libraries(tandem_torch_cuda INTERFACE tandem_torch
    ${TORCH_ROOT}/lib/libtorch_cuda.so ${TORCH_ROOT}/lib/libc10_cuda.so)
  target_link_options(tandem_torch_cuda INTERFACE LINKER:--unresolved-symbols=ignore-all)
  add_library(tandem::torch_cuda ALIAS tandem_torch_cuda)
endif()
