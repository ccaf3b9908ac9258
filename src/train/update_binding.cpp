#include "train/update_binding.h"

#include "cuda/plugin.h"
#include "data/in_dtype.h"
#include "data/tensor.h"
#include "kernels/pull/pull_cuda.h"
#include "kernels/update/update_cuda.h"

namespace tandem {
namespace {

template <class T>
T* pointer(const at::Tensor& tensor) {
  return tensor.defined() ? tensor.data_ptr<T>() : nullptr;
}

template <class Record>
const Record* records(const at::Tensor& table) {
  return reinterpret_cast<const Record*>(table.data_ptr<double>());
}

const kernels::ReplicaUpdate* updates_of(const UpdateTensors& tensors) {
  return reinterpret_cast<const kernels::ReplicaUpdate*>(tensors.replicas.data_ptr<std::uint8_t>());
}

// Neighbouring replicas whose segments are of one length.
struct Stretch {
  std::int64_t replica, count, first, length;  // of a replica; of an element; of each segment
};

std::vector<Stretch> stretches(const std::vector<std::int64_t>& segments) {
  std::vector<Stretch> all;
  for (std::size_t r = 0; r + 1 < segments.size(); ++r) {
    const std::int64_t length = segments[r + 1] - segments[r];
    if (!all.empty() && all.back().length == length) {
      ++all.back().count;
    } else {
      all.push_back({static_cast<std::int64_t>(r), 1, segments[r], length});
    }
  }
  return all;
}

const std::uint8_t* flags_at(const at::Tensor& set, std::int64_t first) {
  const std::uint8_t* flags = pointer<std::uint8_t>(set);
  return flags == nullptr ? nullptr : flags + first;
}

kernels::UpdateMasks masks_at(const UpdateTensors& tensors, std::int64_t first) {
  const std::uint8_t* active = flags_at(tensors.active, first);
  return {active, tensors.gradient_set.defined() ? flags_at(tensors.gradient_set, first) : active,
          tensors.update_set.defined() ? flags_at(tensors.update_set, first) : active,
          flags_at(tensors.may_change, first)};
}

template <class T>
T* at_place(T* pointer, std::int64_t first) {
  return pointer == nullptr ? nullptr : pointer + first;
}

template <class T>
kernels::PathTerm<T> path_at(const UpdateTensors& tensors, std::int64_t first) {
  return {at_place<const T>(pointer<T>(tensors.along), first),
          at_place(pointer<T>(tensors.path), first)};
}

}  // namespace

void sgd_update(const UpdateTensors& tensors, const at::Tensor& momentum, kernels::SgdRule rule) {
  in_dtype(tensors.weight, [&](auto zero) {
    using T = decltype(zero);
    T* weight = pointer<T>(tensors.weight);
    const T* gradient = pointer<T>(tensors.gradient);
    T* slot = pointer<T>(momentum);
    for (const auto& [replica, count, first, length] : stretches(tensors.segments)) {
      const kernels::UpdateMasks masks = masks_at(tensors, first);
      const auto* updates = updates_of(tensors) + replica;
      if (!tensors.weight.is_cuda()) {
        kernels::sgd_update<T>(weight + first, gradient + first, at_place(slot, first), masks,
                               length, updates, count, rule, path_at<T>(tensors, first));
        continue;
      }
      launch_cuda<decltype(kernels::sgd_update_cuda<T>)>(
          "sgd_update", weight + first, gradient + first, at_place(slot, first), masks, length,
          updates, count, rule, path_at<T>(tensors, first));
    }
  });
}

void adam_update(const UpdateTensors& tensors, const at::Tensor& first_moment,
                 const at::Tensor& second_moment, const at::Tensor& count, kernels::AdamRule rule) {
  in_dtype(tensors.weight, [&](auto zero) {
    using T = decltype(zero);
    T* weight = pointer<T>(tensors.weight);
    const T* gradient = pointer<T>(tensors.gradient);
    T *m = pointer<T>(first_moment), *v = pointer<T>(second_moment), *ages = pointer<T>(count);
    for (const auto& [replica, replicas, first, length] : stretches(tensors.segments)) {
      const kernels::UpdateMasks masks = masks_at(tensors, first);
      const auto* updates = updates_of(tensors) + replica;
      if (!tensors.weight.is_cuda()) {
        kernels::adam_update<T>(weight + first, gradient + first, m + first, v + first,
                                at_place(ages, first), masks, length, updates, replicas, rule,
                                path_at<T>(tensors, first));
        continue;
      }
      launch_cuda<decltype(kernels::adam_update_cuda<T>)>(
          "adam_update", weight + first, gradient + first, m + first, v + first,
          at_place(ages, first), masks, length, updates, replicas, rule,
          path_at<T>(tensors, first));
    }
  });
}

std::pair<at::Tensor, at::Tensor> pulled(const PullTensors& tensors) {
  const at::Tensor out = torch::empty_like(tensors.weight);
  const auto replicas = static_cast<std::int64_t>(tensors.segments.size()) - 1;
  const auto real = torch::device(tensors.weight.device()).dtype(torch::kFloat64);
  const at::Tensor sums = torch::zeros({replicas}, real);
  const bool* flags = pointer<bool>(tensors.flags);
  const at::Tensor scratch =
      tensors.weight.is_cuda() ? torch::empty({replicas, kernels::kPullParts}, real) : at::Tensor();
  in_dtype(tensors.weight, [&](auto zero) {
    using T = decltype(zero);
    const T* factors = pointer<T>(tensors.factor);
    for (const auto& [replica, count, first, length] : stretches(tensors.segments)) {
      const kernels::PullTerm<T> term{pointer<T>(tensors.weight) + first,
                                      pointer<T>(tensors.center) + first,
                                      pointer<T>(tensors.importance) + first,
                                      at_place<const T>(pointer<T>(tensors.gradient), first),
                                      reinterpret_cast<const std::uint8_t*>(at_place(flags, first)),
                                      factors + replica,
                                      length,
                                      count};
      T* to = pointer<T>(out) + first;
      double* sum = sums.data_ptr<double>() + replica;
      if (!tensors.weight.is_cuda()) {
        kernels::add_pull<T>(term, to, sum);
        continue;
      }
      launch_cuda<decltype(kernels::add_pull_cuda<T>)>("add_pull", term, to, sum,
                                                       scratch.data_ptr<double>());
    }
  });
  return {out, sums};
}

void add_squares(const at::Tensor& gradient, const at::Tensor& active,
                 const std::vector<std::int64_t>& segments, const at::Tensor& numbers,
                 const at::Tensor& scratch, at::Tensor squares) {
  const std::int64_t count = squares.numel(), length = gradient.numel() / count;
  const auto* rows = records<kernels::StepNumbers>(numbers);
  const std::uint8_t* set = pointer<std::uint8_t>(active);
  double* sums = squares.data_ptr<double>();
  in_dtype(gradient, [&](auto zero) {
    using T = decltype(zero);
    const T* values = pointer<T>(gradient);
    if (!gradient.is_cuda()) {
      for (std::int64_t r = 0; r < count; ++r) {
        if (rows[r].runs == 0 || rows[r].steps == 0) continue;
        const bool masks = set != nullptr && rows[r].mask_gradient != 0;
        const std::int64_t first = segments[static_cast<std::size_t>(r)];
        sums[r] += kernels::sum_squares<T>(values + first, masks ? set + first : nullptr,
                                           segments[static_cast<std::size_t>(r + 1)] - first);
      }
      return;
    }
    launch_cuda<decltype(kernels::sum_squares_cuda<T>)>("sum_squares", values, set, length, rows,
                                                        count, scratch.data_ptr<double>(), sums);
  });
}

void finish_step(const at::Tensor& numbers, const at::Tensor& constants, const StepLosses& losses,
                 const at::Tensor& squares, at::Tensor state, at::Tensor updates) {
  kernels::StepOutcome outcome;
  outcome.numbers = records<kernels::StepNumbers>(numbers);
  outcome.constants = records<kernels::ReplicaConstants>(constants);
  outcome.loss = pointer<double>(losses.task);
  outcome.alignment = pointer<double>(losses.alignment);
  outcome.strategy = pointer<double>(losses.strategy);
  outcome.model = pointer<double>(losses.model);
  outcome.rest = pointer<double>(losses.rest);
  outcome.squares = pointer<double>(squares);
  outcome.replicas = losses.task.numel();
  outcome.nets = updates.size(0);
  auto* states = reinterpret_cast<kernels::ReplicaState*>(state.data_ptr<double>());
  auto* own = reinterpret_cast<kernels::ReplicaUpdate*>(updates.data_ptr<std::uint8_t>());
  if (state.is_cuda()) {
    launch_cuda<decltype(kernels::finish_step_cuda)>("finish_step", outcome, states, own);
  } else {
    kernels::finish_step(outcome, states, own);
  }
}

}  // namespace tandem
