// Rows as JSON lines. JSON has no NaN and no infinity: they travel as the strings "nan", "inf" and
// "-inf". Numbers keep all their bits (shortest round trip); example_bits travel as hex.
#include "store/rows.h"

#include <fmt/format.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>

#include "core/error.h"

namespace tandem {
namespace {

using nlohmann::json;

json number(double x) {
  if (std::isnan(x)) return "nan";
  if (std::isinf(x)) return x > 0 ? "inf" : "-inf";
  return x;
}

double to_number(const json& j) {
  if (j.is_number()) return j.get<double>();
  if (j == "nan") return std::numeric_limits<double>::quiet_NaN();
  if (j == "inf") return std::numeric_limits<double>::infinity();
  if (j == "-inf") return -std::numeric_limits<double>::infinity();
  throw StoreError(fmt::format("{} is no number", j.dump()));
}

json optional_number(const std::optional<double>& x) { return x ? number(*x) : json(nullptr); }

std::optional<double> to_optional(const json& j) {
  if (j.is_null()) return std::nullopt;
  return to_number(j);
}

std::string to_hex(const std::string& bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  hex.reserve(2 * bytes.size());
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    hex += kDigits[byte >> 4];
    hex += kDigits[byte & 15];
  }
  return hex;
}

int nibble(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  throw StoreError("example_bits are not lower-case hex");
}

std::string from_hex(const std::string& hex) {
  if (hex.size() % 2 != 0) throw StoreError("example_bits have an odd number of hex digits");
  std::string bytes;
  bytes.reserve(hex.size() / 2);
  for (std::size_t i = 0; i < hex.size(); i += 2)
    bytes += static_cast<char>(nibble(hex[i]) * 16 + nibble(hex[i + 1]));
  return bytes;
}

void add_level(json& j, const std::string& level, const LevelRead& read) {
  j[level + "_readout"] = read.stream;
  j[level + "_budget"] = optional_number(read.budget);
  if (!read.unit.empty()) j[level + "_unit"] = read.unit;
}

// Rows of checkpoints from before budgets had units are of the one unit that there was.
LevelRead to_level(const json& j, const std::string& level, const std::string& first_unit) {
  LevelRead read;
  j.at(level + "_readout").get_to(read.stream);
  read.budget = to_optional(j.at(level + "_budget"));
  read.unit = j.value(level + "_unit", read.budget ? first_unit : "");
  return read;
}

void add_text(json& j, const char* name, const std::string& text) {
  if (!text.empty()) j[name] = text;
}

json to_json(const EvalRow& r) {
  json j = {{"kind", "eval"},           {"stage", r.stage},           {"step", r.step},
            {"task", r.task},           {"masked", r.readout.masked}, {"split", r.split},
            {"n_correct", r.n_correct}, {"n_total", r.n_total},       {"loss", number(r.loss)}};
  add_level(j, "attention", r.readout.attention);
  add_level(j, "weights", r.readout.weights);
  add_text(j, "net", r.readout.net);
  if (r.readout.context) j["context"] = *r.readout.context;
  add_text(j, "scaling", r.readout.scaling);
  add_text(j, "statistics", r.readout.statistics);
  add_text(j, "condition", r.readout.condition);
  if (!r.example_bits.empty()) j["example_bits"] = to_hex(r.example_bits);
  return j;
}

json to_json(const MetricRow& r) {
  return {{"kind", "metric"},
          {"step", r.step},
          {"layer", r.layer},
          {"name", r.name},
          {"value", number(r.value)}};
}

json to_json(const TopologyRow& r) {
  return {{"kind", "topology"},   {"step", r.step},   {"layer", r.layer},        {"nnz", r.nnz},
          {"dropped", r.dropped}, {"grown", r.grown}, {"mask_hash", r.mask_hash}};
}

json to_json(const StateRow& r) {
  return {{"kind", "state"},
          {"state", r.state},
          {"step", r.step},
          {"train_seconds", number(r.train_seconds)},
          {"eval_seconds", number(r.eval_seconds)},
          {"probe_seconds", number(r.probe_seconds)},
          {"train_flops", number(r.train_flops)},
          {"inference_flops", number(r.inference_flops)},
          {"message", r.message}};
}

json to_json(const DigestRow& r) {
  return {{"kind", "digest"}, {"step", r.step}, {"tensors", r.tensors}, {"digests", r.digests}};
}

json to_json(const ProvenanceRow& r) { return {{"kind", "provenance"}, {"json", r.json}}; }

EvalRow to_eval(const json& j) {
  EvalRow r;
  j.at("stage").get_to(r.stage);
  j.at("step").get_to(r.step);
  j.at("task").get_to(r.task);
  r.readout.attention = to_level(j, "attention", "blocks");
  r.readout.weights = to_level(j, "weights", "density");
  j.at("masked").get_to(r.readout.masked);
  r.readout.net = j.value("net", "");
  if (j.contains("context")) r.readout.context = j.at("context").get<std::int64_t>();
  r.readout.scaling = j.value("scaling", "");
  r.readout.statistics = j.value("statistics", "");
  r.readout.condition = j.value("condition", "");
  j.at("split").get_to(r.split);
  j.at("n_correct").get_to(r.n_correct);
  j.at("n_total").get_to(r.n_total);
  r.loss = to_number(j.at("loss"));
  if (j.contains("example_bits")) r.example_bits = from_hex(j.at("example_bits"));
  return r;
}

MetricRow to_metric(const json& j) {
  return {j.at("step"), j.at("layer"), j.at("name"), to_number(j.at("value"))};
}

TopologyRow to_topology(const json& j) {
  return {j.at("step"),    j.at("layer"), j.at("nnz"),
          j.at("dropped"), j.at("grown"), j.at("mask_hash")};
}

DigestRow to_digest(const json& j) {
  DigestRow r{j.at("step"), j.at("tensors"), j.at("digests")};
  if (r.tensors.size() != r.digests.size()) {
    throw StoreError(fmt::format("{} digests of {} tensors", r.digests.size(), r.tensors.size()));
  }
  return r;
}

StateRow to_state(const json& j) {
  StateRow r;
  j.at("state").get_to(r.state);
  j.at("step").get_to(r.step);
  r.train_seconds = to_number(j.at("train_seconds"));
  r.eval_seconds = to_number(j.at("eval_seconds"));
  r.probe_seconds = to_number(j.at("probe_seconds"));
  r.train_flops = to_number(j.at("train_flops"));
  r.inference_flops = to_number(j.at("inference_flops"));
  j.at("message").get_to(r.message);
  return r;
}

RowBody to_body(const json& j) {
  const std::string kind = j.at("kind");
  if (kind == "eval") return to_eval(j);
  if (kind == "metric") return to_metric(j);
  if (kind == "topology") return to_topology(j);
  if (kind == "state") return to_state(j);
  if (kind == "provenance") return ProvenanceRow{j.at("json")};
  if (kind == "digest") return to_digest(j);
  throw StoreError(fmt::format(
      "kind \"{}\" is none of eval, metric, topology, state, provenance, digest", kind));
}

}  // namespace

std::string identity_of(const ReadoutRecord& readout) {
  const auto level = [](const char* name, const LevelRead& read) {
    std::string text = std::string(name) + "=" + read.stream;
    if (read.budget) text += fmt::format(":{}:{}", *read.budget, read.unit);
    return text;
  };
  std::string text =
      level("attention", readout.attention) + " " + level("weights", readout.weights);
  if (readout.masked) text += " masked";
  const auto add = [&text](const char* name, const std::string& value) {
    if (!value.empty()) text += std::string(" ") + name + "=" + value;
  };
  add("net", readout.net);
  if (readout.context) add("context", std::to_string(*readout.context));
  add("scaling", readout.scaling);
  add("statistics", readout.statistics);
  add("condition", readout.condition);
  return text;
}

std::string encode_row(const Row& row) {
  json j = std::visit([](const auto& body) { return to_json(body); }, row.body);
  j["run"] = row.run;
  j["sequence"] = row.sequence;
  return j.dump(-1, ' ', false, json::error_handler_t::replace);
}

Row decode_row(const std::string& line) {
  const auto refuse = [&line](const std::string& why) {
    return StoreError(fmt::format("a row from a worker is malformed: {}. The row begins with: {}",
                                  why, line.substr(0, 120)));
  };
  try {
    const json j = json::parse(line);
    Row row;
    j.at("run").get_to(row.run);
    j.at("sequence").get_to(row.sequence);
    row.body = to_body(j);
    return row;
  } catch (const json::exception& e) {
    throw refuse(e.what());
  } catch (const StoreError& e) {
    throw refuse(e.what());
  }
}

}  // namespace tandem
