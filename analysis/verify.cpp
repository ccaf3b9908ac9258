#include "analysis/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "analysis/lineage.h"
#include "analysis/table_writers.h"
#include "core/error.h"
#include "core/files.h"
#include "core/text.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr char kLineageEnding[] = ".lineage.json";
constexpr std::size_t kMostShown = 160;  // characters of a line

std::string shown(const std::string& line) {
  return line.size() <= kMostShown ? line : line.substr(0, kMostShown) + "...";
}

// The first line in which the texts differ; "" where they don't.
std::string first_difference(const std::string& file, const std::string& then,
                             const std::string& now) {
  if (then == now) return "";
  const std::vector<std::string> before = split(then, '\n'), after = split(now, '\n');
  for (std::size_t i = 0; i < std::max(before.size(), after.size()); ++i) {
    const std::string a = i < before.size() ? before[i] : "(nothing)",
                      b = i < after.size() ? after[i] : "(nothing)";
    if (a != b)
      return fmt::format("{}:{}: has \"{}\", and the runs make \"{}\"", file, i + 1, shown(a),
                         shown(b));
  }
  return file + ": differs in its last line's end";
}

// What the table is in the file's format, in every style that the format has.
std::vector<std::string> texts_of(const Table& table, const std::string& file) {
  const TableWriter* writer = table_writer_of(fs::path(file).extension().string());
  std::vector<std::string> texts;
  if (writer == nullptr) return texts;
  for (const bool plain : {false, true})
    for (const bool longtable : {false, true})
      texts.push_back(writer->write(table, {.plain = plain, .longtable = longtable}));
  return texts;
}

std::string compare_file(const Table& table, const std::string& file) {
  if (!fs::is_regular_file(file)) return file + ": is gone";
  const std::string text = read_file(file);
  const std::vector<std::string> texts = texts_of(table, file);
  if (texts.empty()) return file + ": no table is written in a format of this ending";
  if (std::find(texts.begin(), texts.end(), text) != texts.end()) return "";
  // Of several styles that which goes on alike for longest.
  const auto alike = [&text](const std::string& other) {
    return std::mismatch(text.begin(), text.end(), other.begin(), other.end()).first - text.begin();
  };
  return first_difference(
      file, text, *std::max_element(texts.begin(), texts.end(), [&](const auto& a, const auto& b) {
        return alike(a) < alike(b);
      }));
}

}  // namespace

std::vector<std::string> lineage_files(const std::string& folder) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(folder)) {
    const std::string path = entry.path().string();
    if (path.size() > sizeof(kLineageEnding) && path.ends_with(kLineageEnding))
      files.push_back(path);
  }
  std::sort(files.begin(), files.end());
  return files;
}

Verified verify_table(const StoreReader& store, const std::string& lineage_file) {
  using Outcome = Verified::Outcome;
  Verified result;
  result.file = lineage_file.substr(0, lineage_file.size() - (sizeof(kLineageEnding) - 1));
  Lineage lineage;
  try {
    lineage = read_lineage(read_file(lineage_file));
  } catch (const Error& e) {
    result.outcome = Outcome::kNoLineage;
    result.detail = e.what();
    return result;
  }
  if (!lineage.spec) {
    result.outcome = Outcome::kNoPlan;
    return result;
  }
  std::vector<std::string> files = {result.file};
  if (table_writer_of(fs::path(result.file).extension().string()) == nullptr)
    files = {result.file + ".md", result.file + ".csv"};
  try {
    TablePlan plan = plan_table(*lineage.spec);
    plan.grid = lineage.grid;
    const Table table = build_table(store, plan);
    for (const std::string& file : files) {
      result.detail = compare_file(table, file);
      if (result.detail.empty()) continue;
      result.outcome = Outcome::kDiffers;
      return result;
    }
  } catch (const Error& e) {
    result.outcome = Outcome::kNotMade;
    result.detail = e.what();
  }
  return result;
}

}  // namespace tandem
