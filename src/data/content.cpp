// A stamp that is younger than kSettled_ns isn't remembered: a file system's clock ticks in
// milliseconds, and a second write within a tick would leave no trace.
#include "data/content.h"

#include <ATen/ATen.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <string_view>
#include <system_error>

#include "config/known_content.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/log.h"
#include "data/reader.h"

namespace tandem {
namespace {

using nlohmann::json;

constexpr std::int64_t kSettled_ns = 2'000'000'000;
constexpr int kMemoryRevision = 1;  // raised when what is hashed changes
constexpr std::size_t kMostRemembered = 1000;

std::int64_t nanoseconds(const timespec& time) {
  return static_cast<std::int64_t>(time.tv_sec) * 1'000'000'000 + time.tv_nsec;
}

std::string hash_of(const Dataset& data) {
  const auto bytes_of = [](const at::Tensor& tensor) {
    return std::string_view(static_cast<const char*>(tensor.const_data_ptr()), tensor.nbytes());
  };
  Sha256 hash;
  if (!data.windows()) {
    hash.update(
        fmt::format("images {} {} {}\n", data.train.size(), data.test.size(), data.features));
    // A published set has one shape; what one brings may have the same bytes in several.
    if (data.name == "images")
      hash.update(fmt::format("{} {} {}\n", data.channels, data.height, data.width));
    hash.update(bytes_of(data.inputs)).update(bytes_of(data.labels));
  } else {
    // Where parts of a corpus begin is a part of what it is.
    for (std::size_t i = 2; i < data.train.size(); i += 2) {
      hash.update(fmt::format("part at {}\n", data.train[i]));
    }
    for (std::size_t i = 1; i < data.documents.size(); ++i) {
      hash.update(fmt::format("document at {}\n", data.documents[i]));
    }
    hash.update(bytes_of(data.inputs));
  }
  return hash.finish();
}

bool is_sha256(const std::string& text) {
  return text.size() == 64 && text.find_first_not_of("0123456789abcdef") == std::string::npos;
}

std::map<std::string, std::string> remembered(const std::string& file) {
  std::error_code error;
  if (file.empty() || !std::filesystem::exists(file, error)) return {};
  try {
    const json j = json::parse(read_file(file));
    if (j.at("revision") != kMemoryRevision) return {};
    auto contents = j.at("contents").get<std::map<std::string, std::string>>();
    std::erase_if(contents, [](const auto& each) { return !is_sha256(each.second); });
    return contents;
  } catch (const json::exception&) {
    return {};
  } catch (const DataError&) {
    return {};
  }
}

}  // namespace

FileStamp stamp_of(const std::vector<std::string>& paths) {
  const auto now = std::chrono::duration_cast<std::chrono::nanoseconds>(
                       std::chrono::system_clock::now().time_since_epoch())
                       .count();
  FileStamp stamp;
  std::int64_t newest = 0;
  for (const auto& path : paths) {
    struct stat facts {};
    if (::stat(path.c_str(), &facts) != 0) {
      throw DataError(
          fmt::format("{}: expected a readable file, found: {}", path, std::strerror(errno)));
    }
    const std::int64_t written = nanoseconds(facts.st_mtim), changed = nanoseconds(facts.st_ctim);
    newest = std::max({newest, written, changed});
    const std::string whole = std::filesystem::absolute(path).lexically_normal().string();
    stamp.text += fmt::format("{}\n{} {} {}\n", whole, facts.st_size, written, changed);
  }
  stamp.settled = newest + kSettled_ns < now;
  return stamp;
}

std::string content_file() {
  const std::string folder = cache_folder();
  return folder.empty() ? "" : folder + "/content.json";
}

std::string ContentMemory::find(const FileStamp& stamp) const {
  const auto contents = remembered(file_);
  const auto found = contents.find(sha256(stamp.text));
  return found == contents.end() ? "" : found->second;
}

void ContentMemory::remember(const FileStamp& stamp, const std::string& hash) const {
  if (file_.empty() || !stamp.settled) return;
  auto contents = remembered(file_);
  if (contents.size() >= kMostRemembered) contents.clear();
  contents[sha256(stamp.text)] = hash;
  try {
    ensure_folder(std::filesystem::path(file_).parent_path().string());
    atomic_write(file_, json{{"revision", kMemoryRevision}, {"contents", contents}}.dump(1) + "\n");
  } catch (const StoreError& failure) {
    log_warn(fmt::format("the hash of the data can't be remembered: {}", failure.what()));
  }
}

bool has_content(const Config& config) {
  return !dataset_readers().at("data", config.text("data")).generates();
}

std::string content_of(const Config& config, const ContentMemory& memory) {
  const DatasetReader& reader = dataset_readers().at("data", config.text("data"));
  FileStamp stamp = stamp_of(reader.files(config));
  const std::string options = reader.options != nullptr ? reader.options(config) : "";
  stamp.text = config.text("data") + "\n" + (options.empty() ? "" : options + "\n") + stamp.text;
  std::string hash = memory.find(stamp);
  if (!hash.empty()) return hash;
  hash = hash_of(reader.read(config));
  memory.remember(stamp, hash);
  return hash;
}

Config with_content(const Config& config, const std::string& hash) {
  Settings said = config.given();
  const std::string& corpus = config.text("corpus");
  const bool known = hash == expected_content(config.text("data"), corpus, "");
  said["data_hash"] = hash;
  if (known) said.erase("data_hash");
  return Config::resolve(said, false);
}

void expect_content(const Config& config) {
  const std::string& data = config.text("data");
  const std::string& said = config.text("data_hash");
  const std::string expected = expected_content(data, config.text("corpus"), said);
  if (expected.empty()) return;
  const std::string found = content_of(config);
  if (found == expected) return;
  throw DataError(fmt::format(
      "{}: expected the data with the hash {}{}, found data with the hash {}. The files were "
      "changed, or --data-dir, TANDEM_DATA or --corpus name others: name those that the run began "
      "with, or say the command again for a run on the new ones",
      data, expected, said.empty() ? ", which the data set is known by" : "", found));
}

}  // namespace tandem
