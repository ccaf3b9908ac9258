// This family measures what the dense gradient of the sparse net, over all positions, says of the
// positions outside of its mask M; g is its mean over 16 parts of the fixed training batch.
//   missed_energy     |(1-M) g|^2 / |g|^2, what a method with S = M leaves out
//   egf               |M g|_p / nnz with p = 2, nnz the active connections; of the whole net the
//                     mean over layers. Effective gradient flow (Tessera et al. 2021) is, as its
//                     authors sum it up, normalised by the number of active weights and even over
//                     layers; that names no p. Where entries are alike egf falls as 1 / sqrt(nnz),
//                     so that only nets of equal density compare: egf sqrt(nnz) is the root mean
//                     square of g over them
//   never_share       share of positions that were in no gradient's support S so far
//   gradient_age_mean, gradient_age_median   steps since they were in it, of the positions outside
//                     of it that once were
//   gradient_overlap  of the dormant positions with the largest |g| at the measure before, a tenth
//                     as many as are active: how many of those still dormant are among them again
//   gradient_cosine   of g then and now on positions dormant both times (of layers above 65,536
//                     positions on evenly spaced ones)
//   gsnr, gsnr_dormant   E[g]^2 / Var[g] of the gradient of one step's batch, mean over positions
//                     with any variance of (n-3)/(n-1) mean^2 / s^2 - 1/n, mean and s^2 (by n - 1)
//                     of g in the n parts, each as large as a step's batch; absent where n < 4.
//                     Unbiased where parts are normal, and below 0 for many positions where there
//                     is little signal; not clipped
// Support comes from masks and policies, not from values: S = M where the method says so; on the
// steps where it says so (full streams, alignment, straight-through) everything; the superset B
// where there is one; between logged updates (topology_log_steps) a support counts as that of the
// one before. For the whole net energies and never_share are totals, and the others means.
#include <algorithm>
#include <cmath>
#include <limits>
#include <map>

#include "core/error.h"
#include "data/tensor.h"
#include "probes/dense_gradient.h"
#include "probes/lists.h"
#include "probes/recorder.h"
#include "probes/support_memory.h"
#include "readout/readout.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

const std::string kSuperset = ".superset";  // where a layer's name stands in a saved memory
constexpr std::int64_t kGradientParts = 16;
constexpr std::int64_t kSampled = 65536;  // positions of a layer whose gradient is remembered
constexpr std::int64_t kShareOfActive = 10;

// This is what is remembered of the last measure.
struct Remembered {
  std::vector<std::int64_t> top;  // dormant positions with the largest |g|, ascending
  std::vector<float> sample;      // g at every stride-th position, NaN where it was active
};

std::int64_t stride_of(std::int64_t positions) { return (positions + kSampled - 1) / kSampled; }

// `gradient` is [n] on the CPU, and `dormant` bool [n].
Remembered remember(const at::Tensor& gradient, const at::Tensor& dormant, std::int64_t active) {
  Remembered now;
  const std::int64_t n = gradient.numel(), stride = stride_of(n);
  const std::int64_t count = std::min(active / kShareOfActive, n - active);
  if (count > 0) {
    const at::Tensor chosen =
        select_rows(gradient.abs().unsqueeze(0), dormant.to(torch::kByte).unsqueeze(0), {count},
                    /*largest=*/true);
    const at::Tensor places = chosen[0].nonzero().reshape({-1});
    const auto* begin = places.data_ptr<std::int64_t>();
    now.top.assign(begin, begin + places.numel());
  }
  const at::Tensor shown =
      gradient.masked_fill(dormant.logical_not(), std::numeric_limits<double>::quiet_NaN());
  const at::Tensor sample = shown.slice(0, 0, n, stride).to(torch::kFloat).contiguous();
  const auto* values = sample.data_ptr<float>();
  now.sample.assign(values, values + sample.numel());
  return now;
}

// Returns the share of those of `before` that are dormant still which are among `now`, and NaN
// where none is dormant still.
double overlap(const Remembered& before, const Remembered& now, const at::Tensor& dormant) {
  const auto* flags = dormant.data_ptr<bool>();
  double still = 0, again = 0;
  for (const std::int64_t place : before.top) {
    if (!flags[place]) continue;
    ++still;
    again += std::binary_search(now.top.begin(), now.top.end(), place);
  }
  return again / still;
}

double cosine(const std::vector<float>& a, const std::vector<float>& b) {
  double product = 0, a_energy = 0, b_energy = 0;
  for (std::size_t i = 0; i < a.size() && i < b.size(); ++i) {
    if (std::isnan(a[i]) || std::isnan(b[i])) continue;
    product += static_cast<double>(a[i]) * b[i];
    a_energy += static_cast<double>(a[i]) * a[i];
    b_energy += static_cast<double>(b[i]) * b[i];
  }
  return product / std::sqrt(a_energy * b_energy);
}

double median(std::vector<std::int64_t> values) {
  if (values.empty()) return std::numeric_limits<double>::quiet_NaN();
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  const auto upper = static_cast<double>(*middle);
  if (values.size() % 2 == 1) return upper;
  return (upper + static_cast<double>(*std::max_element(values.begin(), middle))) / 2;
}

double mean(const std::vector<std::int64_t>& values) {
  double sum = 0;
  for (const std::int64_t value : values) sum += static_cast<double>(value);
  return sum / static_cast<double>(values.size());
}

// For n normal parts with E[g]^2 / Var[g] = snr, n mean^2 / s^2 is noncentral F with 1 and n - 1
// degrees of freedom and noncentrality n snr. Its mean (Johnson, Kotz & Balakrishnan 1995, ch. 30)
// is (n-1)/(n-3) (1 + n snr), so that
//   snr = E[(n-3)/(n-1) mean^2 / s^2 - 1/n].
// mean_gradient and square are those of GradientMoments, [positions].
double signal_to_noise(const at::Tensor& mean_gradient, const at::Tensor& square,
                       std::int64_t parts) {
  if (parts < 4) return std::numeric_limits<double>::quiet_NaN();
  const auto n = static_cast<double>(parts);
  const at::Tensor variance = square / (n - 1);
  const at::Tensor ratios = (mean_gradient.square() / variance).masked_select(variance > 0);
  return (n - 3) / (n - 1) * ratios.mean().item<double>() - 1 / n;
}

struct GradientMemory {
  SupportMemory support;
  Remembered gradient;
};

class BlindSpotProbe : public Probe {
 public:
  explicit BlindSpotProbe(const std::vector<ReadoutRun>& runs)
      : memory_(runs.size()),
        superset_(runs.front().policies.weights.sets.superset > 0),
        superset_since_(runs.size(), 0) {}

  bool reads_dense_weights() const override { return true; }
  bool by_default() const override { return false; }
  bool watches_updates() const override { return true; }
  bool watches_before_updates() const override { return superset_; }

  void begin(Model& model) override {
    for (std::size_t r = 0; r < memory_.size(); ++r) {
      for (const Linear* layer : model.linears()) {
        if (layer->connections == nullptr) continue;
        memory_[r][layer->name()].support.start(
            support_of(*layer->connections, static_cast<std::int64_t>(r)));
      }
    }
  }

  // The superset is looked at just before it changes.
  void before_update(const ProbeInput& input, const std::vector<char>& due) override {
    for (std::size_t r = 0; r < due.size(); ++r) {
      if (due[r]) look_at_supersets(input.model, r);
    }
  }

  void after_update(const MaskChange& change) override {
    const auto r = static_cast<std::size_t>(change.replica);
    superset_since_[r] = change.step;
    if (!superset_) memory_[r][change.layer].support.change(change.after, change.step);
  }

  Measurements measure(const ProbeInput& input) override;
  NamedLists save(std::int64_t replica) const override;
  void load(std::int64_t replica, const std::string& name,
            const std::vector<std::int64_t>& values) override;

 private:
  struct Energy {
    double missed = 0, all = 0, never = 0, positions = 0;
  };

  ActiveSet support_of(const Connections& connections, std::int64_t r) const;
  void look_at_supersets(Model& model, std::size_t r);
  void measure_layer(const ProbeInput& input, const GradientMoments& moments, std::size_t l,
                     std::int64_t r, Recorder& rows, Energy& total);
  void record_support(const ProbeInput& input, std::size_t l, std::int64_t r, Recorder& rows,
                      Energy& total) const;

  std::vector<std::map<std::string, GradientMemory>> memory_;  // [R]
  bool superset_;                                              // S is B
  std::vector<std::int64_t> superset_since_;                   // [R] step of the last update
};

ActiveSet BlindSpotProbe::support_of(const Connections& connections, std::int64_t r) const {
  const ActiveSet superset = superset_ ? connections.superset(r) : ActiveSet();
  return superset.known() ? superset : connections.active_set(r);
}

void BlindSpotProbe::look_at_supersets(Model& model, std::size_t r) {
  for (const Linear* layer : model.linears()) {
    if (layer->connections == nullptr) continue;
    memory_[r][layer->name()].support.change(
        support_of(*layer->connections, static_cast<std::int64_t>(r)), superset_since_[r]);
  }
}

void BlindSpotProbe::record_support(const ProbeInput& input, std::size_t l, std::int64_t r,
                                    Recorder& rows, Energy& total) const {
  const Linear& layer = *input.model.linears()[l];
  const std::int64_t n = layer.connections->positions();
  const std::int64_t last_dense = input.last_dense_step ? input.last_dense_step(r, l) : 0;
  const SupportMemory::Ages ages = memory_[static_cast<std::size_t>(r)]
                                       .at(layer.name())
                                       .support.ages(n, input.step_of(r), last_dense);
  rows.layer(r, kWeightsLevel, layer.name(), "never_share",
             static_cast<double>(ages.never) / static_cast<double>(n), WholeNetRow::kNone);
  rows.layer(r, kWeightsLevel, layer.name(), "gradient_age_mean", mean(ages.steps));
  rows.layer(r, kWeightsLevel, layer.name(), "gradient_age_median", median(ages.steps));
  total.never += static_cast<double>(ages.never);
  total.positions += static_cast<double>(n);
}

void BlindSpotProbe::measure_layer(const ProbeInput& input, const GradientMoments& moments,
                                   std::size_t l, std::int64_t r, Recorder& rows, Energy& total) {
  const Linear& layer = *input.model.linears()[l];
  const auto row = [&](const char* name, double value, WholeNetRow whole = WholeNetRow::kMean) {
    rows.layer(r, kWeightsLevel, layer.name(), name, value, whole);
  };
  const at::Tensor gradient = moments.mean[l][r].to(torch::kCPU, torch::kDouble);
  const at::Tensor square = moments.square[l][r].to(torch::kCPU, torch::kDouble);
  const at::Tensor dormant = current_flags(layer)[r].to(torch::kCPU).eq(0);
  const std::int64_t active = layer.connections->active(r);
  const double all = gradient.square().sum().item<double>();
  const double missed = gradient.masked_select(dormant).square().sum().item<double>();
  total.all += all;
  total.missed += missed;
  row("missed_energy", missed / all, WholeNetRow::kNone);
  row("egf", std::sqrt(all - missed) / static_cast<double>(active));
  row("gsnr", signal_to_noise(gradient, square, moments.parts));
  row("gsnr_dormant", signal_to_noise(gradient.masked_select(dormant),
                                      square.masked_select(dormant), moments.parts));
  Remembered& before = memory_[static_cast<std::size_t>(r)][layer.name()].gradient;
  Remembered now = remember(gradient, dormant, active);
  row("gradient_overlap", overlap(before, now, dormant));
  row("gradient_cosine", cosine(before.sample, now.sample));
  before = std::move(now);
}

Measurements BlindSpotProbe::measure(const ProbeInput& input) {
  Recorder rows(static_cast<std::int64_t>(input.runs.size()));
  const std::vector<Linear*> linears = input.model.linears();
  if (input.training_parts == 0 || input.model.sites(Level::kWeights) == 0) return rows.finish();
  const GradientMoments moments = gradient_moments(input, kGradientParts);
  at::NoGradGuard no_grad;
  for (std::size_t r = 0; r < input.runs.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    if (!input.wants(replica)) continue;
    if (superset_) look_at_supersets(input.model, r);
    Energy total;
    for (std::size_t l = 0; l < linears.size(); ++l) {
      if (linears[l]->connections == nullptr) continue;
      record_support(input, l, replica, rows, total);
      measure_layer(input, moments, l, replica, rows, total);
    }
    rows.whole(replica, kWeightsLevel, "missed_energy", total.missed / total.all);
    rows.whole(replica, kWeightsLevel, "never_share", total.never / total.positions);
  }
  return rows.finish();
}

NamedLists BlindSpotProbe::save(std::int64_t replica) const {
  const auto r = static_cast<std::size_t>(replica);
  NamedLists lists = {{kSuperset + "/since", {superset_since_[r]}}};
  for (const auto& [layer, memory] : memory_[r]) {
    for (auto& [what, values] : memory.support.save())
      lists.emplace_back(layer + "/" + what, values);
    lists.emplace_back(layer + "/top", memory.gradient.top);
    lists.emplace_back(layer + "/sample", packed_floats(memory.gradient.sample));
  }
  return lists;
}

void BlindSpotProbe::load(std::int64_t replica, const std::string& name,
                          const std::vector<std::int64_t>& values) {
  const auto r = static_cast<std::size_t>(replica);
  const auto [layer, what] = layer_and_what(name);
  if (layer == kSuperset) {
    if (!values.empty()) superset_since_[r] = values[0];
    return;
  }
  GradientMemory& memory = memory_[r][layer];
  if (what == "top") {
    memory.gradient.top = values;
  } else if (what == "sample") {
    memory.gradient.sample = unpacked_floats(values);
  } else {
    memory.support.load(what, values);
  }
}

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "blind_spot",
     .summary =
         "not by default; per layer, of the dense gradient at the sparse net: missed_energy, "
         "egf, gsnr, gsnr_dormant, gradient_overlap, gradient_cosine; of its support: "
         "never_share, gradient_age_mean, gradient_age_median",
     .cite = "arXiv:2102.01670",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<BlindSpotProbe>(runs);
    });

}  // namespace
}  // namespace tandem
