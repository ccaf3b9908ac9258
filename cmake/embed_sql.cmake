# Writes OUT: a table of (path below ROOT, text) of the .sql FILES; see src/core/embedded.h.
set(_text "#include \"core/embedded.h\"\nnamespace tandem {\nconst std::vector<EmbeddedFile>& embedded_sql() {\n  static const std::vector<EmbeddedFile> files = {\n")
foreach(_file IN LISTS FILES)
  file(READ ${_file} _sql)
  file(RELATIVE_PATH _name ${ROOT} ${_file})
  string(APPEND _text "    {\"${_name}\", R\"~sql~(${_sql})~sql~\"},\n")
endforeach()
string(APPEND _text "  };\n  return files;\n}\n}  // namespace tandem\n")
file(WRITE ${OUT} "${_text}")
