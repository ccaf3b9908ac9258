# Fails on a test case that lacks the tag of its folder: CTest asks for [#file][kind], so it would
# never run. FILES: name:kind,name:kind,...
if(FILES STREQUAL "")
  message("no test files")
  return()
endif()
string(REGEX REPLACE "([^:,]+):([^,]+)" "[#\\1]~[\\2]" _spec "${FILES}")
execute_process(COMMAND ${PROGRAM} --filenames-as-tags --list-test-names-only "${_spec}"
                OUTPUT_VARIABLE _names ERROR_VARIABLE _errors)
string(STRIP "${_names}${_errors}" _names)
if(NOT _names STREQUAL "")
  message(FATAL_ERROR "these cases lack the tag of the folder that their file is in:\n${_names}")
endif()
