# tandem_embedded: the .sql files of src/store and analysis as constants, and the git revision.
file(GLOB _sql CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/src/store/*.sql ${PROJECT_SOURCE_DIR}/analysis/*.sql
  ${PROJECT_SOURCE_DIR}/analysis/*/*.sql)
set(_embedded ${PROJECT_BINARY_DIR}/embedded/sql.cpp)
add_custom_command(
  OUTPUT ${_embedded}
  COMMAND ${CMAKE_COMMAND} -DOUT=${_embedded} -DROOT=${PROJECT_SOURCE_DIR} "-DFILES=${_sql}"
          -P ${PROJECT_SOURCE_DIR}/cmake/embed_sql.cmake
  DEPENDS ${_sql} ${PROJECT_SOURCE_DIR}/cmake/embed_sql.cmake
  VERBATIM)
set(_version ${PROJECT_BINARY_DIR}/embedded/version.cpp)
add_custom_target(tandem_version_file
  COMMAND ${CMAKE_COMMAND} -DOUT=${_version} -DROOT=${PROJECT_SOURCE_DIR}
          "-DFLAGS=${CMAKE_CXX_COMPILER_ID} ${CMAKE_CXX_COMPILER_VERSION} ${CMAKE_BUILD_TYPE}"
          -P ${PROJECT_SOURCE_DIR}/cmake/write_version.cmake
  BYPRODUCTS ${_version}
  COMMENT "Recording the revision")
add_library(tandem_embedded OBJECT ${_embedded} ${_version})
target_link_libraries(tandem_embedded PRIVATE tandem_base)
add_dependencies(tandem_embedded tandem_version_file)
