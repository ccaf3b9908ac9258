#include "train/batches.h"

#include <algorithm>
#include <cmath>

#include "config/seeds.h"
#include "core/parallel.h"
#include "core/philox.h"
#include "data/example.h"
#include "data/tensor.h"
#include "data/upload.h"
#include "plan/stages.h"
#include "train/step_tables.h"

namespace tandem {
namespace {

constexpr std::uint64_t kBlur = std::uint64_t{1} << 32;  // of the stream "data", beyond all stages

}  // namespace

Batches::Batches(const std::vector<Config>& configs, at::Device device, at::ScalarType dtype)
    : configs_(configs), device_(device), dtype_(dtype), data_(load_dataset(configs.front())) {
  device_data_ = to_device(*data_, device, dtype);
  sequences_.resize(configs.size());
  for_each_index(configs.size(), host_threads(),
                 [&](std::size_t r) { sequences_[r] = make_tasks(configs[r], *data_); });
  share_lists();
  data_->sequences() ? make_token_tables() : make_tables();
}

// Most runs of a group have the same examples in each task, which are kept once.
void Batches::share_lists() {
  const std::vector<Task>& first = sequences_.front().tasks;
  for_each_index(sequences_.size(), host_threads(), [&](std::size_t r) {
    std::vector<Task>& own = sequences_[r].tasks;
    for (std::size_t t = 0; t < own.size() && t < first.size(); ++t) {
      if (r == 0) continue;
      own[t].train.share_if_equal(first[t].train);
      own[t].validation.share_if_equal(first[t].validation);
      own[t].test.share_if_equal(first[t].test);
    }
  });
}

// The tables that map a task and a class to their output and to the task's outputs.
void Batches::make_tables() {
  const TaskSequence& first = sequences_.front();
  const auto task_count = static_cast<std::int64_t>(first.tasks.size());
  const std::int64_t classes = data_->classes, outputs = first.outputs;
  const bool has_targets = !first.target.empty() || !first.target_by_task.empty();
  std::vector<std::int64_t> targets;
  at::Tensor allowed = torch::zeros({replicas(), task_count + 1, classes, outputs}, torch::kBool);
  auto access = allowed.accessor<bool, 4>();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const TaskSequence& each = tasks(r);
    for (std::int64_t said = 0; said <= task_count; ++said) {
      for (std::int64_t c = 0; c < classes; ++c) {
        const auto label = static_cast<std::size_t>(c);
        const std::int64_t task = !each.task_of_class.empty() ? each.task_of_class[label]
                                  : said == 0                 ? 1
                                                              : said;
        const auto at = static_cast<std::size_t>(task - 1);
        if (has_targets) targets.push_back(each.output_of(task, c));
        if (each.task_outputs.empty()) continue;
        const auto [begin, end] = each.task_outputs[at];
        for (std::int64_t o = begin; o < end; ++o) access[r][said][c][o] = true;
      }
    }
  }
  if (has_targets) target_table_ = torch::tensor(targets).to(device_);
  if (!first.task_outputs.empty()) allowed_table_ = allowed.view({-1, outputs}).to(device_);
  if (first.trained == OutputsOf::kSeen) {
    seen_ = torch::zeros({replicas(), 1, outputs}, torch::device(device_).dtype(torch::kBool));
    begin_tasks(1);
  }
  if (first.angles) {
    std::vector<std::shared_ptr<const ExampleAngles>> angles;
    for (const TaskSequence& each : sequences_) angles.push_back(each.angles);
    angles_ = to_device(angles, device_);
  }
  if (first.views.empty()) return;
  std::vector<std::vector<InputView>> views;
  for (const TaskSequence& each : sequences_) views.push_back(each.views);
  views_ = to_device(views, device_);
}

void Batches::make_token_tables() {
  std::vector<at::Tensor> tables;
  for (const TaskSequence& each : sequences_) {
    for (const auto& own : each.tokens) tables.push_back(torch::tensor(own, torch::kInt64));
  }
  if (!tables.empty()) tokens_ = torch::stack(tables).to(device_);
}

// Tasks 1 to `last` have begun.
void Batches::begin_tasks(std::int64_t last) {
  if (!seen_.defined()) return;
  at::Tensor seen = torch::zeros(seen_.sizes(), torch::kBool);
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const std::int64_t end = tasks(r).task_outputs[static_cast<std::size_t>(last - 1)].second;
    seen[r].narrow(-1, 0, end).fill_(true);
  }
  seen_.copy_(seen);
}

std::int64_t Batches::trained_outputs_of(std::int64_t r, std::int64_t task) const {
  const TaskSequence& own = tasks(r);
  if (own.trained == OutputsOf::kAll) return own.outputs;
  if (own.trained == OutputsOf::kSeen) return seen_[r].sum().item<std::int64_t>();
  const auto [first, last] = own.task_outputs[static_cast<std::size_t>(task - 1)];
  return last - first;
}

std::vector<std::vector<std::int64_t>> part_of(const std::vector<std::vector<std::int64_t>>& lists,
                                               std::size_t begin, std::size_t count) {
  std::vector<std::vector<std::int64_t>> part;
  for (const auto& own : lists) {
    const std::size_t from = std::min(own.size(), begin), to = std::min(own.size(), begin + count);
    part.emplace_back(own.begin() + static_cast<std::ptrdiff_t>(from),
                      own.begin() + static_cast<std::ptrdiff_t>(to));
  }
  return part;
}

std::int64_t Batches::filler() const { return windows() ? data_->train[0] : 0; }

Batches::Source Batches::source_of(std::int64_t r, std::int64_t stage, StageData kind,
                                   std::int64_t steps) const {
  const Config& config = configs_[static_cast<std::size_t>(r)];
  const std::uint64_t key = run_key(config, "data");
  const std::int64_t batch = config.integer("batch");
  const Stages stages(config, *data_, tasks(r), kind);
  Source source;
  source.steps = steps;
  if (windows()) {
    source.windows.emplace(stages.windows(stage));
    source.bytes.emplace(key, stage, *source.windows, batch);
  } else {
    source.examples = stages.examples(stage);
    source.epochs.emplace(key, stage, static_cast<std::int64_t>(source.examples.size()), batch,
                          config.flag("drop_last"), stages.in_order(stage));
  }
  return source;
}

void Batches::begin_stage(std::int64_t stage, StageData kind,
                          const std::vector<std::vector<std::int64_t>>& steps) {
  stage_ = stage;
  const auto tasks_of_run = static_cast<std::int64_t>(tasks(0).tasks.size());
  begin_tasks(kind == StageData::kAllTasks ? tasks_of_run : stage + 1);
  sources_.clear();
  before_.clear();
  after_.clear();
  const bool blurs = configs_.front().real("blur") > 0;
  const std::size_t at = static_cast<std::size_t>(stage), stages = steps.front().size();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const std::vector<std::int64_t>& own = steps[static_cast<std::size_t>(r)];
    sources_.push_back(source_of(r, stage, kind, own[at]));
    if (!blurs) continue;
    if (stage > 0) before_.push_back(source_of(r, stage - 1, kind, own[at - 1]));
    if (at + 1 < stages) after_.push_back(source_of(r, stage + 1, kind, own[at + 1]));
  }
}

std::vector<std::int64_t> Batches::of_stage(std::int64_t r) const {
  const Source& source = sources_[static_cast<std::size_t>(r)];
  return windows() ? as_examples(r, source.windows->side_by_side()) : source.examples;
}

std::vector<std::int64_t> Batches::as_examples(std::int64_t r,
                                               std::vector<std::int64_t> starts) const {
  const Stages stages(configs_[static_cast<std::size_t>(r)], *data_, tasks(r),
                      StageData::kAllTasks);
  for (std::int64_t& each : starts) each = example_of(each, stages.task_of_window(each));
  return starts;
}

std::vector<std::int64_t> Batches::drawn(std::int64_t r, Source& source,
                                         std::int64_t in_stage) const {
  if (windows()) return as_examples(r, source.bytes->batch(in_stage));
  std::vector<std::int64_t> examples = source.epochs->batch(in_stage);
  for (std::int64_t& index : examples) {
    index = source.examples[static_cast<std::size_t>(index)];
  }
  return examples;
}

std::vector<std::int64_t> Batches::of_step(std::int64_t r, std::int64_t in_stage) {
  std::vector<std::int64_t> own = drawn(r, sources_[static_cast<std::size_t>(r)], in_stage);
  exchange(r, in_stage, own);
  return own;
}

void Batches::exchange(std::int64_t r, std::int64_t in_stage, std::vector<std::int64_t>& own) {
  const auto replica = static_cast<std::size_t>(r);
  const Config& config = configs_[replica];
  const std::int64_t steps = sources_[replica].steps;
  // Of the switch before stage `later`, at the distance d from it.
  const auto mix = [&](Source& other, std::int64_t later, std::int64_t d, std::int64_t there) {
    const double mixed =
        std::floor(config.real("blur") * static_cast<double>(std::min(steps, other.steps)));
    if (static_cast<double>(d) >= mixed) return;
    const double chance = (1 - (static_cast<double>(d) + 0.5) / mixed) / 2;
    const RandomStream stream{
        sub_key(sub_key(run_key(config, "data"), kBlur), static_cast<std::uint64_t>(later))};
    const std::vector<std::int64_t> others = drawn(r, other, there);
    for (std::size_t i = 0; i < std::min(own.size(), others.size()); ++i) {
      const auto draw = static_cast<std::uint64_t>(d * config.integer("batch")) + i;
      if (stream.uniform(draw) < chance) own[i] = others[i];
    }
  };
  if (!after_.empty()) {
    const std::int64_t d = steps - 1 - in_stage;
    mix(after_[replica], stage_ + 1, d, d);
  }
  if (!before_.empty()) {
    Source& other = before_[replica];
    mix(other, stage_, in_stage, other.steps - 1 - in_stage);
  }
}

std::vector<std::int64_t> Batches::beside(std::int64_t r, std::int64_t update,
                                          std::int64_t number) const {
  const Config& config = configs_[static_cast<std::size_t>(r)];
  const std::uint64_t key = run_key(config, "growth");
  const std::int64_t size = config.integer("batch");
  if (windows()) {
    const WindowStarts& starts = *sources_[static_cast<std::size_t>(r)].windows;
    return as_examples(r, ByteSampler(key, update, starts, size).batch(number));
  }
  const std::vector<std::int64_t>& of_stage = sources_[static_cast<std::size_t>(r)].examples;
  const RandomStream stream{sub_key(key, static_cast<std::uint64_t>(update))};
  std::vector<std::int64_t> examples;
  for (std::int64_t i = 0; i < size; ++i) {
    const auto draw = static_cast<std::uint64_t>(number * size + i);
    examples.push_back(of_stage[stream.below(draw, of_stage.size())]);
  }
  return examples;
}

Batch Batches::make(const std::vector<std::vector<std::int64_t>>& examples, std::int64_t width,
                    OutputsOf outputs, std::int64_t multiple) const {
  StepTables tables(1, replicas(), {{width}}, filler(), at::kCPU, dtype_);
  tables.begin(1);
  for_each_index(examples.size(), host_threads(), [&](std::size_t r) {
    std::vector<BatchRow> rows;
    rows.reserve(examples[r].size());
    for (const std::int64_t each : examples[r]) rows.push_back({each});
    tables.set_rows(0, static_cast<std::int64_t>(r), {std::move(rows)});
  });
  tables.upload();
  const StepRows rows = tables.current();
  return gather(rows.examples.to(device_),
                rows.weight.defined() ? rows.weight.to(device_) : rows.weight, outputs, multiple);
}

Batch Batches::make_for_all(const std::vector<std::int64_t>& examples, std::int64_t width,
                            OutputsOf outputs, std::int64_t multiple) const {
  const auto count = static_cast<std::int64_t>(examples.size());
  at::Tensor own = torch::empty({1, width}, torch::kInt64), weight;
  auto* row = own.data_ptr<std::int64_t>();
  for (std::int64_t i = 0; i < width; ++i) {
    row[i] = count == 0 ? filler() : examples[static_cast<std::size_t>(i % count)];
  }
  if (count < width) {
    weight = torch::arange(width, torch::kInt64).lt(count).to(dtype_).unsqueeze(0);
    weight = uploaded(weight, device_).expand({replicas(), width});
  }
  return gather(uploaded(own, device_).expand({replicas(), width}).contiguous(), weight, outputs,
                multiple);
}

at::Tensor Batches::over_rows(const at::Tensor& per_example, std::int64_t multiple) const {
  if (!data_->sequences()) return per_example;
  const std::int64_t rows = multiple * configs_.front().integer("context");
  return per_example.unsqueeze(-1)
      .expand({per_example.size(0), per_example.size(1), rows})
      .reshape({per_example.size(0), -1});
}

Batch Batches::gather_asked(const at::Tensor& examples, const at::Tensor& weight) const {
  at::Tensor table;
  if (tokens_.defined()) {
    const std::int64_t tasks = tokens_.size(0) / replicas();
    const at::Tensor run = torch::arange(replicas(), examples.options()).unsqueeze(1);
    table = examples.bitwise_right_shift(kSourceBits).sub(1).clamp_min(0) + run * tasks;
  }
  const AskedSequences gathered = gather_sequences(device_data_, examples, tokens_, table);
  const std::int64_t tokens = gathered.x.size(2);
  const at::Tensor first =
      torch::arange(examples.size(1), examples.options()) * tokens;  // row of b
  Batch batch;
  batch.x = gathered.x;
  batch.target = gathered.target.view({replicas(), -1});
  batch.asked = (gathered.asked + first.view({1, -1, 1})).view({replicas(), -1});
  batch.weight = torch::zeros(batch.target.sizes(), examples.options().dtype(dtype_))
                     .scatter_(1, batch.asked, 1);
  if (weight.defined()) batch.weight = batch.weight * over_rows(weight);
  return batch;
}

Batch Batches::gather_packed_windows(const at::Tensor& examples, const at::Tensor& weight,
                                     std::int64_t multiple) const {
  const PackedWindows gathered =
      gather_packed(device_data_, examples, multiple * configs_.front().integer("context"));
  Batch batch;
  batch.x = gathered.x;
  batch.target = gathered.target.reshape({replicas(), -1});
  batch.counted = gathered.counted.reshape({replicas(), -1});
  batch.weight = batch.counted.to(dtype_);
  if (weight.defined()) batch.weight = batch.weight * over_rows(weight, multiple);
  return batch;
}

Batch Batches::gather(const at::Tensor& examples, const at::Tensor& weight, OutputsOf outputs,
                      std::int64_t multiple) const {
  const std::int64_t width = examples.size(1);
  Batch batch;
  if (device_data_.documents.defined()) return gather_packed_windows(examples, weight, multiple);
  if (windows()) {
    auto [x, y] =
        gather_windows(device_data_, examples, multiple * configs_.front().integer("context"));
    batch.x = x;
    batch.target = y.reshape({replicas(), -1});
    if (weight.defined()) batch.weight = over_rows(weight, multiple);
    return batch;
  }
  if (data_->sequences()) return gather_asked(examples, weight);
  const at::Tensor source = examples.bitwise_and(kSourceMask);
  const auto task_count = static_cast<std::int64_t>(sequences_.front().tasks.size());
  const bool by_task = outputs == OutputsOf::kTask && allowed_table_.defined();
  const bool looks_up = target_table_.defined() || by_task;
  at::Tensor run, task;  // [R,1], [R,B]
  if (looks_up || views_.from.defined()) {
    run = torch::arange(replicas(), examples.options()).unsqueeze(1);
  }
  if (views_.from.defined()) {
    task = examples.bitwise_right_shift(kSourceBits);
    batch.x =
        gather_images(device_data_, source, views_, (task - 1).clamp_min(0) + run * task_count);
  } else {
    batch.x = angles_.number.defined() ? gather_images(device_data_, source, angles_)
                                       : gather_images(device_data_, source);
  }
  batch.target = gather_labels(device_data_, source);
  batch.weight = weight;
  if (outputs == OutputsOf::kSeen) {
    batch.allowed = seen_.expand({replicas(), width, seen_.size(2)});
  }
  if (!looks_up) return batch;
  at::Tensor cell = batch.target + run * ((task_count + 1) * data_->classes);
  if (task.defined()) cell = cell + task * data_->classes;
  cell = cell.view(-1);
  if (by_task) {
    batch.allowed =
        allowed_table_.index_select(0, cell).view({replicas(), width, allowed_table_.size(1)});
  }
  if (target_table_.defined()) {
    batch.target = target_table_.index_select(0, cell).view({replicas(), width});
  }
  return batch;
}

}  // namespace tandem
