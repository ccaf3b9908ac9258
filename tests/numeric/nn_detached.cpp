// Alignment that does not reach a layer's input, in double: the product with its local outputs
// against autograd through plain operations on x and on x.detach().
#include <catch2/catch.hpp>

#include "data/tensor.h"
#include "nn/linear.h"
#include "topology/masked_connections.h"

namespace tandem::test::nn_detached_numeric {

namespace {

using Distance = Alignment::Distance;

const auto kDouble = torch::TensorOptions(torch::kFloat64);
constexpr double kTight = 1e-12;

at::Tensor pull(double first, double second) { return torch::tensor({first, second}, kDouble); }

// Two layers of two replicas; the first replica runs its full stream, the second its sparse one.
struct Net {
  Linear hidden{"hidden", 7, 6, true}, head{"head", 6, 5, false};
  at::Tensor x;

  explicit Net(bool all_active = false) {
    torch::manual_seed(5);
    x = torch::randn({2, 8, 7}, kDouble).requires_grad_(true);
    for (Linear* layer : {&hidden, &head}) {
      layer->weight.value =
          torch::randn({2, layer->inputs(), layer->outputs()}, kDouble).requires_grad_(true);
      if (layer->has_bias()) {
        layer->bias.value = torch::randn({2, layer->outputs()}, kDouble).requires_grad_(true);
      }
      const at::Tensor mask = (torch::rand({layer->weight.value.numel()}) < 0.5).to(torch::kByte);
      layer->connections =
          std::make_unique<MaskedConnections>(layer->weight, all_active ? at::Tensor() : mask);
    }
  }
  std::vector<at::Tensor> leaves() const {
    return {x, hidden.weight.value, hidden.bias.value, head.weight.value};
  }
};

LevelPlan plan_of(Distance distance, Alignment::Site site, bool shuffled, RunningStream running) {
  LevelPlan plan;
  plan.wanted = StreamsWanted::kBoth;
  plan.running = running;
  plan.full_runs = torch::tensor({true, false});
  plan.mask_gradient = true;
  plan.detached = true;
  plan.distance = distance;
  plan.site = site;
  plan.shuffled = shuffled;
  plan.full_coefficient = pull(0.7, 0.4);
  plan.sparse_coefficient = pull(0.5, 0.9);
  return plan;
}

struct Outcome {
  at::Tensor task, alignment;  // [R]
};

Outcome engine(const Net& net, const LevelPlan& plan) {
  Context context;
  context.plans.weights = plan;
  const at::Tensor h = net.hidden.forward(net.x, context, Epilogue::relu());
  const at::Tensor y = net.head.forward(h, context);
  return {y.square().mean({1, 2}), context.alignment()};
}

// The same by plain operations; the task and the alignment have products of their own.
Outcome reference(const Net& net, const LevelPlan& plan) {
  at::Tensor h = net.x, alignment = torch::zeros({2}, kDouble);
  for (const Linear* layer : {&net.hidden, &net.head}) {
    const at::Tensor& w = layer->weight.value;
    const at::Tensor mask = layer->connections->dense_flags().view_as(w).to(torch::kFloat64);
    const bool activates = layer == &net.hidden;
    const auto product = [&](const at::Tensor& input, const at::Tensor& weight) {
      const at::Tensor y = torch::einsum("rni,rio->rno", {input, weight});
      return layer->has_bias() ? y + layer->bias.value.unsqueeze(1) : y;
    };
    const auto at_site = [&](const at::Tensor& y) {
      return activates && plan.site == Alignment::Site::kPost ? torch::relu(y) : y;
    };
    const at::Tensor a = at_site(product(h.detach(), w));
    const at::Tensor b = at_site(product(h.detach(), w * mask));
    const auto target = [&](const at::Tensor& y) {
      return plan.shuffled ? torch::roll(y.detach(), -1, 1) : y.detach();
    };
    const auto apart = [&](const at::Tensor& p, const at::Tensor& q) {  // [R]
      if (plan.distance == Distance::kSmoothL1) {
        return torch::smooth_l1_loss(p, q, at::Reduction::None).mean({1, 2});
      }
      if (plan.distance == Distance::kMse) return (p - q).square().mean({1, 2});
      return (1 - (p * q).sum(-1) / (p.norm(2, {-1}) * q.norm(2, {-1}))).mean(1);
    };
    alignment = alignment + plan.full_coefficient * apart(a, target(b)) +
                plan.sparse_coefficient * apart(b, target(a));
    const at::Tensor full = product(h, w), sparse = product(h, w * mask);
    const at::Tensor y = plan.running == RunningStream::kFull ? full
                         : plan.running == RunningStream::kSparse
                             ? sparse
                             : torch::where(plan.full_runs.view({2, 1, 1}), full, sparse);
    h = activates ? torch::relu(y) : y;
  }
  return {h.square().mean({1, 2}), alignment};
}

void require_equal(const std::vector<at::Tensor>& got, const std::vector<at::Tensor>& expected) {
  REQUIRE(got.size() == expected.size());
  for (std::size_t i = 0; i < got.size(); ++i) {
    CAPTURE(i);
    REQUIRE(torch::allclose(got[i], expected[i], kTight, kTight));
    REQUIRE(expected[i].abs().max().item<double>() > 1e-3);
  }
}

std::vector<at::Tensor> gradients(const at::Tensor& loss, const Net& net) {
  return torch::autograd::grad({loss.sum()}, net.leaves(), {}, /*retain_graph=*/true);
}

void require_as_reference(const Net& net, const LevelPlan& plan) {
  const Outcome own = engine(net, plan), plain = reference(net, plan);
  REQUIRE(torch::allclose(own.task, plain.task, kTight, kTight));
  REQUIRE(torch::allclose(own.alignment, plain.alignment, kTight, kTight));
  require_equal(gradients(own.task + own.alignment, net),
                gradients(plain.task + plain.alignment, net));
}

}  // namespace

TEST_CASE("a detached pull has the gradient of alignment from inputs taken as constants",
          "[numeric]") {
  const Net net;
  for (const Distance distance : {Distance::kSmoothL1, Distance::kMse, Distance::kCosine}) {
    for (const Alignment::Site site : {Alignment::Site::kPre, Alignment::Site::kPost}) {
      // A row that an activation has emptied has no direction.
      if (distance == Distance::kCosine && site == Alignment::Site::kPost) continue;
      for (const RunningStream running :
           {RunningStream::kFull, RunningStream::kSparse, RunningStream::kMixed}) {
        for (const bool shuffled : {false, true}) {
          CAPTURE(static_cast<int>(distance), static_cast<int>(site), static_cast<int>(running),
                  shuffled);
          require_as_reference(net, plan_of(distance, site, shuffled, running));
        }
      }
    }
  }
}

TEST_CASE("a detached pull of streams that are one is still a pull", "[numeric]") {
  // Nothing is dormant: only what does not vanish there pulls, and it must not go missing.
  const Net net(/*all_active=*/true);
  require_as_reference(
      net, plan_of(Distance::kSmoothL1, Alignment::Site::kPre, true, RunningStream::kMixed));
  require_as_reference(
      net, plan_of(Distance::kCosine, Alignment::Site::kPre, true, RunningStream::kMixed));
}

TEST_CASE("a detached pull leaves the task's gradient and the input's as they are", "[numeric]") {
  const Net net;
  const auto options = {RunningStream::kFull, RunningStream::kSparse, RunningStream::kMixed};
  for (const RunningStream running : options) {
    CAPTURE(static_cast<int>(running));
    LevelPlan plan = plan_of(Distance::kSmoothL1, Alignment::Site::kPre, false, running);
    const Outcome own = engine(net, plan);
    plan.detached = false;
    const Outcome usual = engine(net, plan);
    REQUIRE(torch::equal(own.task, usual.task));
    REQUIRE(torch::equal(own.alignment, usual.alignment));
    const auto task = gradients(usual.task, net);
    const auto alone = gradients(own.task, net), both = gradients(own.task + own.alignment, net);
    for (std::size_t i = 0; i < task.size(); ++i) {
      CAPTURE(i);
      REQUIRE(torch::allclose(alone[i], task[i], kTight, kTight));
    }
    REQUIRE(torch::allclose(both[0], task[0], kTight, kTight));  // of x
    REQUIRE_FALSE(torch::allclose(gradients(usual.task + usual.alignment, net)[0], task[0], 1e-3));
  }
}

TEST_CASE("local outputs are the outputs themselves", "[numeric]") {
  const Net net;
  for (const Linear* layer : {&net.hidden, &net.head}) {
    ProductPlan plan;
    plan.full = plan.sparse = plan.mask_gradient = plan.detached = true;
    const at::Tensor x = torch::randn({2, 8, layer->inputs()}, kDouble).requires_grad_(true);
    const TwoStreams y = layer->connections->product(x, layer->bias.value, plan);
    REQUIRE(torch::equal(y.full, y.full_local));
    REQUIRE(torch::equal(y.sparse, y.sparse_local));
    const at::Tensor pulled = (y.full_local.sum() + y.sparse_local.square().sum());
    const auto reached = torch::autograd::grad({pulled}, {x, layer->weight.value}, {}, true, false,
                                               /*allow_unused=*/true);
    REQUIRE((!reached[0].defined() || reached[0].abs().max().item<double>() == 0));
    REQUIRE(reached[1].abs().max().item<double>() > 0);
    plan.detached = false;
    const TwoStreams plain = layer->connections->product(x, layer->bias.value, plan);
    REQUIRE_FALSE(plain.full_local.defined());
    REQUIRE(torch::equal(plain.full, y.full));
    REQUIRE(torch::equal(plain.sparse, y.sparse));
  }
}

}  // namespace tandem::test::nn_detached_numeric
