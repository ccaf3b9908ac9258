#include "nn/attention/two_stream.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/error.h"
#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "methods/method.h"
#include "nn/attention/blocked.h"
#include "nn/attention/learned_selector.h"
#include "nn/attention/module.h"
#include "nn/attention/selector.h"
#include "nn/attention/view.h"
#include "topology/batched_product.h"

namespace tandem {
namespace {

bool has_full(StreamsWanted wanted) {
  return wanted == StreamsWanted::kFull || wanted == StreamsWanted::kBoth;
}

struct Streams {
  at::Tensor full, sparse;                  // [R,B,T,H,D]; one that is not wanted is undefined
  at::Tensor full_entropy, sparse_entropy;  // [R], where they are asked for
};

Streams by_kernels(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                   const AttentionSetting& setting, const AttentionTables& tables,
                   StreamsWanted wanted, const at::Tensor& full_runs, const at::Tensor& learned) {
  const std::int64_t size = setting.block_size;
  Streams streams;
  if (has_full(wanted)) streams.full = blocked_attention(q, k, v, size, tables, {}, {});
  if (wanted == StreamsWanted::kFull) return streams;
  if (covers_everything(setting, tables)) {  // the streams are one
    streams.sparse =
        streams.full.defined() ? streams.full : blocked_attention(q, k, v, size, tables, {}, {});
  } else {
    streams.sparse = blocked_attention(q, k, v, size, tables,
                                       lists_of_blocks(q, k, setting, tables, learned), full_runs);
  }
  return streams;
}

// Mean over everything but the replicas of -sum p log2 p, from p [N,G T,K].
at::Tensor mean_entropy(const Folded& f, const at::Tensor& p) {
  const at::Tensor logs = p.clamp_min(std::numeric_limits<float>::min()).log();
  return (p * logs).sum(-1).view({f.replicas, -1}).mean(1) / -std::log(2.0);
}

// What the divergence of a learned selector is over.
at::Tensor learnt_blocks(const SelectorInput& input, const at::Tensor& chosen,
                         const AttentionExtras& extras, const LevelPlan& plan, std::int64_t index) {
  if (extras.over_all) return divergence_blocks(input, {}, {});
  if (extras.over_chosen) return divergence_blocks(input, chosen, {});
  if (plan.running == RunningStream::kFull) return divergence_blocks(input, {}, {});
  const bool mixed = plan.running == RunningStream::kMixed;
  return divergence_blocks(input, chosen, mixed ? full_runs_at(plan, index) : at::Tensor());
}

Streams by_matrices(const Site& site, const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                    const AttentionSetting& setting, const AttentionTables& tables,
                    StreamsWanted wanted, const at::Tensor& full_runs, Context& context,
                    const AttentionExtras& extras) {
  const Folded f = fold(q, k, v);
  const at::Tensor learned = extras.scores.defined() ? extras.scores.detach() : at::Tensor();
  const SelectorInput input{f, setting, tables, learned};
  const at::Tensor scores = batched_product(f.q, f.k.transpose(1, 2));  // [N,G T,T]
  at::Tensor chosen, mask;  // they stay undefined where the sparse stream equals the full one
  const bool learns = extras.scores_weight.defined();
  if ((wanted != StreamsWanted::kFull || (learns && extras.over_chosen)) &&
      !covers_everything(setting, tables)) {
    at::NoGradGuard no_grad;
    chosen = chosen_blocks(input);
    if (wanted != StreamsWanted::kFull) mask = mask_of_blocks(input, chosen, full_runs);
  }
  const auto stream = [&](const at::Tensor& additive, at::Tensor& entropy) {
    const at::Tensor p = masked_softmax(f, scores, additive);
    if (extras.entropy_weight.defined()) entropy = mean_entropy(f, p);
    return f.unfold(batched_product(p, f.v));
  };
  Streams streams;
  if (has_full(wanted)) streams.full = stream(tables.causal(), streams.full_entropy);
  if (wanted == StreamsWanted::kBoth && !mask.defined()) {
    streams.sparse = streams.full;
    streams.sparse_entropy = streams.full_entropy;
  } else if (wanted != StreamsWanted::kFull) {
    streams.sparse = stream(mask.defined() ? mask : tables.causal(), streams.sparse_entropy);
  }
  if (learns) {
    const at::Tensor among =
        learnt_blocks(input, chosen, extras, context.plans.attention, site.index);
    context.add_model_loss(extras.scores_weight *
                           selector_divergence(input, extras.scores, scores, among));
  }
  return streams;
}

// The entropy of the stream that runs.
at::Tensor running_entropy(const Streams& streams, const LevelPlan& plan, std::int64_t index) {
  if (!streams.sparse_entropy.defined()) return streams.full_entropy;
  if (!streams.full_entropy.defined()) return streams.sparse_entropy;
  return select_stream(plan, index, streams.full_entropy, streams.sparse_entropy);
}

// Of lists as lists_of_blocks() gives them, those of the queries that are asked for.
at::Tensor listed_blocks(const at::Tensor& lists, const at::Tensor& queries, std::int64_t blocks) {
  const at::Tensor own = lists.index_select(3, queries).to(torch::kInt64);
  std::vector<std::int64_t> shape = own.sizes().vec();
  shape.back() = blocks + 1;  // the last is of slots that are left over
  return torch::zeros(shape, own.options().dtype(torch::kBool))
      .scatter_(-1, own.masked_fill(own < 0, blocks), true)
      .slice(-1, 0, blocks);
}

// What the pass's queries choose, in the way that the pass itself chooses; once it is asked for.
AttentionView::OfQueries choice_of(const at::Tensor& q, const at::Tensor& k,
                                   const AttentionSetting& setting, const AttentionTables& tables,
                                   bool by_kernels, const at::Tensor& learned) {
  if (covers_everything(setting, tables)) {
    return everything_chosen(q, setting.selector.per_head ? q.size(3) : k.size(3),
                             setting.block_size, tables);
  }
  return [=, all = at::Tensor()](const at::Tensor& queries) mutable {
    const at::NoGradGuard no_grad;
    if (!all.defined()) {
      all = by_kernels ? lists_of_blocks(q, k, setting, tables, learned)
                       : select_blocks(q, k, setting, tables, learned);
    }
    return by_kernels ? listed_blocks(all, queries, tables.blocks()) : all.index_select(3, queries);
  };
}

void offer_attention(const std::string& layer, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const AttentionSetting& setting,
                     const AttentionTables& tables, const Streams& streams,
                     const AttentionView::OfQueries& chosen, Context& context) {
  AttentionView view{.q = q, .k = k, .v = v};
  if (!streams.full.defined() || !streams.sparse.defined()) {
    view.out = streams.full.defined() ? streams.full : streams.sparse;
  }
  if (context.plans.attention.wanted == StreamsWanted::kSelected) view.out.reset();
  view.block_size = setting.block_size;
  view.documents = tables.documents();
  view.blocks = setting.blocks;
  view.weights = causal_weights(q, k, tables);
  view.chosen = chosen;
  context.observe_attention(layer, view);
}

class TwoStream : public AttentionModule {
 public:
  explicit TwoStream(const AttentionPlace& place)
      : site_{Level::kAttention, place.site(), place.index},
        setting_(place.setting),
        width_(place.heads * place.head_dim),
        keys_width_(place.kv_heads * place.head_dim),
        layers_(static_cast<double>(place.configs.front().integer("layers"))) {
    const Config& config = place.configs.front();
    const Policies policies = policies_of(config, Level::kAttention);
    if (policies.entropy_penalty > 0) entropy_weight_ = place.numbers("attention_entropy_penalty");
    const auto make = block_selectors().at("selector", setting_.selector.score).learned;
    if (make == nullptr) return;
    learned_ = make(place);
    scores_weight_ = place.numbers("attention_indexer_weight");
    using Target = Policies::Selector::Indexer::Target;
    const Target target = setting_.selector.indexer.target;
    const bool has_full = policies.alignment.alpha > 0;  // both streams are there at each step
    over_all_ = target == Target::kFull || (target == Target::kStream && has_full);
    over_chosen_ = target == Target::kChosen;
    asks_full_ = target == Target::kFull && !has_full;
  }

  std::vector<Parameter*> parameters() override {
    return learned_ == nullptr ? std::vector<Parameter*>() : learned_->parameters();
  }

  at::Tensor forward(const AttentionInput& input, Context& context) override {
    const at::Device device = input.q.device();
    const bool learns = at::GradMode::is_enabled();
    AttentionExtras extras{.over_all = over_all_, .over_chosen = over_chosen_};
    const bool chooses = context.plans.attention.wanted != StreamsWanted::kFull;
    if (learned_ != nullptr && (learns || chooses || context.observe_attention)) {
      extras.scores = learned_->scores(input);
    }
    if (learns && learned_ != nullptr) extras.scores_weight = scores_weight_.on(device) / layers_;
    if (learns && entropy_weight_.defined()) {
      extras.entropy_weight = entropy_weight_.on(device) / layers_;
    }
    return attention(site_, input.q, input.k, input.v, setting_, input.tables, context,
                     input.epilogue, extras);
  }

  double dense_products() const override {
    return learned_ == nullptr ? 0 : learned_->dense_products();
  }

  // There are two operations per multiply-add of scores and values over the pairs that are read,
  // and with blocks also the means of the keys and the pooled scores. A learned selector scores
  // beside both streams, since it learns beside both, and where it asks for full attention that no
  // stream has, its scores are charged as well.
  double flops(std::int64_t tokens, bool full, double blocks) const override {
    const std::int64_t slots = full ? tokens : std::max<std::int64_t>(1, std::llround(blocks));
    const auto pairs =
        static_cast<double>(kernels::attended_pairs(tokens, setting_.block_size, slots));
    const double read = 4.0 * pairs * static_cast<double>(width_);
    const double of_full = 2.0 * static_cast<double>(tokens * (tokens + 1) * width_);
    const double products = block_selectors()
                                .at("selector", setting_.selector.score)
                                .products(setting_, width_ / keys_width_);
    const auto scored =
        static_cast<double>(kernels::scored_block_pairs(tokens, setting_.block_size));
    const double scoring = 2.0 * products * scored * static_cast<double>(width_) +
                           static_cast<double>(tokens * keys_width_);
    if (learned_ != nullptr) return read + scoring + (asks_full_ && !full ? of_full / 2 : 0);
    return full || products == 0 ? read : read + scoring;
  }

 private:
  Site site_;
  AttentionSetting setting_;
  std::int64_t width_, keys_width_;
  double layers_;
  std::unique_ptr<LearnedSelector> learned_;  // null: the selector learns nothing
  NumbersOfRuns scores_weight_, entropy_weight_;
  bool over_all_ = false, over_chosen_ = false, asks_full_ = false;
};

// An indexer whose loss does not count would choose by its initial weights for ever.
void check_two_stream(const Config& config, const AttentionSetting& setting) {
  const bool learns = config.real("attention_indexer_weight") > 0;
  if (learns || block_selectors().at("selector", setting.selector.score).learned == nullptr) return;
  throw ConfigError(
      "attention_indexer_weight = 0 leaves the indexer as it was drawn: give more, or "
      "attention_selector_score = random for blocks that nothing has learned");
}

std::unique_ptr<AttentionModule> make_two_stream(const AttentionPlace& place) {
  return std::make_unique<TwoStream>(place);
}

TANDEM_REGISTERED = attention_modules().add(
    {.kind = "attention_module",
     .name = "two_stream",
     .summary =
         "softmax over all earlier keys, and over those of chosen blocks, from the same q, k, v",
     .cite = "arXiv:2511.20102",
     .file = __FILE__},
    {make_two_stream, check_two_stream});

}  // namespace

at::Tensor attention(const Site& site, const at::Tensor& q, const at::Tensor& k,
                     const at::Tensor& v, const AttentionSetting& configured,
                     const AttentionTables& tables, Context& context, const Epilogue& epilogue,
                     const AttentionExtras& extras) {
  expect_heads(q, k, v);
  const LevelPlan& plan = context.plans.attention;
  const AttentionSetting setting = at_budget(configured, plan.blocks);
  const at::Tensor full_runs =
      plan.wanted == StreamsWanted::kSelected ? full_runs_at(plan, site.index) : at::Tensor();
  const at::Tensor learned = extras.scores.defined() ? extras.scores.detach() : at::Tensor();
  const bool asks_weights = extras.scores_weight.defined() || extras.entropy_weight.defined();
  const bool blocked = takes_blocked(q, k, setting) && !asks_weights;
  const Streams streams =
      blocked
          ? by_kernels(q, k, v, setting, tables, plan.wanted, full_runs, learned)
          : by_matrices(site, q, k, v, setting, tables, plan.wanted, full_runs, context, extras);
  if (extras.entropy_weight.defined()) {
    context.add_model_loss(extras.entropy_weight * running_entropy(streams, plan, site.index));
  }
  if (context.observe_attention) {
    offer_attention(site.layer, q, k, v, setting, tables, streams,
                    choice_of(q, k, setting, tables, blocked, learned), context);
  }
  return context.align_and_select(site, streams.full, streams.sparse, epilogue);
}

at::Tensor attention_by_matrices(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                 const AttentionSetting& setting, const AttentionTables& tables,
                                 Context& context) {
  expect_heads(q, k, v);
  const LevelPlan& plan = context.plans.attention;
  const at::Tensor full_runs =
      plan.wanted == StreamsWanted::kSelected ? plan.full_runs : at::Tensor();
  const Streams streams = by_matrices({}, q, k, v, at_budget(setting, plan.blocks), tables,
                                      plan.wanted, full_runs, context, {});
  return context.align_and_select({Level::kAttention, ""}, streams.full, streams.sparse);
}

}  // namespace tandem
