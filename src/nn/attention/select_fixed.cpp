// Controls, which choose without looking at queries or keys:
//   window   the nearest blocks: sliding-window attention
//   strided  the nearest of every `attention_stride`-th block before the query's own
//   random   blocks that are drawn once for each run, layer, list of heads and place of a query (in
//            its document)
#include "data/tensor.h"
#include "nn/attention/selector.h"

namespace tandem {
namespace {

// int64 [1,NC] of blocks, [T,1] of a query's own block.
struct Places {
  at::Tensor block, own;
};

Places places_of(const SelectorInput& input) {
  const auto index = input.tables.past().options().dtype(torch::kInt64);
  return {
      torch::arange(input.complete(), index).unsqueeze(0),
      torch::arange(input.heads.tokens, index).div(input.setting.block_size, "floor").unsqueeze(1)};
}

at::Tensor as_importance(const SelectorInput& input, const at::Tensor& of_places) {
  return of_places.to(input.heads.q.scalar_type()).view({1, 1, of_places.size(0), -1});
}

at::Tensor nearest_blocks(const SelectorInput& input) {
  const Places places = places_of(input);
  return as_importance(input, places.block.expand({input.heads.tokens, -1}));
}

// What is not a stride away comes after what is, the nearest first: it is read where there are not
// as many strides as a query may read.
at::Tensor strided_blocks(const SelectorInput& input) {
  const Places places = places_of(input);
  const at::Tensor away = places.own - places.block;
  const at::Tensor hit = away.remainder(input.setting.selector.stride).eq(0);
  return as_importance(input, torch::where(hit, -away, -away - input.complete() - 1));
}

// A mix of 64 bits (the finalizer of MurmurHash3, with logical shifts made of arithmetic ones).
at::Tensor mixed_bits(at::Tensor x) {
  const auto shifted = [](const at::Tensor& value, std::int64_t by) {
    return value.bitwise_right_shift(by).bitwise_and((std::int64_t{1} << (64 - by)) - 1);
  };
  x = x.bitwise_xor(shifted(x, 33)) * static_cast<std::int64_t>(0xff51afd7ed558ccdULL);
  x = x.bitwise_xor(shifted(x, 33)) * static_cast<std::int64_t>(0xc4ceb9fe1a85ec53ULL);
  return x.bitwise_xor(shifted(x, 33));
}

at::Tensor drawn_blocks(const SelectorInput& input) {
  const Folded& f = input.heads;
  const auto index = input.tables.past().options().dtype(torch::kInt64);
  const std::int64_t lists = input.setting.selector.per_head ? f.group() : 1;
  const std::int64_t complete = input.complete();
  // A place is a list, a query and a block, whatever the length of the sequence.
  const at::Tensor list =
      torch::arange(f.kv_heads * lists, index).view({1, 1, f.kv_heads, lists, 1, 1});
  at::Tensor query = torch::arange(f.tokens, index).view({-1, 1});
  at::Tensor block = torch::arange(complete, index);
  if (input.tables.has_documents()) {
    const at::Tensor start =
        input.tables.documents().view({f.replicas, f.batch, 1, 1, f.tokens, 1});
    query = query - start;
    block = block - start.div(input.setting.block_size, "floor");
  }
  const at::Tensor place = list * (std::int64_t{1} << 44) + query * (std::int64_t{1} << 22) +
                           block;  // [1,1,Hkv,L',T,NC], of documents [R,B,...]
  const at::Tensor draw =
      mixed_bits(mixed_bits(input.setting.keys.on(index.device()).view({-1, 1, 1, 1, 1, 1})) +
                 place);  // [R,1 or B,Hkv,L',T,NC]
  const at::Tensor uniform = draw.bitwise_and((std::int64_t{1} << 24) - 1).to(f.q.scalar_type());
  return uniform.expand({f.replicas, f.batch, f.kv_heads, lists, f.tokens, complete})
      .reshape({f.products(), lists, f.tokens, complete});
}

Part fixed_facts(const char* name, const char* summary) {
  return {.kind = "selector", .name = name, .summary = summary, .cite = "", .file = __FILE__};
}

double no_product(const AttentionSetting&, std::int64_t) { return 0; }

TANDEM_REGISTERED =
    block_selectors().add(fixed_facts("window", "the nearest blocks: a sliding window"),
                          {nearest_blocks, /*shares=*/false, no_product});
TANDEM_REGISTERED =
    block_selectors().add(fixed_facts("strided", "the nearest of every attention_stride-th block"),
                          {strided_blocks, false, no_product});
TANDEM_REGISTERED = block_selectors().add(
    fixed_facts("random", "blocks drawn once for each run, layer and place of a query"),
    {drawn_blocks, false, no_product});

}  // namespace
}  // namespace tandem
