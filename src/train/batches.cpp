#include "train/batches.h"

#include "config/seeds.h"
#include "core/philox.h"
#include "data/tensor.h"
#include "plan/stages.h"
#include "train/step_tables.h"

namespace tandem {

Batches::Batches(const std::vector<Config>& configs, at::Device device, at::ScalarType dtype)
    : configs_(configs), device_(device), dtype_(dtype), data_(load_dataset(configs.front())) {
  device_data_ = to_device(*data_, device, dtype);
  for (const Config& config : configs) sequences_.push_back(make_tasks(config, *data_));
  if (!windows()) make_tables();
}

// The tables that map a class to its output and to its task's outputs.
void Batches::make_tables() {
  const TaskSequence& first = sequences_.front();
  const std::int64_t classes = data_->classes, outputs = first.outputs;
  if (!first.target.empty()) {
    std::vector<std::int64_t> table;
    for (const TaskSequence& each : sequences_) {
      table.insert(table.end(), each.target.begin(), each.target.end());
    }
    target_table_ = torch::tensor(table).to(device_);
  }
  if (first.task_outputs.empty()) return;
  at::Tensor allowed = torch::zeros({replicas(), classes, outputs}, torch::kBool);
  auto access = allowed.accessor<bool, 3>();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const TaskSequence& each = tasks(r);
    for (std::int64_t c = 0; c < classes; ++c) {
      const std::int64_t task =
          each.task_of_class.empty() ? 1 : each.task_of_class[static_cast<std::size_t>(c)];
      const auto [begin, end] = each.task_outputs[static_cast<std::size_t>(task - 1)];
      for (std::int64_t o = begin; o < end; ++o) access[r][c][o] = true;
    }
  }
  allowed_table_ = allowed.view({replicas() * classes, outputs}).to(device_);
}

std::int64_t Batches::filler() const { return windows() ? data_->train[0] : 0; }

void Batches::begin_stage(std::int64_t stage, bool joined) {
  epoch_samplers_.clear();
  byte_samplers_.clear();
  stage_examples_.clear();
  for (std::int64_t r = 0; r < replicas(); ++r) {
    const Config& config = configs_[static_cast<std::size_t>(r)];
    const std::uint64_t key = run_key(config, "data");
    const std::int64_t batch = config.integer("batch");
    if (windows()) {
      byte_samplers_.push_back(std::make_unique<ByteSampler>(
          key, stage, data_->train[0], data_->train[1], config.integer("context"), batch));
    } else {
      stage_examples_.push_back(stage_examples(tasks(r), stage, joined));
      epoch_samplers_.push_back(std::make_unique<EpochSampler>(
          key, stage, static_cast<std::int64_t>(stage_examples_.back().size()), batch));
    }
  }
}

std::vector<std::int64_t> Batches::of_step(std::int64_t r, std::int64_t in_stage) {
  const auto replica = static_cast<std::size_t>(r);
  if (windows()) return byte_samplers_[replica]->batch(in_stage);
  std::vector<std::int64_t> examples = epoch_samplers_[replica]->batch(in_stage);
  for (std::int64_t& index : examples) {
    index = stage_examples_[replica][static_cast<std::size_t>(index)];
  }
  return examples;
}

std::vector<std::int64_t> Batches::beside(std::int64_t r, std::int64_t update,
                                          std::int64_t number) const {
  const Config& config = configs_[static_cast<std::size_t>(r)];
  const std::uint64_t key = run_key(config, "growth");
  const std::int64_t size = config.integer("batch");
  if (windows()) {
    const std::int64_t context = config.integer("context");
    return ByteSampler(key, update, data_->train[0], data_->train[1], context, size).batch(number);
  }
  const std::vector<std::int64_t>& of_stage = stage_examples_[static_cast<std::size_t>(r)];
  const RandomStream stream{sub_key(key, static_cast<std::uint64_t>(update))};
  std::vector<std::int64_t> examples;
  for (std::int64_t i = 0; i < size; ++i) {
    const auto draw = static_cast<std::uint64_t>(number * size + i);
    examples.push_back(of_stage[stream.below(draw, of_stage.size())]);
  }
  return examples;
}

Batch Batches::make(const std::vector<std::vector<std::int64_t>>& examples, std::int64_t width,
                    bool masked) const {
  StepTables tables(1, replicas(), width, filler(), at::kCPU, dtype_);
  tables.begin(1);
  for (std::int64_t r = 0; r < replicas(); ++r) {
    tables.set_examples(0, r, examples[static_cast<std::size_t>(r)]);
  }
  tables.upload();
  const StepRows rows = tables.current();
  return gather(rows.examples.to(device_),
                rows.weight.defined() ? rows.weight.to(device_) : rows.weight, masked);
}

Batch Batches::gather(const at::Tensor& examples, const at::Tensor& weight, bool masked) const {
  const std::int64_t width = examples.size(1);
  Batch batch;
  if (windows()) {
    auto [x, y] = gather_windows(device_data_, examples, configs_.front().integer("context"));
    batch.x = x;
    batch.target = y.reshape({replicas(), -1});
    if (weight.defined()) {
      batch.weight =
          weight.unsqueeze(-1).expand({replicas(), width, x.size(2)}).reshape({replicas(), -1});
    }
    return batch;
  }
  batch.x = gather_images(device_data_, examples);
  batch.target = gather_labels(device_data_, examples);
  batch.weight = weight;
  if (!target_table_.defined() && !(masked && allowed_table_.defined())) return batch;
  const at::Tensor offsets =
      torch::arange(replicas(), batch.target.options()).unsqueeze(1) * data_->classes;
  const at::Tensor cell = (batch.target + offsets).view(-1);
  if (masked && allowed_table_.defined()) {
    batch.allowed =
        allowed_table_.index_select(0, cell).view({replicas(), width, allowed_table_.size(1)});
  }
  if (target_table_.defined()) {
    batch.target = target_table_.index_select(0, cell).view({replicas(), width});
  }
  return batch;
}

}  // namespace tandem
