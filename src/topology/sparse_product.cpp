#include "topology/sparse_product.h"

#include <optional>

#include "data/in_dtype.h"
#include "data/tensor.h"
#include "kernels/masked/masked.h"
#include "kernels/spmm/spmm.h"
#include "topology/feature_major.h"
#include "topology/sparse_connections.h"

namespace tandem {
namespace {

void check(int error, const char* what) {
  TORCH_INTERNAL_ASSERT(error == kernels::kSpmmDone, what, " failed with code ", error);
}

// Returns zero where flags are 0, and the values themselves where there are no flags.
at::Tensor flagged(const at::Tensor& values, const at::Tensor& flags) {
  if (!flags.defined()) return values;
  at::Tensor kept = torch::empty_like(values);
  in_dtype(values, [&](auto zero) {
    using T = decltype(zero);
    const int error = masked_copy(values.data_ptr<T>(), flags.data_ptr<std::uint8_t>(),
                                  values.numel(), kept.data_ptr<T>());
    TORCH_INTERNAL_ASSERT(error == 0, "masked copy of ", values.sizes(), " failed");
  });
  return kept;
}

// Returns a replica's part of a feature-major tensor.
template <class T>
T* part(const at::Tensor& features, std::int64_t r) {
  return features.data_ptr<T>() + r * features.size(2) * feature_stride(features);
}

template <class T>
void forward_as(const std::vector<const SparseIndex*>& index, const at::Tensor& values,
                const at::Tensor& x, const at::Tensor& bias, bool relu, at::Tensor& y) {
  const at::Tensor by_output = torch::empty_like(values);
  std::int64_t first = 0;
  for (std::int64_t r = 0; r < x.size(0); ++r) {
    const SparseIndex& own = *index[static_cast<std::size_t>(r)];
    T* ordered = by_output.data_ptr<T>() + first;
    check(kernels::reorder<T>(values.data_ptr<T>() + first, own.place(), own.count(), ordered),
          "reorder");
    const T* shift = bias.defined() ? bias.data_ptr<T>() + r * y.size(2) : nullptr;
    own.visit([&](const auto& pattern) {
      check(kernels::spmm_forward<T>(pattern, ordered, shift, part<T>(x, r), feature_stride(x),
                                     x.size(1), relu, part<T>(y, r)),
            "spmm_forward");
    });
    first += own.count();
  }
}

template <class T>
void backward_as(const std::vector<const SparseIndex*>& index, const at::Tensor& values,
                 const at::Tensor& x, const at::Tensor& dy, at::Tensor& dx, at::Tensor& dvalues) {
  std::int64_t first = 0;
  for (std::int64_t r = 0; r < x.size(0); ++r) {
    const SparseIndex& own = *index[static_cast<std::size_t>(r)];
    own.visit([&](const auto& pattern) {
      check(kernels::spmm_backward<T>(pattern, values.data_ptr<T>() + first, part<T>(x, r),
                                      part<T>(dy, r), feature_stride(x), x.size(1),
                                      /*relu_input=*/false, dx.defined() ? part<T>(dx, r) : nullptr,
                                      dvalues.data_ptr<T>() + first),
            "spmm_backward");
    });
    first += own.count();
  }
}

// Computes dz = dL/d(x W + b) from dy = dL/dy, and db.
template <class T>
void output_gradient_as(const at::Tensor& y, const at::Tensor& dy, at::Tensor& dz, at::Tensor& db) {
  for (std::int64_t r = 0; r < dy.size(0); ++r) {
    T* bias = db.data_ptr<T>() + r * dy.size(2);
    const std::int64_t outputs = dy.size(2), stride = feature_stride(dy), batch = dy.size(1);
    if (y.defined()) {
      check(kernels::relu_bias_gradient<T>(part<T>(y, r), part<T>(dy, r), outputs, stride, batch,
                                           part<T>(dz, r), bias),
            "relu_bias_gradient");
    } else {
      check(kernels::bias_gradient<T>(part<T>(dy, r), outputs, stride, batch, bias),
            "bias_gradient");
    }
  }
}

}  // namespace

// This is what the function below needs of the connections, and what it leaves there.
class SparseProduct {
 public:
  static std::vector<const SparseIndex*> index(const SparseConnections& connections) {
    std::vector<const SparseIndex*> all;
    for (const SparseIndex& own : connections.index_) all.push_back(&own);
    return all;
  }
  static std::int64_t outputs(const SparseConnections& connections) {
    return connections.outputs();
  }
  static void keep(const SparseConnections& connections, const at::Tensor& x,
                   const at::Tensor& dy) {
    if (connections.expects_gradient_) connections.factors_.push_back({x, dy});
  }
};

namespace {

class Product : public torch::autograd::Function<Product> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& values,
                            const at::Tensor& x, const std::optional<at::Tensor>& bias,
                            const std::optional<at::Tensor>& flags, bool cuts_gradient,
                            const SparseConnections* connections, bool relu) {
    const at::Tensor used = flagged(values, flags.value_or(at::Tensor()));
    const at::Tensor columns = feature_major(x);
    at::Tensor y = empty_features(x.size(0), x.size(1), SparseProduct::outputs(*connections),
                                  values.options().requires_grad(false));
    in_dtype(values, [&](auto zero) {
      forward_as<decltype(zero)>(SparseProduct::index(*connections), used, columns,
                                 bias.value_or(at::Tensor()), relu, y);
    });
    context->saved_data["connections"] = reinterpret_cast<std::int64_t>(connections);
    context->saved_data["relu"] = relu;
    context->saved_data["bias"] = bias.has_value();
    context->save_for_backward({used, columns, relu ? y : at::Tensor(),
                                cuts_gradient ? flags.value_or(at::Tensor()) : at::Tensor()});
    return y;
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 torch::autograd::variable_list gradients) {
    const auto& connections =
        *reinterpret_cast<const SparseConnections*>(context->saved_data["connections"].toInt());
    const auto saved = context->get_saved_variables();
    const at::Tensor used = saved[0], x = saved[1];
    const bool relu = context->saved_data["relu"].toBool();
    const at::Tensor dy = feature_major(gradients[0]);
    at::Tensor dz = relu ? empty_features(dy.size(0), dy.size(1), dy.size(2), dy.options()) : dy;
    at::Tensor db = torch::empty({dy.size(0), dy.size(2)}, dy.options());
    at::Tensor dx, dvalues = torch::empty_like(used);
    if (context->needs_input_grad(1)) {
      dx = empty_features(x.size(0), x.size(1), x.size(2), dy.options());
    }
    in_dtype(used, [&](auto zero) {
      using T = decltype(zero);
      output_gradient_as<T>(relu ? saved[2] : at::Tensor(), dy, dz, db);
      backward_as<T>(SparseProduct::index(connections), used, x, dz, dx, dvalues);
    });
    SparseProduct::keep(connections, x, dz);
    if (!context->saved_data["bias"].toBool()) db.reset();
    return {flagged(dvalues, saved[3]), dx, db, {}, {}, {}, {}};
  }
};

}  // namespace

at::Tensor sparse_product(const SparseConnections& connections, const UsedValues& used,
                          const at::Tensor& x, const at::Tensor& bias, bool relu) {
  // An undefined tensor has no device for autograd to note.
  const auto given = [](const at::Tensor& tensor) {
    return tensor.defined() ? std::optional(tensor.contiguous()) : std::nullopt;
  };
  return Product::apply(used.values, x, given(bias), given(used.flags), used.cuts_gradient,
                        &connections, relu);
}

}  // namespace tandem
