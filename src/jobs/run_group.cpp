#include "jobs/run_group.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "config/part.h"
#include "core/error.h"
#include "core/log.h"
#include "core/parallel.h"
#include "data/tensor.h"
#include "eval/evaluate.h"
#include "eval/group_probes.h"
#include "jobs/checkpoint.h"
#include "jobs/initial_nets.h"
#include "jobs/provenance.h"
#include "topology/saved_topology.h"
#include "train/trainer.h"

namespace tandem {
namespace {

using Clock = std::chrono::steady_clock;
using nlohmann::json;

double seconds_since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

bool has_this_format(const json& state) { return state.value("format", 1) == kCheckpointFormat; }

// What the rows of one run need beside its trainer's state.
struct RunLog {
  std::string id;
  std::int64_t sequence = 0;
  bool ended = false;                  // its closing state row is out
  std::set<std::string> emptied = {};  // layers that it has been warned of
  // Of which of its steps the last digests are; -1: of none yet. None: it was begun by a program
  // that had no digests, and goes on without, so that its rows keep their numbers.
  std::optional<std::int64_t> digested = -1;
};

class GroupRun {
 public:
  // Goes on from a checkpoint, where there is one.
  GroupRun(const GroupSpec& spec, RowSink& sink, std::optional<Checkpoint> checkpoint);
  GroupEnd run();

 private:
  void emit(std::int64_t r, RowBody body);
  StateRow state_row(std::int64_t r, const std::string& state, const std::string& message);
  void emit_state(std::int64_t r, const std::string& state, const std::string& message = {});
  void tell_stopped();
  void report_progress();
  void end_diverged(std::int64_t r, const std::string& what);
  bool note_diverged();
  std::int64_t steps_to_boundary() const;
  bool take_steps();
  void emit_updates(const StepReport& report);
  void emit_digests(std::vector<char> wanted);
  void warn_of_emptied(std::int64_t r, const std::string& layer);
  void log_losses(const std::vector<char>& which);
  void log_task_costs();
  void log_storage(std::int64_t r);
  void boundaries();
  void evaluate_now(const Evaluation& evaluation);
  void probe_now(const GroupProbes::Moment& moment);
  void begin();
  bool should_stop() const;
  bool train_stage();
  void end_stage();
  void evaluate_splits(std::int64_t finished, bool curve);
  std::int64_t tasks_of_all() const {
    return static_cast<std::int64_t>(trainer_.tasks(0).tasks.size());
  }
  void finish();
  void save_finals(const std::vector<char>& alive);
  std::int64_t finals_together();
  Checkpoint final_of(std::int64_t r, const Trainer::SavedState& weights, const LayerMasks& net,
                      const std::map<std::string, NearestMean>& means);
  void save();
  void resume();
  std::vector<char> living() const;
  bool nobody_lives() const;

  const GroupSpec& spec_;
  RowSink& sink_;
  std::optional<Checkpoint> checkpoint_;  // until it is resumed
  std::vector<std::shared_ptr<const InitialNet>> initial_;
  Trainer trainer_;
  GroupProbes probes_;
  std::vector<RunLog> logs_;
  std::int64_t stage_ = 0, in_stage_ = 0, steps_done_ = 0;
  std::int64_t boundary_ = 0;  // the step of the stage where something is due next
  bool stage_begun_ = false;
  bool over_ = false;  // nobody lives
  double train_s_ = 0, eval_s_ = 0;
  Clock::time_point saved_at_ = Clock::now();
};

// eval_after_switch: within so many steps of a task.
constexpr std::int64_t kStepsAfterSwitch = 100;
constexpr int kWritersOfFinals = 8;
constexpr std::int64_t kMostWaitingBytes = std::int64_t{1} << 30;
constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

// Steps from `in_stage` on to the next evaluation inside of a stage.
std::int64_t steps_to_evaluation(const Config& config, std::int64_t steps_per_epoch,
                                 std::int64_t stage, std::int64_t in_stage) {
  std::int64_t nearest = kNever;
  const double epochs = config.real("eval_every");
  if (epochs > 0) {
    const auto interval =
        std::max<std::int64_t>(1, std::llround(epochs * static_cast<double>(steps_per_epoch)));
    nearest = interval - in_stage % interval;
  }
  const std::int64_t after_switch = stage > 0 ? config.integer("eval_after_switch") : 0;
  if (after_switch > 0) {
    const std::int64_t steps = after_switch - in_stage % after_switch;
    if (in_stage + steps <= kStepsAfterSwitch) nearest = std::min(nearest, steps);
  }
  if (in_stage < config.integer("eval_first_steps")) nearest = 1;
  return nearest;
}

// A term that holds weights, stability * importance * (w - centre)^2, moves each by lr * 2 *
// stability * importance of its distance at a step: by more than twice it, ever further away.
std::string what_to_try(const Config& config) {
  const std::vector<std::string>& uses = part("strategy", config.text("strategy")).uses;
  if (std::count(uses.begin(), uses.end(), "stability") == 0) return "";
  return fmt::format(
      "; under --strategy {} try a smaller --stability (here {}) or --lr (here {}): where it pulls "
      "at weights, a step of lr * 2 * stability * importance above 2 makes them oscillate",
      config.text("strategy"), config.text("stability"), config.text("lr"));
}

TrainerOptions trainer_options(const GroupSpec& spec,
                               const std::vector<std::shared_ptr<const InitialNet>>& initial) {
  TrainerOptions options;
  options.initial = initial;
  options.device = at::Device(spec.device);
  options.storage = spec.storage;
  options.dtype = spec.runs.front().text("dtype") == "float64" ? torch::kFloat64 : torch::kFloat32;
  return options;
}

// What the group goes on from; none where it begins: there is nothing, or it is of another version
// (the planner has said so) or of another membership.
std::optional<Checkpoint> checkpoint_of(const GroupSpec& spec) {
  if (spec.checkpoint_folder.empty()) return std::nullopt;
  auto checkpoint = load_checkpoint(spec.checkpoint_folder);
  if (!checkpoint) return std::nullopt;
  const json state = json::parse(checkpoint->state);
  if (!has_this_format(state)) return std::nullopt;
  for (const Config& run : spec.runs) {
    if (!state["runs"].contains(run.id())) return std::nullopt;
  }
  if (state["runs"].size() != spec.runs.size()) return std::nullopt;
  return checkpoint;
}

GroupRun::GroupRun(const GroupSpec& spec, RowSink& sink, std::optional<Checkpoint> checkpoint)
    : spec_(spec),
      sink_(sink),
      checkpoint_(std::move(checkpoint)),
      initial_(initial_nets(spec, checkpoint_)),
      trainer_(spec.runs, trainer_options(spec, initial_)),
      probes_(trainer_) {
  for (const Config& config : spec.runs) {
    const std::string id = config.id();
    if (std::count(spec.frozen.begin(), spec.frozen.end(), id) != 0) {
      trainer_.freeze(static_cast<std::int64_t>(logs_.size()));
    }
    logs_.push_back({id});
  }
  if (probes_.watches_before_updates()) {
    trainer_.before_update = [this](const std::vector<char>& due) {
      probes_.before_update(stage_, due);
    };
  }
}

void GroupRun::emit(std::int64_t r, RowBody body) {
  RunLog& log = logs_[static_cast<std::size_t>(r)];
  sink_.emit({log.id, log.sequence++, std::move(body)});
}

StateRow GroupRun::state_row(std::int64_t r, const std::string& state, const std::string& message) {
  StateRow row;
  row.state = state;
  row.step = trainer_.steps_of(r);
  const auto share = static_cast<double>(trainer_.replicas());
  row.train_seconds = train_s_ / share;
  row.eval_seconds = eval_s_ / share;
  row.probe_seconds = probes_.seconds() / share;
  row.train_flops = trainer_.flops().training(r);
  const RunSchedule& run = trainer_.run(r);
  row.inference_flops = trainer_.flops().forward(
      r, run.policies.attention.schedule.kind != Schedule::Kind::kSparse, false);
  row.message = message;
  return row;
}

void GroupRun::emit_state(std::int64_t r, const std::string& state, const std::string& message) {
  emit(r, state_row(r, state, message));
  logs_[static_cast<std::size_t>(r)].ended = state == "done" || state == "diverged";
}

// After the checkpoint, which doesn't hold these rows: a run that resumes counts its rows on as if
// it had never been stopped.
void GroupRun::tell_stopped() {
  const auto alive = living();
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const RunLog& log = logs_[static_cast<std::size_t>(r)];
    if (alive[static_cast<std::size_t>(r)]) {
      sink_.emit({log.id, log.sequence, state_row(r, "stopped", "")});
    }
  }
  sink_.flush();
}

void GroupRun::report_progress() {
  std::int64_t before = 0, all = 0;
  for (std::int64_t s = 0; s < trainer_.stages(); ++s) {
    before += s < stage_ ? trainer_.stage_steps(s) : 0;
    all += trainer_.stage_steps(s);
  }
  sink_.report_progress(before + in_stage_, all);
}

std::vector<char> GroupRun::living() const {
  std::vector<char> alive;
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    alive.push_back(!trainer_.diverged(r) && !trainer_.frozen(r) &&
                    !logs_[static_cast<std::size_t>(r)].ended);
  }
  return alive;
}

bool GroupRun::nobody_lives() const {
  const auto alive = living();
  return std::none_of(alive.begin(), alive.end(), [](char lives) { return lives != 0; });
}

void GroupRun::end_diverged(std::int64_t r, const std::string& what) {
  const std::int64_t step = trainer_.steps_of(r);
  std::vector<char> only(static_cast<std::size_t>(trainer_.replicas()), 0);
  only[static_cast<std::size_t>(r)] = 1;
  log_losses(only);
  emit(r, MetricRow{step, "", "first_non_finite_step", static_cast<double>(step)});
  emit_state(r, "diverged",
             what + " not finite after " + std::to_string(step) + " steps" +
                 what_to_try(trainer_.run(r).config));
}

// How many steps until something is due that the host must look at.
std::int64_t GroupRun::steps_to_boundary() const {
  std::int64_t nearest = trainer_.stage_steps(stage_) - in_stage_;
  const auto every = [&](std::int64_t interval) {
    if (interval > 0) nearest = std::min(nearest, interval - in_stage_ % interval);
  };
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const RunSchedule& run = trainer_.run(r);
    const std::int64_t own = run.timeline.task_steps[static_cast<std::size_t>(stage_)];
    const std::int64_t per_epoch = run.timeline.steps_per_epoch[static_cast<std::size_t>(stage_)];
    if (in_stage_ >= own) continue;
    nearest = std::min(nearest, own - in_stage_);
    every(per_epoch);
    every(run.config.integer("probe_every"));
    nearest = std::min(nearest, steps_to_evaluation(run.config, per_epoch, stage_, in_stage_));
  }
  if (spec_.stop_after_steps > 0) {
    nearest = std::min(nearest, std::max<std::int64_t>(1, spec_.stop_after_steps - steps_done_));
  }
  return nearest;
}

// Some steps; true where they end at a boundary or a run has diverged.
bool GroupRun::take_steps() {
  const auto begin = Clock::now();
  if (in_stage_ >= boundary_) boundary_ = in_stage_ + steps_to_boundary();
  const StepReport report = trainer_.advance(stage_, in_stage_, boundary_ - in_stage_);
  in_stage_ += report.steps;
  const bool at_boundary = in_stage_ == boundary_;
  if (at_boundary) trainer_.synchronize();
  steps_done_ += report.steps;
  train_s_ += seconds_since(begin) - probes_.take_seconds_in_updates();
  emit_updates(report);
  // On a CPU the state costs nothing to look at, and a group without a living run ends at once.
  const bool looks = at_boundary || !trainer_.device().is_cuda();
  const bool any_diverged = looks && note_diverged();
  return at_boundary || any_diverged;
}

// Ends the runs that have diverged since it was last asked; true where there are any.
bool GroupRun::note_diverged() {
  bool any = false;
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const bool open = !trainer_.frozen(r) && !logs_[static_cast<std::size_t>(r)].ended;
    if (!open || !trainer_.diverged(r)) continue;
    end_diverged(r, "the loss or its gradient was");
    any = true;
  }
  return any;
}

void GroupRun::emit_updates(const StepReport& report) {
  // They are of the weights after the update.
  emit_digests(report.updated);
  for (std::size_t r = 0; r < report.updated.size(); ++r) {
    if (!report.updated[r]) continue;
    const auto replica = static_cast<std::int64_t>(r);
    for (const UpdateCounts& update : report.updates) {
      const std::string& layer = trainer_.layers()[update.layer].name;
      if (update.nnz[r] == 0) warn_of_emptied(replica, layer);
      if (update.mask_hash[r].empty()) continue;
      probes_.after_update(
          {replica, layer, trainer_.steps_of(replica), update.before[r], update.after[r]});
      emit(replica, TopologyRow{trainer_.steps_of(replica), layer, update.nnz[r], update.dropped[r],
                                update.grown[r], update.mask_hash[r]});
    }
  }
}

// Once a step: what is evaluated after an update that is logged are the same weights.
void GroupRun::emit_digests(std::vector<char> wanted) {
  bool any = false;
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    if (!wanted[r]) continue;
    RunLog& log = logs_[r];
    const std::int64_t step = trainer_.steps_of(static_cast<std::int64_t>(r));
    wanted[r] = log.digested && *log.digested != step;
    if (wanted[r]) log.digested = step;
    any = any || wanted[r];
  }
  if (!any) return;
  const auto begin = Clock::now();
  const auto digests = trainer_.digests(wanted);
  for (std::size_t r = 0; r < wanted.size(); ++r) {
    if (!wanted[r]) continue;
    emit(static_cast<std::int64_t>(r),
         DigestRow{*logs_[r].digested, trainer_.parameter_names(), digests[r]});
  }
  eval_s_ += seconds_since(begin);
}

// A ranking of the whole net, or growth that layers share, may leave a layer nothing.
void GroupRun::warn_of_emptied(std::int64_t r, const std::string& layer) {
  RunLog& log = logs_[static_cast<std::size_t>(r)];
  if (!log.emptied.insert(layer).second) return;
  log_warn("run " + short_id(log.id) + ": the topology update after step " +
           std::to_string(trainer_.steps_of(r)) + " leaves layer '" + layer +
           "' no active weight, so that nothing of its input passes it; a larger --density, or "
           "--exempt " +
           layer + ", keeps it");
}

void GroupRun::log_losses(const std::vector<char>& which) {
  std::vector<char> logged(which.size(), 0);
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const kernels::ReplicaState own = trainer_.state(r);
    if (!which[static_cast<std::size_t>(r)] || own.losses == 0) continue;
    logged[static_cast<std::size_t>(r)] = 1;
    const auto metric = [&](const std::string& name, double value) {
      emit(r, MetricRow{trainer_.steps_of(r), "", name, value});
    };
    metric("train_loss", own.loss_sum / own.losses);
    if (own.alignment_sum != 0) metric("alignment_loss", own.alignment_sum / own.losses);
    if (own.strategy_sum != 0) {
      metric(trainer_.run(r).config.text("strategy") + "_loss", own.strategy_sum / own.losses);
    }
    if (own.model_sum != 0) metric("model_loss", own.model_sum / own.losses);
    for (const Level level : kLevels) {
      if (trainer_.run(r).policies[level].alignment.gap_target <= 0) continue;
      const bool weights = level == Level::kWeights;
      const kernels::LevelState& state = weights ? own.weights : own.attention;
      const std::string prefix = weights ? "" : "attention_";
      metric(prefix + "alpha_factor", state.alpha_factor);
      metric(prefix + "alignment_gap", state.gap);
    }
  }
  if (std::find(logged.begin(), logged.end(), 1) != logged.end()) trainer_.clear_losses(logged);
}

// Of sequences, what examples each run's strategy holds after the stage, what training has cost so
// far, and what one pass over the stage's task costs: v_storage reads the last two as pairs.
void GroupRun::log_task_costs() {
  const auto alive = living();
  for (std::int64_t r = 0; r < trainer_.replicas() && tasks_of_all() > 1; ++r) {
    if (!alive[static_cast<std::size_t>(r)]) continue;
    const auto metric = [&](const char* name, double value) {
      emit(r, MetricRow{trainer_.steps_of(r), "", name, value});
    };
    metric("buffer_bytes", static_cast<double>(trainer_.buffer_bytes(r, stage_)));
    metric("train_flops", trainer_.flops().training(r));
    metric("pass_flops", trainer_.pass_flops(r, stage_));
  }
}

// At the end, what else it keeps, and what all tasks' training examples would take.
void GroupRun::log_storage(std::int64_t r) {
  if (tasks_of_all() < 2) return;
  emit(r, MetricRow{trainer_.steps_of(r), "", "strategy_bytes",
                    static_cast<double>(trainer_.strategy_bytes(r))});
  emit(r, MetricRow{trainer_.steps_of(r), "", "data_bytes",
                    static_cast<double>(trainer_.data_bytes(r))});
}

// Evaluations, probes and loss rows that are due after the steps taken, per replica's own clock.
void GroupRun::boundaries() {
  const std::vector<char> lives = living();
  std::vector<char> evaluates = lives, probes_due = lives, logs = lives;
  bool any_evaluation = false, any_probe = false;
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    const RunSchedule& run = trainer_.run(r);
    const std::int64_t own = run.timeline.task_steps[static_cast<std::size_t>(stage_)];
    const std::int64_t per_epoch = run.timeline.steps_per_epoch[static_cast<std::size_t>(stage_)];
    const std::int64_t probe_every = run.config.integer("probe_every");
    const bool inside = in_stage_ < own;
    evaluates[i] = evaluates[i] && inside &&
                   steps_to_evaluation(run.config, per_epoch, stage_, in_stage_ - 1) == 1;
    probes_due[i] = probes_due[i] && inside && probe_every > 0 && in_stage_ % probe_every == 0;
    const bool epoch_ends = in_stage_ <= own && (in_stage_ % per_epoch == 0 || in_stage_ == own);
    logs[i] = logs[i] && epoch_ends;
    any_evaluation = any_evaluation || evaluates[i];
    any_probe = any_probe || probes_due[i];
  }
  log_losses(logs);
  if (any_evaluation) {
    // Within a task nobody asks for those to come.
    evaluate_now({.stage = stage_,
                  .split = "validation",
                  .wanted = evaluates,
                  .last_task = trainer_.stages() == tasks_of_all() ? stage_ + 1 : 0});
  }
  if (any_probe) probe_now({.stage = stage_, .in_stage = in_stage_, .wanted = probes_due});
}

void GroupRun::evaluate_now(const Evaluation& evaluation) {
  emit_digests(evaluation.wanted);
  const auto begin = Clock::now();
  const auto rows = evaluate(trainer_, evaluation);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (const EvalRow& row : rows[r]) emit(static_cast<std::int64_t>(r), row);
  }
  eval_s_ += seconds_since(begin);
}

void GroupRun::probe_now(const GroupProbes::Moment& moment) {
  const auto rows = probes_.measure(moment);
  for (std::size_t r = 0; r < rows.size(); ++r) {
    for (const MetricRow& row : rows[r]) emit(static_cast<std::int64_t>(r), row);
  }
}

void GroupRun::finish() {
  const auto alive = living();
  const bool keeps = !spec_.checkpoint_folder.empty() && !nobody_lives();
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    if (!alive[static_cast<std::size_t>(r)]) continue;
    // Shares of the run's time are measured, so they differ between repetitions.
    const double probed = probes_.seconds(), all = train_s_ + eval_s_ + probed;
    emit(r, MetricRow{trainer_.steps_of(r), "", "probe_time_share", all > 0 ? probed / all : 0});
    for (const MetricRow& row : probes_.cost_rows(r)) emit(r, row);
    log_storage(r);
  }
  if (keeps) save_finals(alive);
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    if (alive[static_cast<std::size_t>(r)]) emit_state(r, "done");
  }
  sink_.flush();
}

// How many runs' weights are in memory at once.
std::int64_t GroupRun::finals_together() {
  std::int64_t bytes = 1;  // of one
  for (const Parameter* parameter : trainer_.model().parameters()) {
    bytes += static_cast<std::int64_t>(parameter->value.nbytes()) / trainer_.replicas();
  }
  return std::clamp<std::int64_t>(kMostWaitingBytes / bytes, 1, 8 * kWritersOfFinals);
}

// What is kept of each run in a folder of its own. Writing waits for the disk most of the time, a
// few times for each file, so that several are written at once.
void GroupRun::save_finals(const std::vector<char>& alive) {
  // What is kept is what was read.
  std::optional<Trainer::ReadNet> averaged;
  if (trainer_.read() == StrategyNeeds::Read::kAverage) averaged.emplace(trainer_, 0);
  const LayerMasks net = sparse_net(trainer_);
  const auto means = means_of_readouts(trainer_);
  const auto folder = std::filesystem::path(spec_.checkpoint_folder).parent_path() / "final";
  const std::int64_t together = finals_together();
  for (std::int64_t first = 0; first < trainer_.replicas(); first += together) {
    const std::int64_t count = std::min(together, trainer_.replicas() - first);
    const auto weights = trainer_.save_weights(first, count);
    std::vector<std::pair<std::string, Checkpoint>> waiting;
    for (std::int64_t i = 0; i < count; ++i) {
      const auto r = static_cast<std::size_t>(first + i);
      if (!alive[r]) continue;
      waiting.emplace_back((folder / logs_[r].id).string(),
                           final_of(first + i, weights[static_cast<std::size_t>(i)], net, means));
    }
    for_each_index(waiting.size(), kWritersOfFinals, [&waiting](std::size_t i) {
      save_checkpoint(waiting[i].first, waiting[i].second);
    });
  }
}

// A run's weights, masks and buffers, kept for `tandem export`, apart from its group: which tensors
// are weights of layers [in,out], of a net that its read-out ranked (`net`, of sparse_net) the
// masks that it was read out with, where each task has a net of its own what these differ in, and
// of one that is read by the nearest mean the last layer that does so, by the weights' stream.
Checkpoint GroupRun::final_of(std::int64_t r, const Trainer::SavedState& weights,
                              const LayerMasks& net,
                              const std::map<std::string, NearestMean>& means) {
  const std::string& id = logs_[static_cast<std::size_t>(r)].id;
  Checkpoint checkpoint;
  json layers = json::object();
  const std::vector<Linear*> linears = trainer_.model().linears();
  for (std::size_t l = 0; l < linears.size(); ++l) {
    const Linear& layer = *linears[l];
    layers[layer.weight.name] = {layer.inputs(), layer.outputs()};
    if (net.empty() || !net[l].defined()) continue;
    const at::Tensor chosen = net[l][r].to(torch::kCPU).nonzero().view({-1}).contiguous();
    const auto* begin = chosen.const_data_ptr<std::int64_t>();
    const SavedTopology own{layer.inputs(), layer.outputs(),
                            ActiveSet::of_positions({begin, begin + chosen.numel()})};
    checkpoint.tensors.emplace_back(id + "/sparse_net/" + layer.weight.name, own.save());
  }
  const bool task_nets = trainer_.read() == StrategyNeeds::Read::kTask;
  checkpoint.state = json{
      {"run", id},
      {"step", trainer_.steps_of(r)},
      {"sparse_net", true},
      {"task_nets", task_nets ? tasks_of_all() : 0},
      {"layers", layers}}.dump();
  for (std::int64_t task = 1; task_nets && task <= tasks_of_all(); ++task) {
    const Trainer::ReadNet net_of_task(trainer_, task);
    for (auto& [name, values] : net_of_task.values(r)) {
      checkpoint.tensors.emplace_back(fmt::format("{}/task/{}/{}", id, task, name), values);
    }
  }
  for (const auto& [stream, own] : means) {
    const std::string prefix = id + "/nearest_mean/" + stream + "/";
    const Linear& last = *linears.back();
    const at::Tensor of_last = own.weights(r);
    checkpoint.tensors.emplace_back(prefix + last.weight.name, of_last);
    if (last.has_bias()) {
      checkpoint.tensors.emplace_back(prefix + last.bias.name,
                                      torch::zeros({of_last.size(1)}, of_last.options()));
    }
  }
  for (const auto& [name, tensor] : weights) {
    checkpoint.tensors.emplace_back(id + "/" + name, tensor);
  }
  return checkpoint;
}

void GroupRun::save() {
  if (spec_.checkpoint_folder.empty()) return;
  note_diverged();
  sink_.flush();
  Checkpoint checkpoint;
  json state = {{"format", kCheckpointFormat},
                {"stage", stage_},
                {"in_stage", in_stage_},
                {"begun", stage_begun_},
                {"train_s", train_s_},
                {"eval_s", eval_s_},
                {"probe_s", probes_.seconds_by_family()},
                {"runs", json::object()},
                {"rows", json::array()}};
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const RunLog& log = logs_[static_cast<std::size_t>(r)];
    json& own = state["runs"][log.id];
    own = {
        {"sequence", log.sequence}, {"ended", log.ended}, {"flops", trainer_.flops().training(r)}};
    if (log.digested) own["digested"] = *log.digested;
    for (const auto& part : {trainer_.save(r), probes_.save(r)}) {
      for (const auto& [name, tensor] : part) {
        checkpoint.tensors.emplace_back(log.id + "/" + name, tensor);
      }
    }
    const auto& given = initial_[static_cast<std::size_t>(r)];
    if (given && trainer_.asks_for_start()) {
      checkpoint.tensors.emplace_back(log.id + kInitialTensor, given->bytes());
    }
  }
  for (const Row& row : sink_.unacknowledged()) state["rows"].push_back(encode_row(row));
  checkpoint.state = state.dump();
  save_checkpoint(spec_.checkpoint_folder, checkpoint);
  saved_at_ = Clock::now();
}

void GroupRun::resume() {
  const Checkpoint checkpoint = std::move(*checkpoint_);
  checkpoint_.reset();
  const json state = json::parse(checkpoint.state);
  stage_ = state["stage"];
  in_stage_ = state["in_stage"];
  stage_begun_ = state["begun"];
  train_s_ = state["train_s"];
  eval_s_ = state["eval_s"];
  probes_.set_seconds(state["probe_s"].get<std::map<std::string, double>>());
  if (stage_begun_) trainer_.begin_stage(stage_, /*resumed=*/true);
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    RunLog& log = logs_[static_cast<std::size_t>(r)];
    const json& own = state["runs"][log.id];
    log.sequence = own["sequence"];
    log.ended = own["ended"];
    log.digested.reset();
    if (own.contains("digested")) log.digested = own["digested"];
    trainer_.flops().set_training(r, own["flops"]);
    std::vector<std::pair<std::string, at::Tensor>> tensors;
    const std::string prefix = log.id + "/";
    for (const auto& [name, tensor] : checkpoint.tensors) {
      if (name.rfind(prefix, 0) == 0) tensors.emplace_back(name.substr(prefix.size()), tensor);
    }
    trainer_.load(r, tensors);
    probes_.load(r, tensors);
  }
  for (const json& line : state["rows"]) sink_.emit(decode_row(line.get<std::string>()));
  log_info("resumed at stage " + std::to_string(stage_) + ", step " + std::to_string(in_stage_));
}

void GroupRun::begin() {
  if (checkpoint_) {
    resume();
    // Perhaps on another machine: the first row again, which a repetition of the same leaves as is.
    for (std::size_t r = 0; r < logs_.size(); ++r) {
      if (logs_[r].ended) continue;
      const bool wanted = !trainer_.frozen(static_cast<std::int64_t>(r));
      const std::string place = provenance_json(spec_, spec_.runs[r], trainer_.data(), wanted);
      sink_.emit({logs_[r].id, 0, ProvenanceRow{place}});
    }
    note_diverged();
    return;
  }
  log_initial_nets(spec_, initial_, trainer_.model());
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    if (trainer_.frozen(r)) continue;
    emit(r, ProvenanceRow{provenance_json(spec_, trainer_.run(r).config, trainer_.data(), true)});
    emit_state(r, "running");
  }
  if (trainer_.stages() > 1 || tasks_of_all() > 1) evaluate_splits(0, /*curve=*/false);
}

bool GroupRun::should_stop() const {
  return (spec_.should_stop && spec_.should_stop()) ||
         (spec_.stop_after_steps > 0 && steps_done_ >= spec_.stop_after_steps);
}

// The steps of the current stage that are left, until nobody lives. False: it was asked to stop,
// and everything is saved.
bool GroupRun::train_stage() {
  if (!stage_begun_) trainer_.begin_stage(stage_);
  stage_begun_ = true;
  over_ = nobody_lives();
  while (in_stage_ < trainer_.stage_steps(stage_) && !over_) {
    if (take_steps()) {
      boundaries();
      over_ = nobody_lives();
    }
    const bool stop = should_stop();
    report_progress();
    if (stop) {
      save();
      tell_stopped();
      return false;
    }
    if (seconds_since(saved_at_) > spec_.checkpoint_every_s) save();
  }
  return true;
}

void GroupRun::end_stage() {
  const auto begin = Clock::now();
  trainer_.end_stage(stage_);
  trainer_.synchronize();
  train_s_ += seconds_since(begin);
  // The last step's loss was finite; what it did to the weights shows here.
  const std::vector<char> alive = living(), finite = trainer_.finite();
  for (std::int64_t r = 0; r < trainer_.replicas(); ++r) {
    const auto i = static_cast<std::size_t>(r);
    if (!alive[i] || finite[i]) continue;
    trainer_.mark_diverged(r);
    end_diverged(r, "the weights were");
  }
  log_task_costs();
  // Joint training ends all tasks at once.
  const bool last = stage_ + 1 == trainer_.stages();
  evaluate_splits(last ? tasks_of_all() : stage_ + 1, last && spec_.runs.front().flag("curve"));
  probe_now({stage_, in_stage_, living(), last, /*task_ends=*/true});
}

// After so many finished tasks; the test split is read by final runs alone.
void GroupRun::evaluate_splits(std::int64_t finished, bool curve) {
  Evaluation evaluation{
      .stage = finished, .split = "validation", .curve = curve, .wanted = living(), .longer = true};
  const std::string& ahead = spec_.runs.front().text("eval_ahead");
  if (finished > 0 && ahead != "all") {
    evaluation.last_task = finished + (ahead == "next" ? 1 : 0);
  }
  evaluate_now(evaluation);
  evaluation.split = "test";
  if (spec_.runs.front().flag("final")) evaluate_now(evaluation);
}

GroupEnd GroupRun::run() {
  begin();
  for (; stage_ < trainer_.stages(); ++stage_, in_stage_ = 0, boundary_ = 0, stage_begun_ = false) {
    if (!train_stage()) return GroupEnd::kStopped;
    if (over_) break;
    end_stage();
  }
  finish();
  if (!spec_.checkpoint_folder.empty()) remove_checkpoints(spec_.checkpoint_folder);
  return GroupEnd::kDone;
}

std::string out_of_memory(const GroupSpec& spec) {
  return "a group of " + std::to_string(spec.runs.size()) +
         " runs does not fit into this machine's memory: fewer --jobs, a smaller --batch or a "
         "smaller net need less";
}

// How LibTorch says so on a CPU.
bool is_out_of_memory(const c10::Error& error) {
  return std::string(error.what_without_backtrace()).find("DefaultCPUAllocator") !=
         std::string::npos;
}

}  // namespace

bool is_of_this_version(const std::string& checkpoint_folder) {
  const auto state = checkpoint_state(checkpoint_folder);
  return !state || has_this_format(json::parse(*state));
}

GroupEnd run_group(const GroupSpec& spec, RowSink& sink) {
  if (spec.runs.empty()) throw ConfigError("a group needs at least one run");
  try {
    return GroupRun(spec, sink, checkpoint_of(spec)).run();
  } catch (const c10::OutOfMemoryError& error) {
    throw DeviceError(
        "a group of " + std::to_string(spec.runs.size()) +
        " runs does not fit into the memory of " + spec.device +
        " (--jobs 2 halves the groups, 4 quarters them): " + error.what_without_backtrace());
  } catch (const std::bad_alloc&) {
    throw DeviceError(out_of_memory(spec));
  } catch (const c10::Error& error) {
    if (!is_out_of_memory(error)) throw;
    throw DeviceError(out_of_memory(spec));
  }
}

}  // namespace tandem
