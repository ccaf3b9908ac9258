// This family measures how far a layer's mask A of n positions has moved.
//   flips            how often a position became active or dormant so far, mean over positions
//   flipped_share    share of positions that ever did
//   sad              |A xor A'| / n, A' the mask at the measure before (sparse architecture
//                    divergence of SR-STE, Zhou et al. 2021, per weight)
//   distance_start, distance_last, distance_end   1 - |A and B| / |A or B| to the mask B of the
//                    start, of the measure before, of the end of the run
//   moved_start, moved_last, moved_end   |A xor B| / (|A| + |B|): |A xor B| / 2k where both have
//                    k connections
// The distance to the end has the step of A and is written by the run's last measure, for the
// masks that were kept: those of all measures, thinned to every second one whenever there are 64.
// For the whole net all counts are totals over layers. Flips are those of logged updates
// (topology_log_steps); the distances compare masks as they are, whatever was logged between.
#include <algorithm>
#include <map>

#include "data/tensor.h"
#include "probes/lists.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

constexpr std::size_t kMostKept = 64;

// A Distance is between two masks of a layer, or of all layers together.
struct Distance {
  std::int64_t common = 0, sizes = 0;

  static Distance of(const ActiveSet& a, const ActiveSet& b) {
    return {a.count_common(b), a.count() + b.count()};
  }
  void add(const Distance& other) {
    common += other.common;
    sizes += other.sizes;
  }
  double differing() const { return static_cast<double>(sizes - 2 * common); }
  double jaccard() const { return differing() / static_cast<double>(sizes - common); }
  double moved() const { return differing() / static_cast<double>(sizes); }
};

struct LineageLayer {
  ActiveSet start, last, flipped;
  std::int64_t flips = 0;
  std::map<std::int64_t, ActiveSet> kept;  // by step
};

struct LineageMemory {
  std::map<std::string, LineageLayer> layers;
  std::int64_t measures = 0, keeps_every = 1;
};

// These are numbers of one layer, or sums over layers.
struct Course {
  double flips = 0, flipped = 0, positions = 0;
  bool has_last = false;
  Distance start, last;

  void add(const Course& other) {
    flips += other.flips;
    flipped += other.flipped;
    positions += other.positions;
    has_last = has_last || other.has_last;
    start.add(other.start);
    last.add(other.last);
  }
  template <class Row>
  void record(const Row& row) const {
    row("flips", flips / positions);
    row("flipped_share", flipped / positions);
    row("distance_start", start.jaccard());
    row("moved_start", start.moved());
    if (!has_last) return;
    row("sad", last.differing() / positions);
    row("distance_last", last.jaccard());
    row("moved_last", last.moved());
  }
};

class LineageProbe : public Probe {
 public:
  explicit LineageProbe(std::size_t replicas) : memory_(replicas) {}

  bool by_default() const override { return false; }
  bool watches_updates() const override { return true; }

  void begin(Model& model) override {
    for (std::size_t r = 0; r < memory_.size(); ++r) {
      for (const Linear* layer : model.linears()) {
        if (layer->connections == nullptr) continue;
        memory_[r].layers[layer->name()].start =
            layer->connections->active_set(static_cast<std::int64_t>(r));
      }
    }
  }

  void after_update(const MaskChange& change) override {
    LineageLayer& own = memory_[static_cast<std::size_t>(change.replica)].layers[change.layer];
    const ActiveSet moved =
        change.before.without(change.after).united(change.after.without(change.before));
    own.flips += moved.count();
    own.flipped = own.flipped.known() ? own.flipped.united(moved) : moved;
  }

  Measurements measure(const ProbeInput& input) override {
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    for (std::int64_t r = 0; r < replicas; ++r) {
      if (input.wants(r)) record_course(input, r, rows);
    }
    Measurements measured = rows.finish();
    for (std::int64_t r = 0; input.last && r < replicas; ++r) {
      if (input.wants(r)) add_distances_to_end(r, measured[static_cast<std::size_t>(r)]);
    }
    return measured;
  }

  NamedLists save(std::int64_t replica) const override;
  void load(std::int64_t replica, const std::string& name,
            const std::vector<std::int64_t>& values) override;

 private:
  void record_course(const ProbeInput& input, std::int64_t r, Recorder& rows);
  void thin(LineageMemory& run) const;
  void add_distances_to_end(std::int64_t r, std::vector<Measurement>& rows) const;

  std::vector<LineageMemory> memory_;  // [R]
};

Course course_of(const LineageLayer& own, const ActiveSet& now, std::int64_t positions) {
  Course course;
  course.flips = static_cast<double>(own.flips);
  course.flipped = static_cast<double>(own.flipped.count());
  course.positions = static_cast<double>(positions);
  course.start = Distance::of(now, own.start);
  course.has_last = own.last.known();
  if (course.has_last) course.last = Distance::of(now, own.last);
  return course;
}

void LineageProbe::record_course(const ProbeInput& input, std::int64_t r, Recorder& rows) {
  LineageMemory& run = memory_[static_cast<std::size_t>(r)];
  const bool keeps = run.measures++ % run.keeps_every == 0;
  Course total;
  for (const Linear* layer : input.model.linears()) {
    if (layer->connections == nullptr) continue;
    LineageLayer& own = run.layers.at(layer->name());
    ActiveSet now = layer->connections->active_set(r);
    const Course course = course_of(own, now, layer->connections->positions());
    course.record([&](const char* name, double value) {
      rows.layer(r, kWeightsLevel, layer->name(), name, value, WholeNetRow::kNone);
    });
    total.add(course);
    if (keeps) own.kept[input.step_of(r)] = now;
    own.last = std::move(now);
  }
  if (total.positions > 0) {
    total.record(
        [&](const char* name, double value) { rows.whole(r, kWeightsLevel, name, value); });
  }
  if (keeps) thin(run);
}

// Every second mask goes, and the first stays.
void LineageProbe::thin(LineageMemory& run) const {
  bool thins = false;
  for (auto& [layer, own] : run.layers) {
    if (own.kept.size() < kMostKept) continue;
    thins = true;
    bool stays = true;
    for (auto each = own.kept.begin(); each != own.kept.end(); stays = !stays) {
      each = stays ? std::next(each) : own.kept.erase(each);
    }
  }
  if (thins) run.keeps_every *= 2;
}

void LineageProbe::add_distances_to_end(std::int64_t r, std::vector<Measurement>& rows) const {
  std::map<std::int64_t, Distance> totals;  // by step
  const auto add = [&](const std::string& layer, std::int64_t step, const Distance& distance) {
    rows.push_back({layer, "distance_end", distance.jaccard(), step});
    rows.push_back({layer, "moved_end", distance.moved(), step});
  };
  for (const auto& [layer, own] : memory_[static_cast<std::size_t>(r)].layers) {
    for (const auto& [step, mask] : own.kept) {
      const Distance distance = Distance::of(mask, own.last);
      add(kWeightsLevel + "/" + layer, step, distance);
      totals[step].add(distance);
    }
  }
  for (const auto& [step, distance] : totals) add(kWeightsLevel, step, distance);
}

NamedLists LineageProbe::save(std::int64_t replica) const {
  const LineageMemory& run = memory_[static_cast<std::size_t>(replica)];
  NamedLists lists = {{kRunList + "/measures", {run.measures, run.keeps_every}}};
  for (const auto& [layer, own] : run.layers) {
    lists.emplace_back(layer + "/start", own.start.save());
    lists.emplace_back(layer + "/last", own.last.save());
    lists.emplace_back(layer + "/flipped", own.flipped.save());
    lists.emplace_back(layer + "/flips", std::vector<std::int64_t>{own.flips});
    for (const auto& [step, mask] : own.kept) {
      lists.emplace_back(layer + "/kept." + std::to_string(step), mask.save());
    }
  }
  return lists;
}

void LineageProbe::load(std::int64_t replica, const std::string& name,
                        const std::vector<std::int64_t>& values) {
  LineageMemory& run = memory_[static_cast<std::size_t>(replica)];
  const auto [layer, what] = layer_and_what(name);
  if (layer == kRunList) {
    if (values.size() != 2) refuse_list(name, "2 numbers");
    run.measures = values[0];
    run.keeps_every = values[1];
    return;
  }
  LineageLayer& own = run.layers[layer];
  if (what == "start") own.start = ActiveSet::load(values);
  if (what == "last") own.last = ActiveSet::load(values);
  if (what == "flipped") own.flipped = ActiveSet::load(values);
  if (what == "flips" && values.size() == 1) own.flips = values[0];
  if (what.rfind("kept.", 0) == 0) own.kept[std::stoll(what.substr(5))] = ActiveSet::load(values);
}

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "lineage",
     .summary = "not by default; per layer: flips, flipped_share, sad, distance_start/_last/_end, "
                "moved_start/_last/_end",
     .cite = "arXiv:2102.04010",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<LineageProbe>(runs.size());
    });

}  // namespace
}  // namespace tandem
