// The JSON of the protocol.
#include "jobs/worker_protocol.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "core/error.h"
#include "core/parallel.h"
#include "jobs/storage_choice.h"

namespace tandem {
namespace {

using nlohmann::json;

template <class Read>
auto decoded(const std::string& line, const char* what, Read&& read) {
  try {
    return read(json::parse(line));
  } catch (const json::exception& error) {
    throw StoreError(fmt::format("the line is no {}: {} ({} bytes: {})", what, error.what(),
                                 line.size(), line.substr(0, 80)));
  }
}

Config decode_run(const json& j) {
  Config config = Config::resolve(j.at("values").get<Settings>(), false);
  const auto id = j.at("id").get<std::string>();
  if (config.id() != id) {
    throw StoreError(
        fmt::format("run {} became {} on its way to the worker: the program was replaced by "
                    "another build while "
                    "it ran; start it again",
                    short_id(id), short_id(config.id())));
  }
  return config;
}

}  // namespace

std::string encode_group(const GroupSpec& spec) {
  json runs = json::array();
  for (const auto& run : spec.runs) runs.push_back({{"id", run.id()}, {"values", run.values()}});
  return json{{"runs", std::move(runs)},
              {"device", spec.device},
              {"storage", storages_text(spec.storage)},
              {"checkpoint_folder", spec.checkpoint_folder},
              {"checkpoint_every_s", spec.checkpoint_every_s},
              {"host_threads", spec.host_threads},
              {"stop_after_steps", spec.stop_after_steps},
              {"frozen", spec.frozen}}
      .dump();
}

GroupSpec decode_group(const std::string& line) {
  return decoded(line, "group", [](const json& j) {
    GroupSpec spec;
    spec.host_threads = j.at("host_threads").get<int>();
    const json& runs = j.at("runs");
    std::vector<std::optional<Config>> decoded_runs(runs.size());
    for_each_index(runs.size(), spec.host_threads,
                   [&](std::size_t i) { decoded_runs[i] = decode_run(runs.at(i)); });
    for (auto& run : decoded_runs) spec.runs.push_back(std::move(*run));
    spec.device = j.at("device").get<std::string>();
    spec.storage = storages_of_text(j.at("storage").get<std::string>());
    spec.checkpoint_folder = j.at("checkpoint_folder").get<std::string>();
    spec.checkpoint_every_s = j.at("checkpoint_every_s").get<double>();
    spec.stop_after_steps = j.at("stop_after_steps").get<std::int64_t>();
    spec.frozen = j.at("frozen").get<std::vector<std::string>>();
    return spec;
  });
}

std::string encode_acknowledgement(const Acknowledgement& acknowledgement) {
  return json{{"ack", acknowledgement}}.dump();
}

Acknowledgement decode_acknowledgement(const std::string& line) {
  return decoded(line, "acknowledgement",
                 [](const json& j) { return j.at("ack").get<Acknowledgement>(); });
}

std::string encode_progress(const StepsDone& steps) {
  return json{{"progress", {steps.done, steps.all}}}.dump();
}

std::optional<StepsDone> decode_progress(const std::string& line) {
  if (line.rfind("{\"progress\"", 0) != 0) return std::nullopt;
  return decoded(line, "progress", [](const json& j) {
    const auto steps = j.at("progress").get<std::vector<std::int64_t>>();
    return std::optional<StepsDone>(StepsDone{steps.at(0), steps.at(1)});
  });
}

std::map<std::string, std::string> worker_environment() {
  return {{"MKL_CBWR", "AUTO,STRICT"},
          {"OMP_NUM_THREADS", "1"},
          {"MKL_NUM_THREADS", "1"},
          {"MALLOC_TRIM_THRESHOLD_", "4294967296"},
          {"MALLOC_MMAP_THRESHOLD_", "4294967296"},
          {"MALLOC_TOP_PAD_", "67108864"}};
}

}  // namespace tandem
