#include "analysis/table_writers.h"

#include <algorithm>

#include "core/error.h"
#include "core/text.h"

namespace tandem {
namespace {

std::vector<TableWriter>& writers() {
  static std::vector<TableWriter> all;
  return all;
}

}  // namespace

bool declare_table_writer(TableWriter writer) {
  writers().push_back(std::move(writer));
  std::sort(writers().begin(), writers().end(),
            [](const TableWriter& a, const TableWriter& b) { return a.name < b.name; });
  return true;
}

const std::vector<TableWriter>& table_writers() { return writers(); }

const TableWriter* table_writer_of(const std::string& ending) {
  for (const TableWriter& writer : writers()) {
    if (writer.ending == ending) return &writer;
  }
  return nullptr;
}

const TableWriter& table_writer(const std::string& name) {
  std::vector<std::string> names;
  for (const TableWriter& writer : writers()) {
    if (writer.name == name) return writer;
    names.push_back(writer.name);
  }
  throw ConfigError(did_you_mean("format of a table", name, names));
}

}  // namespace tandem
