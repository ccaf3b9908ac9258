// A generation N is two files: checkpoint-N.safetensors and, written after it, checkpoint-N.json,
//   {"body": {"format", "generation", "tensors", "bytes", "tensors_sha256", "state"}, "sha256"}
// where sha256 is that of the body's text, and the file must equal its own re-serialisation, so
// that no flipped bit goes unseen. The newest two generations stay; what else has such a name is
// the trace of a killed process and goes with the next save. Nothing is parsed as tensors before
// its hash is verified.
#include "jobs/checkpoint.h"

#include <ATen/ATen.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>
#include <system_error>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"
#include "core/log.h"
#include "core/text.h"
#include "data/stored_tensor.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kPrefix = "checkpoint-";
constexpr const char* kManifest = ".json";
constexpr const char* kTensors = ".safetensors";
constexpr const char* kDamaged = ".damaged";
constexpr int kFormat = 1;
constexpr std::size_t kGenerations = 2;

struct Damaged {
  std::string reason;
};

// Tensors whose manifest could not be written go away again.
struct Remover {
  std::string path;
  bool armed = true;
  ~Remover() {
    std::error_code error;
    if (armed) fs::remove(path, error);
  }
};

std::string generation_path(const std::string& folder, std::int64_t number, const char* ending) {
  return fmt::format("{}/{}{:06}{}", folder, kPrefix, number, ending);
}

// The folder's checkpoint files: name, generation, and what follows the number in the name.
struct Entry {
  std::string path;
  std::int64_t number;
  std::string ending;
};

std::vector<Entry> entries_of(const std::string& folder) {
  std::vector<Entry> entries;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder, error)) {
    const std::string name = file.path().filename().string();
    if (name.rfind(kPrefix, 0) != 0) continue;
    const std::string rest = name.substr(std::strlen(kPrefix));
    const auto digits = std::min(rest.find_first_not_of("0123456789"), rest.size());
    const auto number = parse_integer(rest.substr(0, digits));
    if (number) entries.push_back({file.path().string(), *number, rest.substr(digits)});
  }
  return entries;
}

std::vector<std::int64_t> generations_of(const std::string& folder) {  // newest first
  std::vector<std::int64_t> numbers;
  for (const auto& entry : entries_of(folder)) {
    if (entry.ending == kManifest) numbers.push_back(entry.number);
  }
  std::sort(numbers.rbegin(), numbers.rend());
  return numbers;
}

std::int64_t next_generation(const std::string& folder) {
  std::int64_t last = 0;
  for (const auto& entry : entries_of(folder)) last = std::max(last, entry.number);
  return last + 1;
}

void sweep(const std::string& folder) {
  std::vector<std::int64_t> kept = generations_of(folder);
  kept.resize(std::min(kept.size(), kGenerations));
  for (const auto& entry : entries_of(folder)) {
    const bool whole = entry.ending == kManifest || entry.ending == kTensors;
    const bool of_kept = std::find(kept.begin(), kept.end(), entry.number) != kept.end();
    const bool damaged = entry.ending.find(kDamaged) != std::string::npos;
    std::error_code error;
    if (!damaged && !(whole && of_kept)) fs::remove(entry.path, error);
  }
}

std::vector<TensorView> views_of(const Checkpoint& checkpoint) {
  std::vector<TensorView> views;
  for (const auto& [name, tensor] : checkpoint.tensors) views.push_back(view_of(name, tensor));
  return views;
}

std::string manifest_text(const json& body) {
  return json{{"body", body}, {"sha256", sha256(body.dump())}}.dump() + "\n";
}

json verified_body(const std::string& text) {
  const json manifest = json::parse(text, nullptr, false);
  if (!manifest.is_object() || !manifest.contains("body") || !manifest["body"].is_object()) {
    throw Damaged{"the manifest is no JSON object with a body"};
  }
  if (manifest_text(manifest["body"]) != text) throw Damaged{"the manifest's hash is wrong"};
  return manifest["body"];
}

json verified_generation(const std::string& folder, std::int64_t number) {
  json body = verified_body(read_file(generation_path(folder, number, kManifest)));
  if (body.value("format", 0) != kFormat) {
    throw StoreError(fmt::format(
        "{} has checkpoints of format {}, this program reads {}: use the program that wrote it, or "
        "delete the folder to train anew",
        folder, body.value("format", 0), kFormat));
  }
  return body;
}

Checkpoint load_generation(const std::string& folder, std::int64_t number) {
  const json body = verified_generation(folder, number);
  const std::string tensors = folder + "/" + body.at("tensors").get<std::string>();
  std::error_code error;
  if (!fs::exists(tensors, error)) throw Damaged{"the tensors are missing: " + tensors};
  if (file_size(tensors) != body.at("bytes").get<std::uint64_t>()) {
    throw Damaged{fmt::format("{} has {} bytes, not {}", tensors, file_size(tensors),
                              body.at("bytes").get<std::uint64_t>())};
  }
  if (sha256_file(tensors) != body.at("tensors_sha256").get<std::string>()) {
    throw Damaged{"the hash of " + tensors + " is wrong"};
  }
  Checkpoint checkpoint;
  checkpoint.state = body.at("state").get<std::string>();
  const SafetensorsFile file = SafetensorsFile::open(tensors);
  for (const auto& view : file.tensors()) {
    checkpoint.tensors.emplace_back(view.name, tensor_of(view));
  }
  return checkpoint;
}

void set_aside(const std::string& folder, std::int64_t number, const std::string& reason) {
  log_warn(
      fmt::format("checkpoint {} is damaged ({}); it is set aside as *{} and an older one used",
                  generation_path(folder, number, ""), reason, kDamaged));
  for (const char* ending : {kManifest, kTensors}) {
    const std::string path = generation_path(folder, number, ending);
    std::error_code error;
    fs::rename(path, path + kDamaged, error);
  }
}

}  // namespace

void save_checkpoint(const std::string& folder, const Checkpoint& checkpoint) {
  ensure_folder(folder);
  const std::int64_t number = next_generation(folder);
  const std::string tensors = generation_path(folder, number, kTensors);
  write_safetensors(tensors, views_of(checkpoint));
  Remover remover{tensors};
  const json body = {{"format", kFormat},
                     {"generation", number},
                     {"tensors", fs::path(tensors).filename().string()},
                     {"bytes", file_size(tensors)},
                     {"tensors_sha256", sha256_file(tensors)},
                     {"state", checkpoint.state}};
  atomic_write(generation_path(folder, number, kManifest), manifest_text(body));
  remover.armed = false;
  sweep(folder);
}

std::optional<Checkpoint> load_checkpoint(const std::string& folder) {
  for (const std::int64_t number : generations_of(folder)) {
    try {
      return load_generation(folder, number);
    } catch (const Damaged& damaged) {
      set_aside(folder, number, damaged.reason);
    }
  }
  return std::nullopt;
}

std::optional<std::string> checkpoint_state(const std::string& folder) {
  for (const std::int64_t number : generations_of(folder)) {
    try {
      return verified_generation(folder, number).at("state").get<std::string>();
    } catch (const Damaged&) {
      continue;
    }
  }
  return std::nullopt;
}

void remove_checkpoints(const std::string& folder) {
  std::error_code error;
  for (const auto& entry : entries_of(folder)) fs::remove(entry.path, error);
  fs::remove(folder, error);
}

bool has_checkpoint(const std::string& folder) { return !generations_of(folder).empty(); }

}  // namespace tandem
