// Attention within packed documents that begin anywhere: whole matrices against the kernels'
// double-precision reference, and the kernels against whole matrices.
#include <catch2/catch.hpp>

#include "data/packed.h"
#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "nn/attention/blocked.h"
#include "nn/attention/metrics.h"
#include "nn/attention/module.h"
#include "nn/attention/two_stream.h"
#include "nn/attention/view.h"

namespace tandem::test::nn_documents_numeric {
namespace {

constexpr std::int64_t kRuns = 2, kExamples = 2, kHeads = 4, kKvHeads = 2, kSize = 8;

// Where each token's document begins, for documents of these lengths in turn.
std::vector<std::int64_t> starts_of(std::int64_t tokens, const std::vector<std::int64_t>& lengths) {
  std::vector<std::int64_t> starts;
  for (std::size_t d = 0; static_cast<std::int64_t>(starts.size()) < tokens; ++d) {
    const auto begin = static_cast<std::int64_t>(starts.size());
    starts.insert(starts.end(), static_cast<std::size_t>(lengths[d % lengths.size()]), begin);
  }
  starts.resize(static_cast<std::size_t>(tokens));
  return starts;
}

struct Packed {
  std::int64_t tokens;
  AttentionSetting setting;
  at::Tensor q, k, v, weights, documents;
  AttentionTables tables;

  Packed(std::int64_t said_tokens, AttentionSetting s)
      : tokens(said_tokens), setting(std::move(s)) {
    torch::manual_seed(11);
    const auto real = torch::dtype(torch::kFloat64);
    q = torch::randn({kRuns, kExamples, tokens, kHeads, kSize}, real).requires_grad_(true);
    k = torch::randn({kRuns, kExamples, tokens, kKvHeads, kSize}, real).requires_grad_(true);
    v = torch::randn({kRuns, kExamples, tokens, kKvHeads, kSize}, real).requires_grad_(true);
    weights = torch::randn(q.sizes(), real);
    setting.keys = torch::tensor({std::int64_t{5}, std::int64_t{6}});
    // Each example of each run has documents of its own, long, short and of one token.
    const std::vector<std::vector<std::int64_t>> lengths = {
        {tokens}, {7, 1, 18, 4}, {16, 32, 3}, {29, 1, 1, 11}};
    std::vector<at::Tensor> rows;
    for (const auto& each : lengths) rows.push_back(torch::tensor(starts_of(tokens, each)));
    documents = torch::stack(rows).view({kRuns, kExamples, tokens});
    tables = AttentionTables(tokens, setting.block_size, q, documents, kKvHeads);
  }

  kernels::AttentionShape shape() const {
    return {.batch = kRuns * kExamples,
            .tokens = tokens,
            .heads = kHeads,
            .kv_heads = kKvHeads,
            .head_dim = kSize,
            .block_size = setting.block_size};
  }
  std::vector<at::Tensor> run(StreamsWanted wanted, bool by_matrices) const {
    Context context;
    LevelPlan& plan = context.plans.attention;
    plan.wanted = wanted;
    plan.running = RunningStream::kMixed;
    plan.full_runs = torch::tensor({1, 0}).to(torch::kBool);
    if (wanted == StreamsWanted::kBoth) {
      plan.full_coefficient = plan.sparse_coefficient =
          torch::full({kRuns}, 3.0, torch::dtype(torch::kFloat64));
    }
    const at::Tensor out =
        by_matrices ? attention_by_matrices(q, k, v, setting, tables, context)
                    : attention({Level::kAttention, "a"}, q, k, v, setting, tables, context);
    at::Tensor loss = (out * weights).sum();
    if (context.alignment().defined()) loss = loss + context.alignment().sum();
    auto all = torch::autograd::grad({loss}, {q, k, v});
    all.push_back(out.detach());
    return all;
  }
};

AttentionSetting setting_of(const std::string& score, bool per_head, std::int64_t block_size,
                            std::int64_t blocks) {
  AttentionSetting setting{.block_size = block_size, .blocks = blocks, .selector = {}};
  setting.selector.score = score;
  setting.selector.per_head = per_head;
  return setting;
}

// What a pass of the sparse stream lets be seen of all queries.
struct Seen {
  at::Tensor queries, weights, selected;  // int64 [T], [R,B,H,T,T], bool [R,B,H,T,T]

  Seen(const Packed& p, const at::Tensor& v) : queries(torch::arange(p.tokens, torch::kInt64)) {
    Context context;
    context.plans.attention.wanted = StreamsWanted::kSparse;
    context.observe_attention = [&](const std::string&, const AttentionView& view) {
      weights = view.weights(queries);
      selected = selected_keys(view.chosen(queries), queries, kHeads, view.block_size, p.tokens,
                               view.documents);
    };
    const at::NoGradGuard no_grad;
    attention({Level::kAttention, "a"}, p.q, p.k, v, p.setting, p.tables, context);
  }
};

// Selectors that need nothing but queries and keys.
std::vector<std::string> plain_selectors() {
  std::vector<std::string> names;
  for (const auto& [name, selector] : block_selectors().all()) {
    if (selector.learned == nullptr) names.push_back(name);
  }
  return names;
}

}  // namespace

TEST_CASE("tokens and the places where their documents begin travel together", "[numeric]") {
  const at::Tensor tokens = torch::tensor({0, 255, 7, 65535}).view({1, 1, 4}).to(torch::kLong);
  const at::Tensor starts = torch::tensor({0, 0, 2, 1000000}).view({1, 1, 4}).to(torch::kLong);
  CHECK(torch::equal(unpacked_tokens(packed(tokens, starts)), tokens));
  CHECK(torch::equal(document_starts(packed(tokens, starts)), starts));
  CHECK(torch::equal(packed(tokens, torch::zeros_like(starts)), tokens));
}

TEST_CASE("choices and outputs within documents are those of the kernels' reference", "[numeric]") {
  for (const std::string score : {"softmax", "dot"}) {
    for (const bool per_head : {false, true}) {
      for (const bool force_first : {false, true}) {
        DYNAMIC_SECTION(score << ' ' << per_head << force_first) {
          AttentionSetting setting = setting_of(score, per_head, 4, 3);
          setting.selector.force_first = force_first;
          const Packed p(53, setting);
          const at::Tensor start = p.documents.to(torch::kInt32).contiguous();
          const kernels::BlockSelector rule{
              .per_head = per_head, .softmax = score == "softmax", .force_first = force_first};
          const at::NoGradGuard no_grad;
          const std::int64_t lists = rule.lists(p.shape());
          at::Tensor slots =
              torch::empty({kRuns, kExamples, lists, p.tokens, 3}, torch::dtype(torch::kInt32));
          const kernels::BlockChoice<double> choice{.shape = p.shape(),
                                                    .selector = rule,
                                                    .slots = 3,
                                                    .q = p.q.data_ptr<double>(),
                                                    .k = p.k.data_ptr<double>(),
                                                    .document_start = start.data_ptr<int>(),
                                                    .chosen = slots.data_ptr<int>()};
          REQUIRE(kernels::select_blocks_ref(choice) == kernels::AttentionStatus::kOk);
          const std::int64_t blocks = p.tables.blocks();
          const at::Tensor expected =
              (slots.unsqueeze(-1) == torch::arange(blocks, torch::kInt32)).any(-2);
          CHECK(torch::equal(select_blocks(p.q, p.k, p.setting, p.tables), expected));
          for (const bool sparse : {false, true}) {
            at::Tensor out = torch::empty(p.q.sizes(), torch::kFloat64);
            kernels::BlockAttention<double> call;
            call.shape = p.shape();
            call.q = p.q.data_ptr<double>();
            call.k = p.k.data_ptr<double>();
            call.v = p.v.data_ptr<double>();
            call.document_start = start.data_ptr<int>();
            call.o = out.data_ptr<double>();
            if (sparse) {
              call.chosen = slots.data_ptr<int>();
              call.lists = lists;
              call.slots = 3;
            }
            REQUIRE(kernels::attention_forward_ref(call) == kernels::AttentionStatus::kOk);
            Context context;
            context.plans.attention.wanted = sparse ? StreamsWanted::kSparse : StreamsWanted::kFull;
            const at::Tensor own =
                attention_by_matrices(p.q, p.k, p.v, p.setting, p.tables, context);
            CHECK(torch::allclose(own, out, 1e-10, 1e-12));
          }
        }
      }
    }
  }
}

TEST_CASE("kernels and whole matrices agree within documents, by every selector", "[numeric]") {
  for (const std::string& score : plain_selectors()) {
    const BlockSelector& selector = block_selectors().at("selector", score);
    for (const bool per_head : {false, true}) {
      DYNAMIC_SECTION(score << (per_head ? " head" : " group")) {
        AttentionSetting setting = setting_of(score, per_head, 8, 3);
        if (!per_head) setting.selector.nearest = score == "softmax" ? 0 : 1;
        if (per_head && selector.shares && score != "softmax") setting.selector.top_p = 0.4;
        const Packed p(301, setting);
        REQUIRE(takes_blocked(p.q));
        for (const StreamsWanted wanted : {StreamsWanted::kFull, StreamsWanted::kSparse,
                                           StreamsWanted::kSelected, StreamsWanted::kBoth}) {
          const auto blocked = p.run(wanted, false), matrices = p.run(wanted, true);
          for (std::size_t i = 0; i < blocked.size(); ++i) {
            CAPTURE(static_cast<int>(wanted), i);
            REQUIRE(torch::allclose(blocked[i], matrices[i], 1e-9, 1e-9));
          }
        }
      }
    }
  }
}

TEST_CASE("the bound of the streams' gap is of the own document's values", "[numeric]") {
  const Packed p(53, setting_of("softmax", false, 4, 2));
  const auto gap_with = [&](const at::Tensor& v) {
    const Seen seen(p, v);
    return stream_gap(seen.weights, seen.selected, v, seen.queries);
  };
  // The second example of the first run has a document of 18 tokens from its ninth token on.
  at::Tensor louder = p.v.detach().clone();
  louder[0][1].slice(0, 0, 8).mul_(100);
  const auto of_document = [](const at::Tensor& x) { return x[0][1].slice(-1, 8, 26); };
  const StreamGap before = gap_with(p.v.detach()), after = gap_with(louder);
  CHECK(of_document(before.dropped).max().item<double>() > 0);
  CHECK(torch::allclose(of_document(after.bound), of_document(before.bound), 1e-10, 1e-12));
  CHECK(torch::allclose(of_document(after.error), of_document(before.error), 1e-10, 1e-12));
  CHECK(before.error.le(before.bound + 1e-9).all().item<bool>());
}

TEST_CASE("no query gives weight to another document, or chooses a block of one", "[numeric]") {
  for (const std::string& score : plain_selectors()) {
    CAPTURE(score);
    AttentionSetting setting = setting_of(score, false, 4, 4);
    setting.selector.nearest = 1;
    setting.selector.force_first = true;
    const Packed p(60, setting);
    const Seen seen(p, p.v);
    const at::Tensor &weights = seen.weights, &selected = seen.selected;
    const at::Tensor key = torch::arange(p.tokens);
    const at::Tensor mine = (key >= p.documents.unsqueeze(-1))
                                .logical_and(key <= key.unsqueeze(-1))
                                .unsqueeze(2);  // [R,B,1,T,T]
    CHECK_FALSE(selected.logical_and(mine.logical_not()).any().item<bool>());
    CHECK((weights * mine.logical_not()).sum().item<double>() == 0);
    CHECK(torch::allclose((weights * mine).sum(-1), torch::ones({1}, torch::kFloat64)));
    // A query reads its own block as far as it is its document's, and 4 blocks at most.
    CHECK(selected.diagonal(0, -2, -1).all().item<bool>());
    CHECK(kept_mass(weights, selected).le(1 + 1e-12).all().item<bool>());
    CHECK(selected.sum(-1).max().item<std::int64_t>() <= 16);
  }
}

}  // namespace tandem::test::nn_documents_numeric
