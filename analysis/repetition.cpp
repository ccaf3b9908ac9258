#include "analysis/repetition.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <set>
#include <utility>

#include "core/text.h"

namespace tandem {
namespace {

using Kind = TraceKey::Kind;

std::string update_text(const std::string& mask_hash, const std::string& nnz,
                        const std::string& dropped, const std::string& grown) {
  return fmt::format("{} ({} active, {} dropped, {} grown)", mask_hash, nnz, dropped, grown);
}

std::string evaluation_name(const std::string& split, std::int64_t stage, std::int64_t task,
                            const std::string& readout) {
  return fmt::format("{}, stage {}, task {}, {}", split, stage, task, readout);
}

// `loss`: the shortest text of its bits; "": not a number.
std::string evaluation_text(const std::string& correct, const std::string& total,
                            const std::string& loss) {
  return fmt::format("{} of {} correct, loss {}", correct, total,
                     loss.empty() ? "not a number" : loss);
}

struct TraceAdder {
  RunTrace& trace;

  void operator()(const DigestRow& r) const {
    for (std::size_t i = 0; i < r.tensors.size(); ++i) {
      trace[r.step][{Kind::kDigest, r.tensors[i]}] = fmt::format("{:016x}", r.digests[i]);
    }
  }
  void operator()(const TopologyRow& r) const {
    trace[r.step][{Kind::kUpdate, r.layer}] = update_text(
        r.mask_hash, std::to_string(r.nnz), std::to_string(r.dropped), std::to_string(r.grown));
  }
  void operator()(const EvalRow& r) const {
    const std::string name = evaluation_name(r.split, r.stage, r.task, identity_of(r.readout));
    trace[r.step][{Kind::kEvaluation, name}] =
        evaluation_text(std::to_string(r.n_correct), std::to_string(r.n_total),
                        std::isnan(r.loss) ? "" : fmt::format("{}", r.loss));
  }
  template <class Other>
  void operator()(const Other&) const {}
};

void count(TraceComparison& comparison, const StepTrace& step) {
  std::map<Kind, std::int64_t> kinds;
  for (const auto& [key, text] : step) ++kinds[key.kind];
  const auto tensors = static_cast<std::size_t>(kinds[Kind::kDigest]);
  comparison.digests += tensors > 0;
  comparison.tensors = std::max(comparison.tensors, tensors);
  comparison.updates += kinds[Kind::kUpdate] > 0;
  comparison.evaluations += kinds[Kind::kEvaluation];
}

std::string plural(std::int64_t n, const char* what) {
  return fmt::format("{} {}{}", n, what, n == 1 ? "" : "s");
}

// What a provenance says under a name, as a reader is told it.
std::string place_value(const nlohmann::json& place, const char* name) {
  if (name == std::string("data_files")) {
    std::vector<std::string> hashes;
    for (const auto& file : place.value(name, nlohmann::json::array())) {
      hashes.push_back(file.value("sha256", "").substr(0, 12));
    }
    return join(hashes, " ");
  }
  const auto found = place.find(name);
  if (found == place.end()) return "unknown";
  return found->is_string() ? found->get<std::string>() : found->dump();
}

}  // namespace

RunTrace stored_trace(const StoreReader& store, const std::string& run) {
  RunTrace trace;
  const auto step_of = [](const std::string& text) { return parse_integer(text).value_or(0); };
  const QueryResult digests =
      store.query("SELECT step, tensor, digest FROM v_digest WHERE run = ?1", {run});
  for (const auto& row : digests.rows) trace[step_of(row[0])][{Kind::kDigest, row[1]}] = row[2];
  const QueryResult updates = store.query(
      "SELECT t.step, l.name, t.mask_hash, t.nnz, t.dropped, t.grown FROM topology_update t JOIN "
      "layer_name l ON l.key = t.layer JOIN run r ON r.key = t.run WHERE r.id = ?1",
      {run});
  for (const auto& row : updates.rows) {
    trace[step_of(row[0])][{Kind::kUpdate, row[1]}] = update_text(row[2], row[3], row[4], row[5]);
  }
  const QueryResult evaluations = store.query(
      "SELECT e.step, e.split, e.stage, e.task, o.identity, e.n_correct, e.n_total, e.loss FROM "
      "eval e JOIN readout o ON o.key = e.readout JOIN run r ON r.key = e.run WHERE r.id = ?1 AND "
      "e.n_total > 0",
      {run});
  for (const auto& row : evaluations.rows) {
    const std::string name = evaluation_name(row[1], step_of(row[2]), step_of(row[3]), row[4]);
    trace[step_of(row[0])][{Kind::kEvaluation, name}] = evaluation_text(row[5], row[6], row[7]);
  }
  return trace;
}

void add_to_trace(RunTrace& trace, const Row& row) { std::visit(TraceAdder{trace}, row.body); }

TraceComparison compare_traces(const RunTrace& stored, const RunTrace& now, std::int64_t below) {
  TraceComparison comparison;
  for (const auto& [step, kept] : stored) {
    if (step >= below) break;
    const auto same = now.find(step);
    for (const auto& [key, text] : kept) {
      const std::string* again = nullptr;
      if (same != now.end()) {
        const auto found = same->second.find(key);
        if (found != same->second.end()) again = &found->second;
      }
      if (again != nullptr && *again == text) continue;
      comparison.differences.push_back({key, text, again == nullptr ? "" : *again});
    }
    if (!comparison.differences.empty()) {
      comparison.differs = step;
      return comparison;
    }
    ++comparison.steps;
    comparison.last = step;
    count(comparison, kept);
  }
  return comparison;
}

std::string counts_text(const TraceComparison& comparison) {
  std::vector<std::string> parts;
  if (comparison.digests > 0) {
    parts.push_back(fmt::format("{} of {}", plural(comparison.digests, "digest"),
                                plural(static_cast<std::int64_t>(comparison.tensors), "tensor")));
  }
  if (comparison.evaluations > 0) parts.push_back(plural(comparison.evaluations, "evaluation"));
  if (comparison.updates > 0) parts.push_back(plural(comparison.updates, "topology update"));
  return join(parts, ", ");
}

std::string difference_text(const TraceDifference& difference) {
  const auto what = [&]() -> std::string {
    switch (difference.key.kind) {
      case Kind::kUpdate:
        return "mask of layer " + difference.key.of;
      case Kind::kDigest:
        return "tensor " + difference.key.of;
      case Kind::kEvaluation:
        return "evaluation (" + difference.key.of + ")";
    }
    return "";
  }();
  return fmt::format("{}: stored {}, now {}", what, difference.stored,
                     difference.now.empty() ? "none" : difference.now);
}

std::vector<std::string> stored_provenance(const StoreReader& store, const std::string& run) {
  std::vector<std::string> places;
  const QueryResult found = store.query(
      "SELECT DISTINCT p.json FROM run_provenance l JOIN provenance p ON p.id = l.provenance JOIN "
      "run r ON r.key = l.run WHERE r.id = ?1",
      {run});
  for (const auto& row : found.rows) places.push_back(row[0]);
  return places;
}

std::vector<std::string> provenance_differences(const std::vector<std::string>& stored,
                                                const std::string& now) {
  constexpr std::pair<const char*, const char*> kPlaces[] = {
      {"revision", "revision"}, {"dirty", "changed beyond the revision"},
      {"compiler", "compiler"}, {"torch", "LibTorch"},
      {"machine", "processor"}, {"device", "device"},
      {"threads", "threads"},   {"mkl_cbwr", "MKL_CBWR"},
      {"storage", "storage"},   {"group_size", "runs in its group"},
      {"kernel", "Linux"},      {"data_files", "data files (SHA-256)"}};
  std::vector<std::string> lines;
  if (stored.empty()) return lines;
  const nlohmann::json own = nlohmann::json::parse(now, nullptr, false);
  if (!own.is_object()) return lines;
  for (const auto& [name, title] : kPlaces) {
    const std::string here = place_value(own, name);
    std::set<std::string> others;
    bool on_gpu = false;
    for (const std::string& text : stored) {
      const nlohmann::json place = nlohmann::json::parse(text, nullptr, false);
      if (!place.is_object()) continue;
      const std::string there = place_value(place, name);
      if (there != here) others.insert(there);
      on_gpu = on_gpu || place_value(place, "device") != "cpu";
    }
    // On a CPU a run does not depend on its company.
    if (name == std::string("group_size") && !on_gpu) continue;
    if (others.empty()) continue;
    lines.push_back(
        fmt::format("{}: {}, now {}", title, join({others.begin(), others.end()}, " and "), here));
  }
  return lines;
}

}  // namespace tandem
