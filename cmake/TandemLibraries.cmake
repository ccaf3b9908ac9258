# What DESIGN chooses from Debian. Static archives where they exist, fmt and spdlog header-only, so
# that a binary runs on another distribution. Whatever is missing is named together, with its packages.
find_package(Threads REQUIRED)
set(Boost_USE_STATIC_LIBS ON)
find_package(Boost 1.74 COMPONENTS program_options QUIET)
find_package(nlohmann_json QUIET)
find_package(ZLIB QUIET)
find_package(benchmark QUIET)
find_library(TANDEM_ZLIB_STATIC libz.a)
find_path(TANDEM_LZMA_INCLUDE lzma.h)
find_library(TANDEM_LZMA_STATIC liblzma.a)
find_path(TANDEM_PNG_INCLUDE png.h)
find_library(TANDEM_PNG_STATIC libpng16.a)
find_path(TANDEM_JPEG_INCLUDE jpeglib.h)
find_library(TANDEM_JPEG_STATIC libjpeg.a)
find_library(TANDEM_CRYPTO_STATIC libcrypto.a)
find_library(TANDEM_SQLITE_STATIC libsqlite3.a)
find_library(TANDEM_SQLITECPP_STATIC libSQLiteCpp.a)
find_path(TANDEM_SQLITECPP_INCLUDE SQLiteCpp/SQLiteCpp.h)
find_path(TANDEM_BOOST_MATH_INCLUDE boost/math/distributions/students_t.hpp)
find_path(TANDEM_FMT_INCLUDE fmt/format.h)
find_path(TANDEM_SPDLOG_INCLUDE spdlog/spdlog.h)
find_path(TANDEM_EIGEN_INCLUDE Eigen/Core PATH_SUFFIXES eigen3)
find_path(TANDEM_HWY_INCLUDE hwy/highway.h)
find_library(TANDEM_HWY NAMES libhwy.a hwy)  # Debian 12 has the shared library only
find_path(TANDEM_CATCH_INCLUDE catch2/catch.hpp)

set(_missing "")
macro(tandem_needs package)
  foreach(_variable ${ARGN})
    if(NOT ${_variable})
      list(APPEND _missing ${package})
    endif()
  endforeach()
endmacro()
tandem_needs(libboost-program-options-dev Boost_PROGRAM_OPTIONS_FOUND)
tandem_needs(libboost-dev TANDEM_BOOST_MATH_INCLUDE)
tandem_needs(nlohmann-json3-dev nlohmann_json_FOUND)
tandem_needs(zlib1g-dev ZLIB_FOUND TANDEM_ZLIB_STATIC)
tandem_needs(liblzma-dev TANDEM_LZMA_INCLUDE TANDEM_LZMA_STATIC)
tandem_needs(libpng-dev TANDEM_PNG_INCLUDE TANDEM_PNG_STATIC)
tandem_needs(libjpeg62-turbo-dev TANDEM_JPEG_INCLUDE TANDEM_JPEG_STATIC)
tandem_needs(libssl-dev TANDEM_CRYPTO_STATIC)
tandem_needs(libsqlite3-dev TANDEM_SQLITE_STATIC)
tandem_needs(libsqlitecpp-dev TANDEM_SQLITECPP_STATIC TANDEM_SQLITECPP_INCLUDE)
tandem_needs(libfmt-dev TANDEM_FMT_INCLUDE)
tandem_needs(libspdlog-dev TANDEM_SPDLOG_INCLUDE)
tandem_needs(libeigen3-dev TANDEM_EIGEN_INCLUDE)
tandem_needs(libhwy-dev TANDEM_HWY_INCLUDE TANDEM_HWY)
if(TANDEM_TESTS)
  tandem_needs(catch2 TANDEM_CATCH_INCLUDE)
endif()
if(_missing)
  list(REMOVE_DUPLICATES _missing)
  list(JOIN _missing " " _missing)
  message(FATAL_ERROR "These libraries are missing. On Debian 12:\n  sudo apt-get install ${_missing}")
endif()

add_library(tandem_libraries INTERFACE)
target_include_directories(tandem_libraries SYSTEM INTERFACE
  ${Boost_INCLUDE_DIRS} ${TANDEM_SQLITECPP_INCLUDE} ${TANDEM_FMT_INCLUDE} ${TANDEM_SPDLOG_INCLUDE}
  ${TANDEM_EIGEN_INCLUDE} ${TANDEM_HWY_INCLUDE})
# LibTorch brings headers of another fmt, which would come first where its headers are searched.
file(MAKE_DIRECTORY ${PROJECT_BINARY_DIR}/first)
file(CREATE_LINK ${TANDEM_FMT_INCLUDE}/fmt ${PROJECT_BINARY_DIR}/first/fmt SYMBOLIC)
target_include_directories(tandem_libraries SYSTEM BEFORE INTERFACE ${PROJECT_BINARY_DIR}/first)
# Another release of fmt leaves other templates to the file that compiles it (cmake/fmt_once.cpp).
file(STRINGS ${TANDEM_FMT_INCLUDE}/fmt/core.h _fmt REGEX "define FMT_VERSION 9[0-9]+$")
if(_fmt)
  set(TANDEM_FMT_ONCE ON)
endif()
target_compile_definitions(tandem_libraries INTERFACE
  $<$<NOT:$<BOOL:${TANDEM_FMT_ONCE}>>:FMT_HEADER_ONLY> SPDLOG_FMT_EXTERNAL)
target_link_libraries(tandem_libraries INTERFACE
  Boost::program_options nlohmann_json::nlohmann_json
  ${TANDEM_SQLITECPP_STATIC} ${TANDEM_SQLITE_STATIC} ${TANDEM_PNG_STATIC} ${TANDEM_JPEG_STATIC}
  ${TANDEM_ZLIB_STATIC} ${TANDEM_LZMA_STATIC}
  ${TANDEM_CRYPTO_STATIC}
  ${TANDEM_HWY} Threads::Threads ${CMAKE_DL_LIBS})

# A shared libhwy lies beside the program, whose run path begins there, under the name it is linked by.
get_filename_component(_hwy ${TANDEM_HWY} REALPATH)
if(_hwy MATCHES "/(libhwy\\.so\\.[0-9]+)[.0-9]*$")
  file(COPY_FILE ${_hwy} ${PROJECT_BINARY_DIR}/${CMAKE_MATCH_1} ONLY_IF_DIFFERENT)
endif()
