// This family measures which weights the tasks of a sequence use, per layer and for the whole net.
//
// Of runs with a mask, A that at the end of the task before and B the one now:
//   mask_iou          |A and B| / |A or B|
//   mask_iou_chance   what random masks of these densities have, a b / (a + b - a b); of the whole
//                     net the sum of n a b over layers of n positions by that of n (a + b - a b)
//   mask_turnover     |A \ B| / |A|
//   mask_exploration  share of positions that are in B or were in the mask at any task's end
// Of strategies that give each task a net of its own (packnet, wsn, hat), m_t the weights of the
// net of task t as it is now, t the task under way:
//   capacity_new         |m_t \ (m_1 or ... or m_t-1)| / n
//   capacity_reused      |m_t and (m_1 or ... or m_t-1)| / |m_t|
//   capacity_cumulative  |m_1 or ... or m_t| / n
// A weight is in m_t where it is read with more than half of the value that it is trained with
// (gates are not all quite 0 or 1). Where each layer reads what the one before it writes, weights
// of outputs that belong to other tasks are not in it, nor those into a unit that nothing in m_t
// reads. For the whole net all counts are totals over layers. Masks are compared as they are,
// whatever updates were logged between.
#include <map>

#include "data/tensor.h"
#include "probes/lists.h"
#include "probes/recorder.h"
#include "readout/readout.h"

namespace tandem {
namespace {

// Counts of two masks of a layer, or sums over layers; what is expected at random beside them.
struct MaskCourse {
  double before = 0, both = 0, either = 0, left = 0, ever = 0, positions = 0;
  double expected_both = 0, expected_either = 0;
  bool compares = false;

  void add(const MaskCourse& other) {
    before += other.before;
    both += other.both;
    either += other.either;
    left += other.left;
    ever += other.ever;
    positions += other.positions;
    expected_both += other.expected_both;
    expected_either += other.expected_either;
    compares = compares || other.compares;
  }
  template <class Row>
  void record(const Row& row) const {
    if (!compares) return;
    row("mask_iou", both / either);
    row("mask_iou_chance", expected_both / expected_either);
    row("mask_turnover", left / before);
    row("mask_exploration", ever / positions);
  }
};

struct TaskMasks {
  ActiveSet last, ever;  // at the end of the last task, at that of any
};

MaskCourse mask_course(const TaskMasks& memory, const ActiveSet& now, std::int64_t positions) {
  MaskCourse course;
  course.positions = static_cast<double>(positions);
  course.compares = memory.last.known();
  if (!course.compares) return course;
  const auto before = static_cast<double>(memory.last.count());
  const auto after = static_cast<double>(now.count());
  course.before = before;
  course.both = static_cast<double>(memory.last.count_common(now));
  course.either = before + after - course.both;
  course.left = static_cast<double>(memory.last.count_without(now));
  course.ever = static_cast<double>(memory.ever.united(now).count());
  course.expected_both = before * after / course.positions;
  course.expected_either = before + after - course.expected_both;
  return course;
}

// What the nets of tasks have of a layer's weights, or sums over layers.
struct TaskShare {
  double own = 0, fresh = 0, reused = 0, all = 0, positions = 0;

  void add(const TaskShare& other) {
    own += other.own;
    fresh += other.fresh;
    reused += other.reused;
    all += other.all;
    positions += other.positions;
  }
  template <class Row>
  void record(const Row& row) const {
    row("capacity_new", fresh / positions);
    row("capacity_reused", reused / own);
    row("capacity_cumulative", all / positions);
  }
};

// Beside Model::linears(): bool [in,out] of one replica, on the CPU.
using NetFlags = std::vector<at::Tensor>;

// The weights of a layer that are read with more than half of their value.
at::Tensor flags_of(const Linear& layer, const at::Tensor& trained, std::int64_t r) {
  const at::Tensor read = layer.weight.segment(layer.weight.flat(), r);
  const at::Tensor stored = (read.abs() > layer.weight.segment(trained, r).abs() / 2).cpu();
  const at::Tensor places =
      layer.connections == nullptr ? at::Tensor() : layer.connections->stored_positions();
  if (!places.defined()) return stored.view({layer.inputs(), layer.outputs()});
  return torch::zeros({layer.inputs() * layer.outputs()}, torch::kBool)
      .index_put_({layer.weight.segment(places, r).cpu()}, stored)
      .view({layer.inputs(), layer.outputs()});
}

// Takes away what is of other tasks' outputs, and from the last layer down what leads nowhere.
void keep_what_leads_on(NetFlags& net, const std::vector<std::int64_t>& task_of_output,
                        std::int64_t task) {
  at::Tensor leads;  // bool [out]
  if (!task_of_output.empty()) leads = torch::tensor(task_of_output, torch::kLong) == task;
  for (std::size_t l = net.size(); l-- > 0;) {
    if (leads.defined()) net[l] = net[l].logical_and(leads);
    leads = net[l].any(1);
  }
}

class CapacityProbe : public Probe {
 public:
  explicit CapacityProbe(std::size_t replicas) : memory_(replicas) {}

  bool by_default() const override { return false; }
  bool at_task_ends() const override { return true; }

  Measurements measure(const ProbeInput& input) override {
    at::NoGradGuard no_grad;
    const auto replicas = static_cast<std::int64_t>(input.runs.size());
    Recorder rows(replicas);
    if (!input.tasks || input.tasks().empty()) return rows.finish();
    for (std::int64_t r = 0; r < replicas; ++r) {
      if (input.wants(r) && has_mask(input.runs[static_cast<std::size_t>(r)])) {
        record_masks(input, r, rows);
      }
    }
    if (input.task_nets && input.read_as) record_nets(input, rows);
    return rows.finish();
  }

  NamedLists save(std::int64_t replica) const override {
    NamedLists lists;
    for (const auto& [layer, own] : memory_[static_cast<std::size_t>(replica)]) {
      lists.emplace_back(layer + "/last", own.last.save());
      lists.emplace_back(layer + "/ever", own.ever.save());
    }
    return lists;
  }
  void load(std::int64_t replica, const std::string& name,
            const std::vector<std::int64_t>& values) override {
    const auto [layer, what] = layer_and_what(name);
    TaskMasks& own = memory_[static_cast<std::size_t>(replica)][layer];
    if (what == "last") own.last = ActiveSet::load(values);
    if (what == "ever") own.ever = ActiveSet::load(values);
  }

 private:
  void record_masks(const ProbeInput& input, std::int64_t r, Recorder& rows);
  static void record_nets(const ProbeInput& input, Recorder& rows);

  std::vector<std::map<std::string, TaskMasks>> memory_;  // [R]
};

void CapacityProbe::record_masks(const ProbeInput& input, std::int64_t r, Recorder& rows) {
  MaskCourse total;
  for (const Linear* layer : input.model.linears()) {
    if (layer->connections == nullptr) continue;
    TaskMasks& own = memory_[static_cast<std::size_t>(r)][layer->name()];
    const ActiveSet now = layer->connections->active_set(r);
    const MaskCourse course = mask_course(own, now, layer->connections->positions());
    course.record([&](const char* name, double value) {
      rows.layer(r, kWeightsLevel, layer->name(), name, value, WholeNetRow::kNone);
    });
    total.add(course);
    if (!input.task_ends) continue;
    own.last = now;
    own.ever = own.ever.known() ? own.ever.united(now) : now;
  }
  total.record([&](const char* name, double value) { rows.whole(r, kWeightsLevel, name, value); });
}

void CapacityProbe::record_nets(const ProbeInput& input, Recorder& rows) {
  const std::vector<Linear*> linears = input.model.linears();
  const bool chain = is_chain(input.model);
  std::vector<at::Tensor> trained;
  for (const Linear* layer : linears) trained.push_back(layer->weight.flat());
  std::vector<NetFlags> earlier(input.runs.size()), now(input.runs.size());
  for (std::int64_t task = 1; task <= input.task; ++task) {
    const auto read = input.read_as(task);
    for (std::size_t r = 0; r < input.runs.size(); ++r) {
      if (!input.wants(static_cast<std::int64_t>(r))) continue;
      NetFlags own;
      for (std::size_t l = 0; l < linears.size(); ++l) {
        own.push_back(flags_of(*linears[l], trained[l], static_cast<std::int64_t>(r)));
      }
      const bool heads = !input.task_of_output.empty();
      if (chain) {
        keep_what_leads_on(own, heads ? input.task_of_output[r] : std::vector<std::int64_t>(),
                           task);
      }
      for (std::size_t l = 0; l < own.size() && task < input.task; ++l) {
        if (task == 1) earlier[r].push_back(torch::zeros_like(own[l]));
        earlier[r][l].logical_or_(own[l]);
      }
      now[r] = std::move(own);
    }
  }
  const auto count = [](const at::Tensor& flags) {
    return static_cast<double>(flags.sum().item<std::int64_t>());
  };
  for (std::size_t r = 0; r < now.size(); ++r) {
    const auto replica = static_cast<std::int64_t>(r);
    TaskShare total;
    for (std::size_t l = 0; l < now[r].size(); ++l) {
      const at::Tensor& own = now[r][l];
      const at::Tensor before = input.task > 1 ? earlier[r][l] : torch::zeros_like(own);
      TaskShare share;
      share.own = count(own);
      share.reused = count(own.logical_and(before));
      share.fresh = share.own - share.reused;
      share.all = count(before) + share.fresh;
      share.positions = static_cast<double>(own.numel());
      share.record([&](const char* name, double value) {
        rows.layer(replica, kWeightsLevel, linears[l]->name(), name, value, WholeNetRow::kNone);
      });
      total.add(share);
    }
    total.record(
        [&](const char* name, double value) { rows.whole(replica, kWeightsLevel, name, value); });
  }
}

TANDEM_REGISTERED = probes().add(
    {.kind = "probe",
     .name = "capacity",
     .summary = "not by default; per layer, between the masks of tasks: mask_iou, "
                "mask_iou_chance, mask_turnover, mask_exploration; of tasks' own nets: "
                "capacity_new, capacity_reused, capacity_cumulative",
     .cite = "arXiv:2102.02887",
     .file = __FILE__},
    [](const std::vector<ReadoutRun>& runs) -> std::unique_ptr<Probe> {
      return std::make_unique<CapacityProbe>(runs.size());
    });

}  // namespace
}  // namespace tandem
