// The memory of break-evens, and the fit. The timed step itself is in layer_timer.cpp.
#include "jobs/break_even.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <system_error>

#include "core/cache_folder.h"
#include "core/error.h"
#include "core/files.h"
#include "core/log.h"
#include "jobs/provenance.h"
#include "kernels/spmm/spmm.h"

namespace tandem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

// Raised when the timed step or one of its kernels changes: what was measured before is forgotten.
constexpr int kRevision = 1;
constexpr double kThinDensity = 0.02, kThickDensity = 0.2;

LayerCase capped(const LayerCase& layer) {
  LayerCase timed = layer;
  timed.inputs = std::min(layer.inputs, BreakEven::kMostInputs);
  timed.outputs = std::min(layer.outputs, BreakEven::kMostOutputs);
  timed.rows = std::min({layer.rows, BreakEven::kMostRows,
                         BreakEven::kMostProducts / (timed.inputs * timed.outputs)});
  return timed;
}

std::string shape_text(const LayerCase& layer) {
  return fmt::format("{}x{}, {} rows, {}", layer.inputs, layer.outputs, layer.rows, layer.dtype);
}

}  // namespace

std::string break_even_machine() { return processor_name() + " / " + kernels::spmm_target(); }

std::string break_even_file() {
  const std::string folder = cache_folder();
  return folder.empty() ? "" : folder + "/break_even.json";
}

BreakEven::BreakEven(std::string file, StepTimer timer, std::string machine)
    : file_(std::move(file)), timer_(std::move(timer)), machine_(std::move(machine)) {
  of_shape_ = read()[machine_];
}

void BreakEven::tell_once(const std::string& what) {
  if (!told_) log_warn(what);
  told_ = true;
}

// All machines' shapes; none of a file of another revision.
std::map<std::string, BreakEven::Shapes> BreakEven::read() {
  std::error_code error;
  if (file_.empty() || !fs::exists(file_, error)) return {};
  try {
    const json j = json::parse(read_file(file_));
    if (j.at("revision") != kRevision) return {};
    auto machines = j.at("machines").get<std::map<std::string, Shapes>>();
    for (const auto& [machine, shapes] : machines) {
      for (const auto& [shape, density] : shapes) {
        if (!(density >= 0 && density <= 1)) {
          throw DataError(
              fmt::format("{}: the break-even of {} is {}, expected 0..1", file_, shape, density));
        }
      }
    }
    return machines;
  } catch (const json::exception& damage) {
    tell_once(fmt::format("{} is damaged and will be written anew: {}", file_, damage.what()));
  } catch (const DataError& damage) {
    tell_once(fmt::format("{}; what it held is measured again", damage.what()));
  }
  return {};
}

double BreakEven::density(const LayerCase& layer) {
  if (layer.inputs * layer.outputs < kLeastPositions) return 0;
  const LayerCase asked = capped(layer);
  const std::string shape = shape_text(asked);
  const auto known = of_shape_.find(shape);
  if (known != of_shape_.end()) return known->second;
  remember(shape, measure(asked));
  return of_shape_.at(shape);
}

double BreakEven::measure(const LayerCase& layer) const {
  const std::vector<double> seconds = timer_(layer, {{Storage::kMasked, kThinDensity},
                                                     {Storage::kSparse, kThinDensity},
                                                     {Storage::kSparse, kThickDensity}});
  const double masked = seconds.at(0), thin = seconds.at(1), thick = seconds.at(2);
  const double slope = (thick - thin) / (kThickDensity - kThinDensity);
  if (!(slope > 0)) return thick < masked ? 1 : 0;
  const double even = (masked - (thin - slope * kThinDensity)) / slope;
  return std::clamp(std::round(even * 1000) / 1000, 0.0, 1.0);
}

// Where another process has measured the same shape in the meantime, its answer stands, so that
// all runs of a machine decide alike.
void BreakEven::remember(const std::string& shape, double density) {
  auto machines = read();
  Shapes& own = machines[machine_];
  const bool is_new = own.emplace(shape, density).second;
  of_shape_.insert(own.begin(), own.end());
  if (file_.empty() || !is_new) return;
  try {
    ensure_folder(fs::path(file_).parent_path().string());
    atomic_write(file_, json{{"revision", kRevision}, {"machines", machines}}.dump(1) + "\n");
  } catch (const StoreError& failure) {
    tell_once(fmt::format("break-evens can't be remembered: {}", failure.what()));
  }
}

}  // namespace tandem
