#include "data/data_place.h"

#include <fmt/format.h>

#include <filesystem>

#include "core/error.h"
#include "core/text.h"
#include "data/reader.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

void expect_folder(const std::string& given, const std::string& source) {
  std::error_code missing;
  if (given.empty() || fs::is_directory(given, missing)) return;
  throw DataError(fmt::format(
      "{}: expected the folder that {} names, found none; name one that exists, or leave it out",
      given, source));
}

std::vector<std::string> folders_to_search(const DataPlace& place, const std::string& said) {
  const auto below = [&place](const std::string& folder) {
    std::vector<std::string> folders;
    for (const auto& subfolder : place.subfolders) {
      folders.push_back((fs::path(folder) / subfolder).string());
    }
    return folders;
  };
  if (!said.empty()) {
    expect_folder(said, "--data-dir");
    std::vector<std::string> folders = below(said);
    folders.push_back(said);
    return folders;
  }
  const std::string path = data_search_path();
  expect_folder(path, "TANDEM_DATA");
  std::vector<std::string> folders;
  if (!path.empty()) folders = below(path);
  if (!place.installed.empty()) folders.push_back(place.installed);
  if (!path.empty()) folders.push_back(path);
  return folders;
}

}  // namespace

std::string find_data_folder(const DataPlace& place, const std::string& said,
                             const std::string& what,
                             const std::function<bool(const std::string& folder)>& has) {
  const std::vector<std::string> folders = folders_to_search(place, said);
  for (const auto& folder : folders) {
    if (has(folder)) return folder;
  }
  const std::string found = folders.empty()
                                ? "no folder to look in: neither --data-dir nor TANDEM_DATA is set"
                                : "none in " + join(folders, ", ");
  throw DataError(
      fmt::format("{}: expected {}, found {}. {}", place.name, what, found, place.remedy));
}

}  // namespace tandem
