// This family measures how a topology moves, per layer with connections and in total over them.
//   coverage        share of positions that were ever active (R_s of Liu et al. 2021)
//   churn           |A xor B| / (|A| + |B|), A and B the masks around the last update
//   grown, dropped  positions that the last update brought in and took out
//   survival        share of what an update grew that is still active after the next update, over
//                   all updates so far
// A position that one update drops and grows again has not moved. Random growth of g_u positions
// at update u covers 1 - unseen / n, unseen_0 = n - k, unseen *= 1 - g_u / (n - k + g_u).
// Updates are those that are logged (topology_log_steps): coverage, churn and survival of masks
// that are chosen anew at every step are over a sample of their updates, each with the masks right
// before and right after it.
#include <map>

#include "data/tensor.h"
#include "probes/lists.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

struct Counts {
  std::int64_t ever = 0, positions = 0;
  std::int64_t moved = 0, sizes = 0, grown = 0, dropped = 0;  // counts of the last update
  std::int64_t born = 0, survived = 0;                        // over all updates with a next one
  bool updated = false;

  void add(const Counts& other) {
    ever += other.ever;
    positions += other.positions;
    moved += other.moved;
    sizes += other.sizes;
    grown += other.grown;
    dropped += other.dropped;
    born += other.born;
    survived += other.survived;
    updated = updated || other.updated;
  }
};

class LayerMemory {
 public:
  void update(const ActiveSet& before, const ActiveSet& after) {
    if (newborn_.known()) {
      counts_.born += newborn_.count();
      counts_.survived += newborn_.count_common(after);
    }
    ever_ = (ever_.known() ? ever_.united(before) : before).united(after);
    newborn_ = after.without(before);
    counts_.grown = newborn_.count();
    counts_.dropped = before.count_without(after);
    counts_.moved = counts_.grown + counts_.dropped;
    counts_.sizes = before.count() + after.count();
    counts_.updated = true;
  }

  Counts counts(std::int64_t positions) const {
    Counts all = counts_;
    all.ever = ever_.count();
    all.positions = positions;
    return all;
  }

  void save(const std::string& layer, NamedLists& lists) const {
    lists.emplace_back(layer + "/ever", ever_.save());
    lists.emplace_back(layer + "/newborn", newborn_.save());
    lists.emplace_back(layer + "/counts",
                       std::vector<std::int64_t>{counts_.moved, counts_.sizes, counts_.grown,
                                                 counts_.dropped, counts_.born, counts_.survived});
  }

  void load(const std::string& what, const std::vector<std::int64_t>& values) {
    if (what == "ever") ever_ = ActiveSet::load(values);
    if (what == "newborn") newborn_ = ActiveSet::load(values);
    if (what != "counts") return;
    if (values.size() != 6) refuse_list(what, "6 numbers");
    counts_ = {.moved = values[0],
               .sizes = values[1],
               .grown = values[2],
               .dropped = values[3],
               .born = values[4],
               .survived = values[5],
               .updated = true};
  }

 private:
  ActiveSet ever_, newborn_;  // newborn: what the last update grew
  Counts counts_;
};

double ratio(std::int64_t part, std::int64_t all) {
  return static_cast<double>(part) / static_cast<double>(all);
}

class TopologyProbe : public Probe {
 public:
  explicit TopologyProbe(std::size_t replicas) : memory_(replicas) {}

  bool watches_updates() const override { return true; }

  void after_update(const MaskChange& change) override {
    memory_[static_cast<std::size_t>(change.replica)][change.layer].update(change.before,
                                                                           change.after);
  }

  Measurements measure(const ProbeInput& input) override {
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    for (std::int64_t r = 0; r < replicas; ++r) {
      Counts total;
      for (const Linear* layer : input.model.linears()) {
        if (layer->connections == nullptr) continue;
        const Counts own = counts_of(r, *layer);
        record(own, [&](const char* name, double value) {
          rows.layer(r, kWeightsLevel, layer->name(), name, value, WholeNetRow::kNone);
        });
        total.add(own);
      }
      record(total,
             [&](const char* name, double value) { rows.whole(r, kWeightsLevel, name, value); });
    }
    return rows.finish();
  }

  NamedLists save(std::int64_t replica) const override {
    NamedLists lists;
    for (const auto& [layer, memory] : memory_[static_cast<std::size_t>(replica)]) {
      memory.save(layer, lists);
    }
    return lists;
  }

  void load(std::int64_t replica, const std::string& name,
            const std::vector<std::int64_t>& values) override {
    const auto [layer, what] = layer_and_what(name);
    memory_[static_cast<std::size_t>(replica)][layer].load(what, values);
  }

 private:
  Counts counts_of(std::int64_t replica, const Linear& layer) const {
    const auto& layers = memory_[static_cast<std::size_t>(replica)];
    const auto found = layers.find(layer.name());
    const std::int64_t n = layer.connections->positions();
    if (found != layers.end()) return found->second.counts(n);
    Counts initial;
    initial.ever = layer.connections->active(replica);
    initial.positions = n;
    return initial;
  }

  template <class Row>
  static void record(const Counts& counts, const Row& row) {
    row("coverage", ratio(counts.ever, counts.positions));
    if (!counts.updated) return;
    row("churn", ratio(counts.moved, counts.sizes));
    row("grown", static_cast<double>(counts.grown));
    row("dropped", static_cast<double>(counts.dropped));
    row("survival", ratio(counts.survived, counts.born));
  }

  std::vector<std::map<std::string, LayerMemory>> memory_;  // [R]
};

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "topology",
     .summary = "per layer: coverage, and around updates churn, grown, dropped, survival",
     .cite = "arXiv:2102.02887",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<TopologyProbe>(runs.size());
    });

}  // namespace
}  // namespace tandem
