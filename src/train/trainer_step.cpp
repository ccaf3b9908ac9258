// The step: its plan and examples on the host, its rows in the tables, its kind's work on the
// device, and the topology updates between steps.
#include <algorithm>

#include "core/parallel.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "plan/step_demands.h"
#include "topology/segments.h"
#include "train/loss.h"
#include "train/trainer.h"

namespace tandem {
namespace {

constexpr std::int64_t kFirstSteps = 4;

}  // namespace

std::vector<ReplicaPlan> Trainer::plan_step(std::int64_t stage, std::int64_t in_stage) const {
  std::vector<ReplicaPlan> plans;
  plans.reserve(runs_.size());
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    plans.push_back(plan_replica(runs_[r], stage, in_stage));
    if (frozen_[r] || host_state_[r].alive == 0) plans.back().runs = false;
  }
  return plans;
}

// Fills replica r's part of the tables' row `row`, its step `in_stage` of the stage.
Trainer::RowCounts Trainer::prepare(std::int64_t r, std::int64_t row, std::int64_t stage,
                                    std::int64_t in_stage, const ReplicaPlan& plan) {
  const auto replica = static_cast<std::size_t>(r);
  tables_->numbers(row, r) = numbers_of(replica, plan);
  ReplicaRows rows;  // by role
  if (plan.runs) {
    const std::vector<std::int64_t> own = batches_.of_step(r, in_stage);
    std::vector<BatchRow> current;
    current.reserve(own.size());
    for (const std::int64_t each : own) current.push_back({each});
    ReplicaRows replays(needs_.replays.size());
    rows.reserve(1 + replays.size());
    strategy_->batch(r, plan.step, current, replays);
    rows.push_back(std::move(current));
    for (auto& each : replays) rows.push_back(std::move(each));
    if (needs_.numbers > 0) {
      const std::int64_t epoch =
          runs_[replica].timeline.steps_per_epoch[static_cast<std::size_t>(stage)];
      strategy_->numbers(r, {plan.step, in_stage, epoch}, tables_->of_strategy(row, r));
    }
  }
  tables_->set_rows(row, r, rows);
  double in_batch = 0, beside = 0;
  for (std::size_t role = 0; role < rows.size(); ++role) {
    const bool trains = role == 0 || needs_.replays[role - 1].in_batch;
    (trains ? in_batch : beside) += static_cast<double>(rows[role].size());
  }
  const double current = rows.empty() ? 0 : static_cast<double>(rows.front().size());
  // Of what lies beside the batch there is a gradient, as large as two forward passes. Candidates
  // are passed twice, and there is a gradient of the current rows.
  const double looked = chooses() && beside > 0 ? 2 * beside + 3 * current : 3 * beside;
  return {in_batch, (stage > 0 ? needs_.passed_rows * current : 0) +
                        needs_.passed_replayed * (in_batch - current) + looked};
}

kernels::StepNumbers Trainer::numbers_of(std::size_t r, const ReplicaPlan& plan) const {
  const RunSchedule& run = runs_[r];
  const Policies& weights = run.policies.weights;
  const bool full = plan.levels.weights.full, both = demands().both_streams;
  kernels::StepNumbers numbers;
  numbers.runs = plan.runs;
  numbers.steps = !plan.update_instead;
  numbers.lr = plan.lr;
  numbers.mask_gradient = cuts_gradient(demands(), plan);
  numbers.mask_update = cuts_update(demands(), plan);
  const Dormant& dormant = weights.dormant;
  if (dormant.in_gradient) {
    numbers.dormant_gradient_decay = dormant.eta;
  } else if (dormant.kind == Dormant::Kind::kDecay && !(dormant.sparse_steps_only && full)) {
    numbers.keep_dormant = 1 - dormant.eta * (dormant.scaled_by_lr ? plan.lr : 1.0);
  }
  for (const Level level : kLevels) {
    const Alignment& alignment = run.policies[level].alignment;
    // alpha x lambda / number of sites; the logits are one site.
    double alpha = plan.levels[level].alpha;
    if (alpha != 0 && alignment.site != Alignment::Site::kLogits) {
      alpha *= 1.0 / static_cast<double>(model_->sites(level));
    }
    (level == Level::kAttention ? numbers.attention : numbers.weights) = {
        .full = static_cast<double>(plan.levels[level].full),
        .full_coefficient = alpha * alignment.lambda_full,
        .sparse_coefficient = alpha * alignment.lambda_sparse,
        .full_layers = static_cast<double>(plan.levels[level].full_layers),
        .gap_target = alignment.gap_target,
        .gap_rate = alignment.gap_rate};
  }
  numbers.nested = static_cast<double>(plan.nested);
  numbers.loss_full = both ? weights.schedule.loss_full : full ? 1.0 : 0.0;
  numbers.loss_sparse = both ? weights.schedule.loss_sparse : full ? 0.0 : 1.0;
  return numbers;
}

StepReport Trainer::advance(std::int64_t stage, std::int64_t in_stage, std::int64_t most) {
  StepReport report;
  report.updated.assign(runs_.size(), 0);
  const auto any = [](const std::vector<char>& flags) {
    return std::find(flags.begin(), flags.end(), 1) != flags.end();
  };
  const std::vector<char> turns = turns_before(stage, in_stage);
  if (any(turns)) strategy_->turn(turns);
  // A device that stands still gets its first steps soon; while it works there is time for more.
  ahead_ = std::min(fresh_ ? kFirstSteps : 2 * ahead_, tables_->most());
  const std::int64_t room =
      std::max<std::int64_t>(1, std::min({most, ahead_, stage_steps(stage) - in_stage}));
  std::vector<std::vector<ReplicaPlan>> ahead;  // up to the first update or the next turn
  const auto next = [&] { return in_stage + static_cast<std::int64_t>(ahead.size()); };
  do {
    ahead.push_back(plan_step(stage, next()));
  } while (static_cast<std::int64_t>(ahead.size()) < room && !any_updates(ahead.back()) &&
           !any(turns_before(stage, next())));
  const auto read_by_update = [this](const std::vector<ReplicaPlan>& of_step) {
    return demands().fresh_batches == 0 && any_updates(of_step);
  };
  report.steps = static_cast<std::int64_t>(ahead.size());
  tables_->begin(report.steps);
  // Replicas are prepared side by side, each one's steps in order.
  std::vector<std::vector<double>> counts(ahead.size(), std::vector<double>(runs_.size(), 0));
  std::vector<std::vector<double>> passed = counts;
  for_each_index(runs_.size(), host_threads(), [&](std::size_t r) {
    for (std::size_t s = 0; s < ahead.size(); ++s) {
      const auto row = static_cast<std::int64_t>(s);
      const RowCounts own =
          prepare(static_cast<std::int64_t>(r), row, stage, in_stage + row, ahead[s][r]);
      counts[s][r] = own.trained;
      passed[s][r] = own.passed;
    }
  });
  std::vector<StepKind> kinds;
  for (std::size_t s = 0; s < ahead.size(); ++s) {
    kinds.push_back(kind_of(ahead[s]));
    kinds.back().records_inputs = demands().reads_inputs && read_by_update(ahead[s]);
    flops_->charge(ahead[s], counts[s], passed[s]);  // with the masks that its products have
  }
  tables_->upload();
  const std::vector<ReplicaPlan>& plans = ahead.back();
  fresh_ = false;
  expects_gradient_ = read_by_update(plans);
  topology_->expect_gradient(expects_gradient_);
  for (std::int64_t s = 0; s < report.steps; ++s) run_step(kinds[static_cast<std::size_t>(s)]);
  if (!options_.device.is_cuda()) read_state();
  update_topology(plans, report);
  topology_->expect_gradient(false);
  for (Parameter* parameter : parameters()) parameter->value.mutable_grad().reset();
  return report;
}

// A kind's first step runs as it is, which sets up what libraries need; its second is captured.
void Trainer::run_step(const StepKind& kind) {
  if (!options_.device.is_cuda()) return compute_step(kind);
  Captured& captured = captured_[kind];
  if (!captured.graph.captured()) {
    if (!captured.seen) {
      captured.seen = true;
      return compute_step(kind);
    }
    captured.graph.capture([&] { compute_step(kind); });
    for (Parameter* parameter : parameters()) {
      const at::Tensor& gradient = parameter->value.grad();
      // Without ownership, so that the graphs of all kinds use the same memory in turn.
      captured.gradients.push_back(
          gradient.defined()
              ? torch::from_blob(gradient.data_ptr(), gradient.sizes(), gradient.options())
              : gradient);
    }
  }
  captured.graph.replay();
  std::size_t i = 0;
  for (Parameter* parameter : parameters()) {
    parameter->value.mutable_grad() = captured.gradients[i++];
  }
}

void Trainer::compute_step(const StepKind& kind) {
  const StepRows planned = tables_->current();
  record_cuts(kind, planned);
  // What a strategy may look at other values with.
  struct Guard {
    ThisStep& step;
    ~Guard() { step = {}; }
  } const guard{step_};
  step_ = {&kind, &planned};
  const StepRows rows = with_choice(kind, planned);
  pass_references(kind, rows);
  {
    const at::NoGradGuard no_grad;
    strategy_->enter(rows.strategy);
  }
  StepLosses losses = compute_gradients(kind, rows);
  at::NoGradGuard no_grad;
  // Criteria of topology read the gradients, in either storage, as they were before the strategy.
  std::vector<std::pair<Parameter*, at::Tensor>> changed;
  for (Parameter* parameter : parameters())
    changed.emplace_back(parameter, parameter->value.grad());
  change_gradients(rows, losses);
  std::erase_if(changed, [](const auto& before) {
    return before.first->value.grad().is_same(before.second);
  });
  optimizer_->step(nets(), rows.numbers, losses, state_, update_terms_);
  update_terms_.clear();
  strategy_->after_update();
  for (auto& [parameter, before] : changed) {
    parameter->value.mutable_grad() = before.defined() ? before.contiguous() : before;
  }
  if (demands().accumulates) {
    const at::Tensor alive = state_.select(1, TANDEM_COLUMN(kernels::ReplicaState, alive));
    topology_->accumulate(rows.column(TANDEM_COLUMN(kernels::StepNumbers, runs)).mul(alive).ne(0));
  }
  tables_->next();
}

void Trainer::synchronize() const {
  if (options_.device.is_cuda()) cuda_api().synchronize();
}

void Trainer::read_state() const {
  const at::Tensor host = state_.to(torch::kCPU);
  const auto* rows = reinterpret_cast<const kernels::ReplicaState*>(host.data_ptr<double>());
  for (std::size_t r = 0; r < runs_.size(); ++r) {
    const double taken = rows[r].steps - host_state_[r].steps;
    flops_->charge_steps(static_cast<std::int64_t>(r), static_cast<std::int64_t>(taken));
  }
  host_state_.assign(rows, rows + runs_.size());
  fresh_ = true;
}

void Trainer::write_state() {
  at::NoGradGuard no_grad;
  state_.copy_(torch::from_blob(host_state_.data(), state_.sizes(), torch::kFloat64));
}

const kernels::ReplicaState& Trainer::state(std::int64_t r) const {
  if (!fresh_) read_state();
  return host_state_[static_cast<std::size_t>(r)];
}

void Trainer::clear_losses(const std::vector<char>& which) {
  state(0);  // fresh from here on
  for (std::size_t r = 0; r < which.size(); ++r) {
    if (!which[r]) continue;
    kernels::ReplicaState& own = host_state_[r];
    own.loss_sum = own.alignment_sum = own.strategy_sum = own.model_sum = own.losses = 0;
  }
  write_state();
}

void Trainer::mark_diverged(std::int64_t r) {
  state(r);
  host_state_[static_cast<std::size_t>(r)].alive = 0;
  write_state();
}

std::vector<char> Trainer::finite() const {
  const at::NoGradGuard no_grad;
  const auto on_device = torch::device(options_.device).dtype(torch::kFloat64);
  at::Tensor broken = torch::zeros({replicas()}, on_device);
  for (const Parameter* parameter : parameters()) {
    broken = broken + segment_sums(torch::isfinite(parameter->flat()).logical_not(), *parameter);
  }
  broken = broken.to(torch::kCPU);
  std::vector<char> all;
  for (std::int64_t r = 0; r < replicas(); ++r) {
    all.push_back(broken.const_data_ptr<double>()[r] == 0);
  }
  return all;
}

}  // namespace tandem
