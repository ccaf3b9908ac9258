// A byte corpus is made from any files: they are concatenated in order and cut by position into 90%
// training, 5% validation and 5% test. It may have several parts (joined by '|'), each of which is
// cut so for itself, and which may be tasks of their own (tasks_by = corpus). Without `corpus` it
// is the Python standard library's sources as Debian ships them below /usr/lib/python3.N, 3.11
// where it exists; test suites, installed packages and symbolic links are left out, so that one
// Python package gives one corpus. Validation and test windows are context + 1 bytes long, the last
// byte being a target only. With documents = pack each file is a document (data/packed.h); the cuts
// and the windows are the same, and go through documents wherever they fall.
#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <set>

#include "config/contexts.h"
#include "config/data_score.h"
#include "config/known_content.h"
#include "config/option.h"
#include "config/part.h"
#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/text.h"
#include "data/data_facts.h"
#include "data/longer_windows.h"
#include "data/reader.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;

constexpr const char* kPythonParent = "/usr/lib";
constexpr const char* kPreferredPython = "/usr/lib/python3.11";
constexpr std::size_t kTextProbeBytes = 8192;
constexpr std::int64_t kByteValues = 256;
constexpr const char* kCorpusRemedy =
    "Name text files or folders with --corpus, separated by ',' or ':' ('|' between corpora of "
    "their "
    "own; of a folder hidden files and those with zero bytes are left out), or leave it empty and "
    "install the Debian package python3 for the standard library's sources.";

struct CorpusFile {
  std::string path;
  bool if_text;  // of a folder: left out where it is no text
};

struct Corpus {
  std::vector<CorpusFile> files;
  std::string description;
};

[[noreturn]] void refuse_corpus(const std::string& path, const std::string& expected,
                                const std::string& found) {
  throw DataError(
      fmt::format("{}: expected {}, found {}. {}", path, expected, found, kCorpusRemedy));
}

bool is_text(const std::string& bytes) {
  return std::memchr(bytes.data(), 0, std::min(bytes.size(), kTextProbeBytes)) == nullptr;
}

// Lists the regular files below a folder, sorted by path; symbolic links are not followed.
template <class Enter, class Take>
std::vector<std::string> files_below(const std::string& folder, Enter enter, Take take) {
  std::vector<std::string> paths;
  std::error_code error;
  fs::recursive_directory_iterator at(folder, error), end;
  for (; !error && at != end; at.increment(error)) {
    const fs::file_status status = at->symlink_status();
    if (fs::is_directory(status) && !enter(at->path())) at.disable_recursion_pending();
    if (fs::is_regular_file(status) && take(at->path())) paths.push_back(at->path().string());
  }
  if (error) refuse_corpus(folder, "a readable folder", error.message());
  std::sort(paths.begin(), paths.end());
  return paths;
}

std::string python_folder() {
  if (fs::is_directory(kPreferredPython)) return kPreferredPython;
  std::int64_t newest = -1;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(kPythonParent, error)) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("python3.", 0) != 0 || !entry.is_directory()) continue;
    newest = std::max(newest, parse_integer(name.substr(8)).value_or(-1));
  }
  if (newest < 0) refuse_corpus(std::string(kPythonParent) + "/python3.N", "a folder", "none");
  return fmt::format("{}/python3.{}", kPythonParent, newest);
}

Corpus python_corpus() {
  static const std::set<std::string> left_out = {"site-packages", "dist-packages", "__pycache__",
                                                 "test", "tests"};
  const std::string folder = python_folder();
  const auto paths = files_below(
      folder, [](const fs::path& path) { return left_out.count(path.filename()) == 0; },
      [](const fs::path& path) { return path.extension() == ".py"; });
  Corpus corpus;
  for (const auto& path : paths) corpus.files.push_back({path, false});
  corpus.description = fmt::format("{} ({} Python sources)", folder, paths.size());
  return corpus;
}

Corpus named_corpus(const std::string& list) {
  const auto visible = [](const fs::path& path) { return path.filename().string()[0] != '.'; };
  Corpus corpus;
  corpus.description = list;
  std::string commas = list;
  std::replace(commas.begin(), commas.end(), ':', ',');
  for (const auto& item : split(commas, ',')) {
    const std::string path = trim(item);
    if (path.empty()) continue;
    std::error_code error;
    if (fs::is_directory(path, error)) {
      for (const auto& file : files_below(path, visible, visible)) {
        corpus.files.push_back({file, true});
      }
    } else if (fs::is_regular_file(path, error)) {
      corpus.files.push_back({path, false});
    } else {
      refuse_corpus(path, "a file or folder of the corpus", "nothing there");
    }
  }
  return corpus;
}

std::vector<Corpus> corpora_of(const Config& config) {
  const std::string said = config.text("corpus");
  if (trim(said).empty()) return {python_corpus()};
  std::vector<Corpus> parts;
  for (const std::string& each : split(said, '|')) {
    parts.push_back(named_corpus(trim(each)));
    if (parts.back().files.empty()) {
      refuse_corpus("--corpus " + said, "files or folders in each of the parts that | separates",
                    fmt::format("none in part {}", parts.size()));
    }
  }
  return parts;
}

std::vector<std::string> corpus_files(const Config& config) {
  std::vector<std::string> paths;
  for (const Corpus& part : corpora_of(config)) {
    for (const auto& file : part.files) paths.push_back(file.path);
  }
  return paths;
}

// How many files each part has, where there are several: the same files in other parts are other
// data. So are the same bytes in other documents.
std::string parts_and_documents(const Config& config) {
  const std::vector<Corpus> parts = corpora_of(config);
  std::string sizes;
  for (const Corpus& part : parts) sizes += fmt::format(" {}", part.files.size());
  std::string text = parts.size() < 2 ? "" : "parts of" + sizes + " files";
  if (config.text("documents") != "join") text += " in documents";
  return text;
}

// Adds where each file that isn't empty begins, from `begin` on, to `documents`.
std::string bytes_of(const Corpus& corpus, std::int64_t begin,
                     std::vector<std::int64_t>& documents) {
  std::string all;
  for (const auto& file : corpus.files) {
    const std::string bytes = read_file(file.path);
    if (file.if_text && !is_text(bytes)) continue;
    if (!bytes.empty()) documents.push_back(begin + static_cast<std::int64_t>(all.size()));
    all += bytes;
  }
  return all;
}

// Of a corpus whose validation or test has room for no window.
[[noreturn]] void refuse_short(const Corpus& corpus, std::int64_t size, std::int64_t context,
                               std::int64_t multiple) {
  const std::int64_t window = multiple * context + 1;
  const std::string of =
      multiple == 1 ? "context + 1" : fmt::format("{} (--eval-contexts) x context + 1", multiple);
  refuse_corpus(corpus.description,
                fmt::format("at least {} bytes, so that 5% of them hold a window of {} = {}",
                            20 * window, of, window),
                std::to_string(size));
}

Dataset read_bytes(const Config& config) {
  const std::int64_t context = config.integer("context"), window = context + 1;
  const std::vector<std::int64_t> multiples = context_multiples(config);
  const std::int64_t most = multiples.empty() ? 1 : multiples.back();
  const std::int64_t limit = config.integer("evaluation_windows");
  Dataset dataset;
  dataset.kind = Dataset::Kind::kBytes;
  dataset.name = config.text("data");
  dataset.classes = kByteValues;
  std::string all;
  for (const Corpus& corpus : corpora_of(config)) {
    const auto begin = static_cast<std::int64_t>(all.size());
    const std::string bytes = bytes_of(corpus, begin, dataset.documents);
    const auto size = static_cast<std::int64_t>(bytes.size());
    const std::int64_t train_end = size / 10 * 9 + size % 10 * 9 / 10;
    const std::int64_t validation_end = train_end + (size - train_end) / 2;
    if (validation_end - train_end < window) refuse_short(corpus, size, context, 1);
    if (validation_end - train_end < most * context + 1) refuse_short(corpus, size, context, most);
    all += bytes;
    dataset.train.insert(dataset.train.end(), {begin, begin + train_end});
    dataset.validation_ranges.insert(dataset.validation_ranges.end(),
                                     {begin + train_end, begin + validation_end});
    dataset.test_ranges.insert(dataset.test_ranges.end(), {begin + validation_end, begin + size});
    const auto add = [&](std::vector<std::int64_t>& to, std::int64_t from, std::int64_t end) {
      for (const std::int64_t start : spaced_windows(begin + from, begin + end, window, limit)) {
        to.push_back(start);
      }
    };
    add(dataset.validation, train_end, validation_end);
    add(dataset.test, validation_end, size);
    dataset.files.push_back({corpus.description, sha256(bytes), size});
  }
  if (config.text("documents") == "join") dataset.documents.clear();
  dataset.inputs = at::empty({static_cast<std::int64_t>(all.size())}, at::kByte);
  std::copy(all.begin(), all.end(), dataset.inputs.data_ptr<std::uint8_t>());
  return dataset;
}

Option evaluation_windows() {
  Option option;
  option.name = "evaluation_windows";
  option.type = OptionType::kInt;
  option.default_value = option.neutral = "0";
  option.help =
      "windows of a byte corpus, or of each of its parts, that validation and test each read, "
      "evenly spaced; 0, or more than "
      "there are: all";
  option.unit = "windows";
  option.minimum = 0;
  option.scope = OptionScope::kRun;
  option.of_part = true;
  option.group = "data";
  return option;
}

Option documents_option() {
  Option option;
  option.name = "documents";
  option.type = OptionType::kChoice;
  option.default_value = option.neutral = "join";
  option.help =
      "join: a window of a byte corpus is one text, whatever files it spans; pack: each file is a "
      "document, no token reads another document, and a document's first byte is no target";
  option.choices = {"join", "pack"};
  option.scope = OptionScope::kRun;
  option.of_part = true;
  option.group = "data";
  return option;
}

Part facts() {
  Part part;
  part.kind = "data";
  part.name = "bytes";
  part.summary = "bytes of any text files; by default the Python standard library's sources";
  part.uses = {"corpus",        "data_hash", "context", "evaluation_windows",
               "eval_contexts", "documents"};
  // Not read: a corpus is cut by position. Ids of its runs have always held this value.
  part.defaults = {{"validation", "0.1"}};
  part.file = __FILE__;
  return part;
}

// The default corpus of Debian 12 (Python 3.11.2, 636 files, 10,925,683 bytes).
[[maybe_unused]] const bool kContent = declare_known_content(
    "bytes", "afa2d1e1a839272e7c209b2bb5ded274beeaeedc86a2e05c41fdd58e926aecc2");
[[maybe_unused]] const bool kOption = declare_option(evaluation_windows());
[[maybe_unused]] const bool kDocuments = declare_option(documents_option());
[[maybe_unused]] const bool kByteFacts =
    declare_data_facts("bytes", {Dataset::Kind::kBytes, 0, kByteValues});
[[maybe_unused]] const bool kScore = declare_told_in_bits("bytes");
[[maybe_unused]] const bool kPart =
    dataset_readers().add(facts(), {corpus_files, read_bytes, parts_and_documents});

}  // namespace
}  // namespace tandem
