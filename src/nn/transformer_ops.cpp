#include "nn/transformer_ops.h"

#include <cmath>

#include "core/shape.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "kernels/norm/norm_cuda.h"

namespace tandem {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::tensor_list;

struct RmsNorm : torch::autograd::Function<RmsNorm> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& gain,
                            double epsilon) {
    const at::Tensor inverse = x.square().mean(-1, /*keepdim=*/true).add_(epsilon).rsqrt_();
    const at::Tensor unit = x * inverse;
    ctx->save_for_backward({unit, inverse, gain});
    return unit * gain.unsqueeze(1);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list outer) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &unit = saved[0], &inverse = saved[1], &gain = saved[2];
    const at::Tensor along_unit = outer[0] * unit;
    at::Tensor pull = outer[0] * gain.unsqueeze(1);
    const at::Tensor projection = (along_unit * gain.unsqueeze(1)).mean(-1, /*keepdim=*/true);
    pull.addcmul_(unit, projection, -1).mul_(inverse);
    return {pull, along_unit.sum(1), {}};
  }
};

// The same on a GPU, where each of those operations would read and write everything.
struct RmsNormOnGpu : torch::autograd::Function<RmsNormOnGpu> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& input, const at::Tensor& gains,
                            double epsilon) {
    const at::Tensor x = input.contiguous(), gain = gains.contiguous();
    const at::Tensor y = torch::empty_like(x);
    const at::Tensor inverse = torch::empty({x.size(0), x.size(1)}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm", [&] {
      launch_cuda<decltype(rms_norm_cuda<scalar_t>)>(
          "rms_norm", x.const_data_ptr<scalar_t>(), gain.const_data_ptr<scalar_t>(), x.size(0),
          x.size(1), x.size(2), epsilon, y.data_ptr<scalar_t>(), inverse.data_ptr<scalar_t>());
    });
    ctx->save_for_backward({x, gain, inverse});
    return y;
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list outer) {
    const auto saved = ctx->get_saved_variables();
    const at::Tensor &x = saved[0], &gain = saved[1], &inverse = saved[2];
    const at::Tensor dy = outer[0].contiguous(), dx = torch::empty_like(x);
    const std::int64_t chunks = (x.size(1) + kNormRows - 1) / kNormRows;
    const at::Tensor parts = torch::empty({x.size(0), chunks, x.size(2)}, x.options());
    AT_DISPATCH_FLOATING_TYPES(x.scalar_type(), "rms_norm_gradient", [&] {
      launch_cuda<decltype(rms_norm_gradient_cuda<scalar_t>)>(
          "rms_norm_gradient", x.const_data_ptr<scalar_t>(), gain.const_data_ptr<scalar_t>(),
          inverse.const_data_ptr<scalar_t>(), dy.const_data_ptr<scalar_t>(), x.size(0), x.size(1),
          x.size(2), dx.data_ptr<scalar_t>(), parts.data_ptr<scalar_t>());
    });
    return {dx, parts.sum(1), {}};
  }
};

// Turns pairs by the tables' angles, or back where direction is -1.
at::Tensor turn(const at::Tensor& x, const at::Tensor& cosine, const at::Tensor& sine,
                double direction) {
  const std::int64_t half = x.size(-1) / 2;
  at::Tensor y = torch::empty(x.sizes(), x.options());
  const at::Tensor a = x.narrow(-1, 0, half), b = x.narrow(-1, half, half);
  at::Tensor ya = y.narrow(-1, 0, half), yb = y.narrow(-1, half, half);
  at::mul_out(ya, a, cosine).addcmul_(b, sine, -direction);
  at::mul_out(yb, b, cosine).addcmul_(a, sine, direction);
  return y;
}

struct Rotate : torch::autograd::Function<Rotate> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& x, const at::Tensor& cosine,
                            const at::Tensor& sine) {
    ctx->save_for_backward({cosine, sine});
    return turn(x, cosine, sine, 1);
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list outer) {
    const auto saved = ctx->get_saved_variables();
    return {turn(outer[0], saved[0], saved[1], -1), {}, {}};
  }
};

struct Embed : torch::autograd::Function<Embed> {
  static at::Tensor forward(AutogradContext* ctx, const at::Tensor& table,
                            const at::Tensor& tokens) {
    const std::int64_t replicas = table.size(0), rows = table.size(1), width = table.size(2);
    const at::Tensor first = torch::arange(replicas, tokens.options()).unsqueeze(1) * rows;
    const at::Tensor row = (tokens + first).flatten();
    ctx->save_for_backward({tokens, row});
    ctx->saved_data["rows"] = rows;
    return table.reshape({replicas * rows, width})
        .index_select(0, row)
        .view({replicas, tokens.size(1), width});
  }

  static tensor_list backward(AutogradContext* ctx, tensor_list outer) {
    const auto saved = ctx->get_saved_variables();
    const std::int64_t rows = ctx->saved_data["rows"].toInt();
    const at::Tensor gradient = outer[0].contiguous();  // [R,N,W]
    const std::int64_t replicas = gradient.size(0), width = gradient.size(2);
    if (gradient.is_cuda()) {
      const at::Tensor one_hot =
          torch::arange(rows, saved[0].options()).unsqueeze(1).eq(saved[0].unsqueeze(1));
      return {torch::bmm(one_hot.to(gradient.scalar_type()), gradient), {}};  // [R,V,N][R,N,W]
    }
    return {torch::zeros({replicas * rows, width}, gradient.options())
                .index_add_(0, saved[1], gradient.view({-1, width}))
                .view({replicas, rows, width}),
            {}};
  }
};

}  // namespace

at::Tensor rms_norm(const at::Tensor& x, const at::Tensor& gain, double epsilon) {
  expect_shape(x, {gain.size(0), -1, gain.size(1)}, "x");
  if (x.is_cuda() && x.size(-1) <= kMostNormWidth && x.numel() > 0) {
    return RmsNormOnGpu::apply(x, gain, epsilon);
  }
  return RmsNorm::apply(x, gain, epsilon);
}

RotaryTables::RotaryTables(std::int64_t tokens, std::int64_t head_dim, double theta,
                           const at::Tensor& like, const RopeFactors& factors) {
  const double size = static_cast<double>(head_dim);
  if (factors.ntk != 1) theta *= std::pow(factors.ntk, size / (size - 2));
  const auto real = torch::dtype(torch::kFloat64);
  const at::Tensor pair = torch::arange(head_dim / 2, real);
  const at::Tensor frequency = torch::pow(theta, pair * (-2.0 / size));
  const at::Tensor angle =
      (torch::arange(tokens, real).div(factors.linear).unsqueeze(1) * frequency)
          .unsqueeze(1);  // [T,1,D/2]
  cosine = angle.cos().to(like.options().requires_grad(false));
  sine = angle.sin().to(like.options().requires_grad(false));
}

RotaryTables RotaryTables::at(const at::Tensor& places) const {
  std::vector<std::int64_t> shape = places.sizes().vec();
  shape.insert(shape.end(), {1, cosine.size(-1)});
  const at::Tensor index = places.reshape({-1});
  RotaryTables own;
  own.cosine = cosine.index_select(0, index).view(shape);
  own.sine = sine.index_select(0, index).view(shape);
  return own;
}

at::Tensor rotate(const at::Tensor& x, const RotaryTables& tables) {
  expect_shape(x, {-1, -1, tables.cosine.size(-3), -1, 2 * tables.cosine.size(-1)}, "x");
  return Rotate::apply(x, tables.cosine, tables.sine);
}

at::Tensor embed(const at::Tensor& table, const at::Tensor& tokens) {
  expect_shape(tokens, {table.size(0), -1}, "tokens");
  return Embed::apply(table, tokens);
}

}  // namespace tandem
