#include "probes/read_net.h"

#include <algorithm>

#include "data/tensor.h"
#include "readout/readout.h"

namespace tandem {
namespace {

NetReading read_once(const ProbeInput& input) {
  NetReading reading;
  Context context = trained_context(input.runs);
  context.observe_tensor = [&](const std::string& layer, const std::string& what,
                               const at::Tensor& value) {
    if (what == "activation") reading.activations.emplace_back(layer, value);
  };
  reading.logits = input.model.forward(input.x, context);
  return reading;
}

at::Tensor table_of(const std::vector<std::vector<std::int64_t>>& rows, const at::Tensor& beside) {
  std::vector<at::Tensor> each;
  for (const auto& own : rows) each.push_back(torch::tensor(own, torch::kLong));
  return torch::stack(each).to(beside.device());
}

// `chosen` is bool [R,N].
at::Tensor shares_among(const ProbeInput& input, const at::Tensor& chosen) {
  const at::Tensor share = chosen.to(input.model.parameters().front()->value.scalar_type());
  return share / share.sum(1, /*keepdim=*/true).clamp_min(1);
}

// Of each input of a layer [R,in], the largest share of its value that one of its weights is read
// with: the gate of a unit, or 0 or 1 where weights are read or not. `trained` are the values that
// the weights have when nobody reads them, beside Parameter::flat().
at::Tensor shares_read(const Linear& layer, const at::Tensor& trained) {
  const at::Tensor ratio = (layer.weight.flat() / trained).abs().masked_fill(trained == 0, 0);
  const std::int64_t replicas = layer.weight.replicas();
  const at::Tensor stored =
      layer.connections == nullptr ? at::Tensor() : layer.connections->stored_positions();
  if (!stored.defined()) {
    return ratio.view({replicas, layer.inputs(), layer.outputs()}).amax(-1);
  }
  const at::Tensor shares = torch::zeros({replicas, layer.inputs()}, ratio.options());
  for (std::int64_t r = 0; r < replicas; ++r) {
    const at::Tensor input = layer.weight.segment(stored, r).div(layer.outputs(), "floor");
    shares[r].scatter_reduce_(0, input, layer.weight.segment(ratio, r), "amax");
  }
  return shares;
}

// Activations become what the net of a task makes of them.
void apply_gates(const ProbeInput& input, const std::vector<at::Tensor>& trained,
                 NetReading& reading) {
  const std::vector<Linear*> linears = input.model.linears();
  if (!is_chain(input.model) || reading.activations.size() + 1 != linears.size()) return;
  for (std::size_t l = 0; l < reading.activations.size(); ++l) {
    at::Tensor& units = reading.activations[l].second;
    units = units * shares_read(*linears[l + 1], trained[l + 1]).unsqueeze(1);
  }
}

// Takes from `other` the examples that are chosen, bool [R,N,1]; the rest stays, or is 0 at first.
void take(at::Tensor& all, const at::Tensor& other, const at::Tensor& chosen) {
  all = torch::where(chosen, other, all.defined() ? all : torch::zeros_like(other));
}

}  // namespace

NetReading read_net(const ProbeInput& input, const std::vector<std::vector<std::int64_t>>& tasks) {
  at::NoGradGuard no_grad;
  if (!input.read_as || !input.task_nets || tasks.empty()) {
    const auto read = input.read_as ? input.read_as(input.task) : nullptr;
    return read_once(input);
  }
  const at::Tensor task = table_of(tasks, input.x).unsqueeze(-1);
  std::vector<at::Tensor> trained;
  for (const Linear* layer : input.model.linears()) trained.push_back(layer->weight.flat());
  NetReading reading;
  for (std::int64_t t = 1; t <= input.task; ++t) {
    const auto read = input.read_as(t);
    NetReading own = read_once(input);
    apply_gates(input, trained, own);
    const at::Tensor chosen = task == t;
    take(reading.logits, own.logits, chosen);
    reading.activations.resize(own.activations.size());
    for (std::size_t l = 0; l < own.activations.size(); ++l) {
      reading.activations[l].first = own.activations[l].first;
      take(reading.activations[l].second, own.activations[l].second, chosen);
    }
  }
  return reading;
}

std::vector<at::Tensor> trained_values(Model& model, const std::vector<ReadoutRun>& runs) {
  const std::vector<Parameter*> parameters = model.parameters();
  std::vector<at::Tensor> values;
  for (const Parameter* parameter : parameters) values.push_back(parameter->value.detach());
  if (runs.front().policies.weights.has_full_stream()) return values;
  for (const Linear* layer : model.linears()) {
    if (layer->connections == nullptr) continue;
    const auto place = std::find(parameters.begin(), parameters.end(), &layer->weight);
    at::Tensor& own = values[static_cast<std::size_t>(place - parameters.begin())];
    own = own.masked_fill(current_flags(*layer).view(own.sizes()).eq(0), 0);
  }
  return values;
}

std::map<std::int64_t, std::vector<std::int64_t>> places_by_task(
    const std::vector<std::int64_t>& tasks, std::int64_t last) {
  std::map<std::int64_t, std::vector<std::int64_t>> places;
  for (std::size_t i = 0; i < tasks.size(); ++i) {
    if (tasks[i] <= last) places[tasks[i]].push_back(static_cast<std::int64_t>(i));
  }
  return places;
}

at::Tensor outputs_read(const ProbeInput& input,
                        const std::vector<std::vector<std::int64_t>>& tasks) {
  if (!input.task_nets || tasks.empty() || input.task_of_output.empty()) {
    return input.outputs_allowed;
  }
  const at::Tensor own = table_of(input.task_of_output, input.x).unsqueeze(1) ==
                         table_of(tasks, input.x).unsqueeze(-1);
  return input.outputs_allowed.defined() ? own.logical_and(input.outputs_allowed) : own;
}

at::Tensor shares_of_task(const ProbeInput& input,
                          const std::vector<std::vector<std::int64_t>>& tasks, std::int64_t task) {
  return shares_among(input, table_of(tasks, input.x) == task);
}

at::Tensor shares_up_to(const ProbeInput& input,
                        const std::vector<std::vector<std::int64_t>>& tasks, std::int64_t task) {
  return shares_among(input, table_of(tasks, input.x) <= task);
}

std::vector<std::vector<std::int64_t>> tasks_of(const ProbeInput& input) {
  auto tasks = input.tasks ? input.tasks() : std::vector<std::vector<std::int64_t>>();
  const bool by_example =
      !tasks.empty() && static_cast<std::int64_t>(tasks.front().size()) == input.x.size(1);
  return by_example && input.model.sites(Level::kAttention) == 0
             ? tasks
             : std::vector<std::vector<std::int64_t>>();
}

}  // namespace tandem
