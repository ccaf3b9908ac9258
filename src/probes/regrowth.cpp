// This family measures how good growth is, against an oracle. Around the first update and each
// `probe_updates`-th after it: k = |G| positions G = after \ before were grown among the candidates
// C = not before; G* are the k candidates with the largest |g|, g the mean gradient over the fixed
// training batch of the sparse net as it was just before. What an update drops and grows again is
// in neither, and the oracle chooses single positions, whatever the method's granularity.
//   growth_count        k
//   growth_precision    o / k, o = |G and G*|
//   growth_over_chance  (o - e) / (k - e), e = k^2 / |C| the expected o of k candidates drawn at
//                       random: 0 by chance, 1 at best
//   growth_energy       sum over G of g^2 / sum over G* of g^2
//   realised_gain       loss (nats, validation batch) with what is left of G knocked out, minus
//                       with it kept, just before the next update: for the whole net
// Over all updates:
//   growth_survival_j   share of what was grown that is still active j updates later, j = 1, 2, 4,
//                       8: product over i <= j of 1 - died_i / at_risk_i over the cohorts by birth
//                       (Kaplan & Meier 1958), so that young cohorts count while they are seen
//   growth_half_life    the first j = 1 ... 8 at which that share is 1/2 or less; absent where it
//                       is above as far as it is seen
// Rows of an update have its step, and updates are those that are logged (topology_log_steps). For
// the whole net k, o, e, energies and cohorts are totals over layers: each layer draws its own k
// of its own candidates, so chance is the sum of k^2 / |C|.
#include <algorithm>
#include <array>
#include <limits>
#include <map>

#include "config/option.h"
#include "data/tensor.h"
#include "probes/dense_gradient.h"
#include "probes/lists.h"
#include "probes/recorder.h"
#include "readout/readout.h"
#include "topology/select_rows.h"

namespace tandem {
namespace {

constexpr std::int64_t kParts = 64;  // parts of the training batch that the oracle reads
constexpr std::size_t kLongest = 8;  // updates that a cohort is followed
constexpr double kRounding = 1e-12;  // forgiven rounding of a product of kLongest shares

TANDEM_REGISTERED =
    declare_option({.name = "probe_updates",
                    .type = OptionType::kInt,
                    .default_value = "10",
                    .neutral = "10",
                    .help = "the regrowth probe looks at every so many topology updates",
                    .unit = "updates",
                    .minimum = 1,
                    .group = "evaluation"});

// This estimates survival by Kaplan and Meier over cohorts by birth.
class Survival {
 public:
  void update(const ActiveSet& before, const ActiveSet& after) {
    for (Cohort& cohort : cohorts_) {
      const ActiveSet dead = cohort.alive.without(after);
      at_risk_[cohort.age] += cohort.alive.count();
      died_[cohort.age] += dead.count();
      cohort.alive = cohort.alive.without(dead);
      ++cohort.age;
    }
    std::erase_if(cohorts_, [](const Cohort& each) {
      return each.age == kLongest || each.alive.count() == 0;
    });
    ActiveSet born = after.without(before);
    if (born.count() > 0) cohorts_.push_back({0, std::move(born)});
  }

  void add(const Survival& other) {
    for (std::size_t i = 0; i < kLongest; ++i) {
      at_risk_[i] += other.at_risk_[i];
      died_[i] += other.died_[i];
    }
  }

  // Returns NaN where no cohort was seen that long.
  double share(std::size_t updates) const {
    double alive = 1;
    for (std::size_t i = 0; i < updates && alive > 0; ++i) {
      if (at_risk_[i] == 0) return std::numeric_limits<double>::quiet_NaN();
      alive *= 1 - static_cast<double>(died_[i]) / static_cast<double>(at_risk_[i]);
    }
    return alive;
  }

  // Returns NaN where the share is above 1/2 for as long as any cohort was seen.
  double half_life() const {
    for (std::size_t j = 1; j <= kLongest; ++j) {
      if (share(j) <= 0.5 + kRounding) return static_cast<double>(j);
    }
    return std::numeric_limits<double>::quiet_NaN();
  }

  // The memory is saved as ages, numbers at risk and died, and a list per cohort.
  void save(const std::string& layer, NamedLists& lists) const {
    std::vector<std::int64_t> counts(at_risk_.begin(), at_risk_.end());
    counts.insert(counts.end(), died_.begin(), died_.end());
    lists.emplace_back(layer + "/counts", counts);
    for (const Cohort& cohort : cohorts_) {
      lists.emplace_back(layer + "/cohort" + std::to_string(cohort.age), cohort.alive.save());
    }
  }
  void load(const std::string& what, const std::vector<std::int64_t>& values) {
    if (what == "counts" && values.size() == 2 * kLongest) {
      std::copy_n(values.begin(), kLongest, at_risk_.begin());
      std::copy_n(values.begin() + kLongest, kLongest, died_.begin());
    } else if (what.rfind("cohort", 0) == 0) {
      cohorts_.push_back(
          {static_cast<std::size_t>(std::stoul(what.substr(6))), ActiveSet::load(values)});
    }
  }

 private:
  struct Cohort {
    std::size_t age;  // updates since its birth; no two are born at once
    ActiveSet alive;
  };
  std::vector<Cohort> cohorts_;
  std::array<std::int64_t, kLongest> at_risk_ = {}, died_ = {};
};

// This counts how an update did against the oracle, in one layer or several.
struct Growth {
  double grown = 0, by_chance = 0, common = 0, energy = 0, best_energy = 0;  // k, e, o

  void add(const Growth& other) {
    grown += other.grown;
    by_chance += other.by_chance;
    common += other.common;
    energy += other.energy;
    best_energy += other.best_energy;
  }
  template <class Row>
  void record(const Row& row) const {
    row("growth_count", grown);
    if (grown == 0) return;
    row("growth_precision", common / grown);
    row("growth_over_chance", (common - by_chance) / (grown - by_chance));
    row("growth_energy", energy / best_energy);
  }
};

at::Tensor indices_of(const ActiveSet& set) { return torch::tensor(set.positions(), torch::kLong); }

// `gradient` is [n] on the CPU.
Growth growth_of(const at::Tensor& gradient, const ActiveSet& before, const ActiveSet& grown) {
  const at::Tensor candidates =
      torch::ones({gradient.numel()}, torch::kByte).index_fill_(0, indices_of(before), 0);
  const at::Tensor energy = gradient.to(torch::kDouble).square();
  const at::Tensor best = select_rows(gradient.abs().unsqueeze(0), candidates.unsqueeze(0),
                                      {grown.count()}, /*largest=*/true)[0]
                              .ne(0);
  const at::Tensor own = indices_of(grown);
  const auto count = static_cast<double>(grown.count());
  return {count, count * count / static_cast<double>(gradient.numel() - before.count()),
          static_cast<double>(best.index_select(0, own).sum().item<std::int64_t>()),
          energy.index_select(0, own).sum().item<double>(),
          energy.masked_select(best).sum().item<double>()};
}

struct Row {
  std::string layer, name;
  std::int64_t step = 0;
  double value = 0;
};

struct RegrowthMemory {
  std::map<std::string, Survival> survival;  // by layer
  std::map<std::string, ActiveSet> grown;    // what a measured update grew, until the next one
  std::vector<Row> rows;                     // rows that wait for the next measure
  std::int64_t updates = 0;
  // These belong to the update under way.
  bool measuring = false;
  Growth total;
};

class RegrowthProbe : public Probe {
 public:
  explicit RegrowthProbe(const std::vector<ReadoutRun>& runs)
      : memory_(runs.size()), grows_(false), every_(1) {
    for (const TopologyOperation& operation : runs.front().policies.weights.topology.operations) {
      grows_ = grows_ || operation.kind == TopologyOperation::Kind::kGrow ||
               operation.kind == TopologyOperation::Kind::kGrowTo ||
               operation.kind == TopologyOperation::Kind::kRank;
    }
    const auto& said = runs.front().config.values();
    if (said.count("probe_updates") != 0) every_ = runs.front().config.integer("probe_updates");
  }

  bool reads_dense_weights() const override { return true; }
  bool by_default() const override { return false; }
  bool watches_updates() const override { return grows_; }
  bool watches_before_updates() const override { return grows_; }

  void begin(Model& model) override {
    for (const Linear* layer : model.linears()) {
      if (layer->connections != nullptr) layers_.push_back(layer->name());
    }
  }
  void before_update(const ProbeInput& input, const std::vector<char>& due) override;
  void after_update(const MaskChange& change) override;
  Measurements measure(const ProbeInput& input) override;
  NamedLists save(std::int64_t replica) const override;
  void load(std::int64_t replica, const std::string& name,
            const std::vector<std::int64_t>& values) override;

 private:
  void note_gains(const ProbeInput& input, const std::vector<char>& due);
  LayerMasks without_grown(Model& model, const std::vector<char>& due) const;
  void take_gradients(const ProbeInput& input);

  std::vector<RegrowthMemory> memory_;  // [R]
  std::vector<std::string> layers_;
  bool grows_;
  std::int64_t every_;
  std::map<std::string, at::Tensor>
      gradients_;  // the update under way's, by layer [R,n] on the CPU
};

LayerMasks RegrowthProbe::without_grown(Model& model, const std::vector<char>& due) const {
  LayerMasks masks;
  for (const Linear* layer : model.linears()) {
    at::Tensor& mask = masks.emplace_back();
    if (layer->connections == nullptr) continue;
    const std::int64_t n = layer->connections->positions();
    mask = torch::ones({static_cast<std::int64_t>(due.size()), n}, torch::kByte);
    for (std::size_t r = 0; r < due.size(); ++r) {
      const auto grown = memory_[r].grown.find(layer->name());
      if (!due[r] || grown == memory_[r].grown.end()) continue;
      mask[static_cast<std::int64_t>(r)].index_fill_(0, indices_of(grown->second), 0);
    }
    mask = mask.to(layer->weight.value.device());
  }
  return masks;
}

// What has left the topology since is outside of the sparse net, knocked out or not.
void RegrowthProbe::note_gains(const ProbeInput& input, const std::vector<char>& due) {
  bool any = false;
  for (std::size_t r = 0; r < due.size(); ++r) any = any || (due[r] && !memory_[r].grown.empty());
  if (!any) return;
  at::NoGradGuard no_grad;
  Model& model = input.model;
  const BorrowedMasks borrowed(model, current_masks(model));
  const auto loss = [&] {
    Context context = sparse_context(input.runs);
    return input.loss(model.forward(input.x, context)).to(torch::kCPU, torch::kDouble);
  };
  const at::Tensor kept = loss();
  const MaskedWeights knocked_out(model, without_grown(model, due));
  const at::Tensor gain = loss() - kept;
  for (std::size_t r = 0; r < due.size(); ++r) {
    RegrowthMemory& own = memory_[r];
    if (!due[r] || own.grown.empty()) continue;
    const auto replica = static_cast<std::int64_t>(r);
    own.rows.push_back(
        {kWeightsLevel, "realised_gain", input.step_of(replica), gain[replica].item<double>()});
    own.grown.clear();
  }
}

void RegrowthProbe::take_gradients(const ProbeInput& input) {
  const GradientMoments moments = gradient_moments(input, kParts);
  const std::vector<Linear*> linears = input.model.linears();
  for (std::size_t l = 0; l < linears.size(); ++l) {
    if (moments.mean[l].defined()) gradients_[linears[l]->name()] = moments.mean[l].to(torch::kCPU);
  }
}

void RegrowthProbe::before_update(const ProbeInput& input, const std::vector<char>& due) {
  gradients_.clear();
  bool any = false, gains = false;
  for (std::size_t r = 0; r < due.size(); ++r) {
    RegrowthMemory& own = memory_[r];
    if (!due[r]) continue;
    gains = gains || !own.grown.empty();
    own.measuring = own.updates++ % every_ == 0;
    own.total = {};
    any = any || own.measuring;
  }
  if (!any && !gains) return;
  const DenseCopies copies(input.model);
  note_gains(input, due);
  if (any) take_gradients(input);
}

void RegrowthProbe::after_update(const MaskChange& change) {
  RegrowthMemory& own = memory_[static_cast<std::size_t>(change.replica)];
  own.survival[change.layer].update(change.before, change.after);
  if (!own.measuring) return;
  ActiveSet grown = change.after.without(change.before);
  const auto note = [&](const std::string& layer) {
    return [&own, &change, layer](const char* name, double value) {
      own.rows.push_back({layer, name, change.step, value});
    };
  };
  Growth growth;
  if (grown.count() > 0) {
    growth = growth_of(gradients_.at(change.layer)[change.replica], change.before, grown);
    own.grown[change.layer] = std::move(grown);
  }
  growth.record(note(kWeightsLevel + "/" + change.layer));
  own.total.add(growth);
  if (change.layer != layers_.back()) return;
  own.total.record(note(kWeightsLevel));
  own.measuring = false;
}

Measurements RegrowthProbe::measure(const ProbeInput& input) {
  Recorder rows(static_cast<std::int64_t>(input.runs.size()));
  std::vector<std::vector<Row>> waiting(memory_.size());
  for (std::size_t r = 0; r < memory_.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    if (!input.wants(replica)) continue;
    waiting[r].swap(memory_[r].rows);
    Survival all;
    for (const auto& [layer, survival] : memory_[r].survival) {
      for (const std::size_t j : {1, 2, 4, 8}) {
        rows.layer(replica, kWeightsLevel, layer, "growth_survival_" + std::to_string(j),
                   survival.share(j), WholeNetRow::kNone);
      }
      rows.layer(replica, kWeightsLevel, layer, "growth_half_life", survival.half_life(),
                 WholeNetRow::kNone);
      all.add(survival);
    }
    for (const std::size_t j : {1, 2, 4, 8}) {
      rows.whole(replica, kWeightsLevel, "growth_survival_" + std::to_string(j), all.share(j));
    }
    rows.whole(replica, kWeightsLevel, "growth_half_life", all.half_life());
  }
  Measurements measured = rows.finish();
  for (std::size_t r = 0; r < waiting.size(); ++r) {
    for (const Row& row : waiting[r]) {
      measured[r].push_back({row.layer, row.name, row.value, row.step});
    }
  }
  return measured;
}

NamedLists RegrowthProbe::save(std::int64_t replica) const {
  const RegrowthMemory& own = memory_[static_cast<std::size_t>(replica)];
  NamedLists lists = {{kRunList + "/updates", {own.updates}}};
  for (const auto& [layer, survival] : own.survival) survival.save(layer, lists);
  for (const auto& [layer, grown] : own.grown) lists.emplace_back(layer + "/grown", grown.save());
  for (std::size_t i = 0; i < own.rows.size(); ++i) {
    const Row& row = own.rows[i];
    lists.emplace_back(row.layer + "/row." + std::to_string(i) + "." + row.name,
                       std::vector<std::int64_t>{row.step, as_integer(row.value)});
  }
  return lists;
}

void RegrowthProbe::load(std::int64_t replica, const std::string& name,
                         const std::vector<std::int64_t>& values) {
  RegrowthMemory& own = memory_[static_cast<std::size_t>(replica)];
  const auto [layer, what] = layer_and_what(name);
  if (layer == kRunList) {
    if (!values.empty()) own.updates = values[0];
  } else if (what == "grown") {
    own.grown[layer] = ActiveSet::load(values);
  } else if (what.rfind("row.", 0) == 0 && values.size() == 2) {
    const auto place = static_cast<std::size_t>(std::stoul(what.substr(4)));
    if (own.rows.size() <= place) own.rows.resize(place + 1);
    own.rows[place] = {layer, what.substr(what.find('.', 4) + 1), values[0], as_real(values[1])};
  } else {
    own.survival[layer].load(what, values);
  }
}

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "regrowth",
     .summary = "not by default; around every probe_updates-th update that grows: growth_count, "
                "growth_precision, growth_over_chance, growth_energy per layer, realised_gain; "
                "growth_survival_1, _2, _4, _8, growth_half_life",
     .cite = "Kaplan & Meier 1958",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<RegrowthProbe>(runs);
    });

}  // namespace
}  // namespace tandem
