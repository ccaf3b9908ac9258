#include "nn/attention/view.h"

#include <algorithm>

#include "data/tensor.h"
#include "topology/batched_product.h"

namespace tandem {

std::int64_t queries_together(const AttentionView& view) {
  const std::int64_t of_query = view.q.size(1) * view.q.size(2) * view.q.size(3);
  return std::clamp<std::int64_t>((std::int64_t{1} << 21) / of_query, 8, 128);
}

at::Tensor starts_of_queries(const at::Tensor& documents, const at::Tensor& queries) {
  if (!documents.defined()) return {};
  return documents.index_select(2, queries).unsqueeze(2).unsqueeze(-1);
}

AttentionView::OfQueries causal_weights(const at::Tensor& q, const at::Tensor& k,
                                        const AttentionTables& tables) {
  const Folded f = fold(q.detach(), k.detach(), {});
  return [f, documents = tables.documents()](const at::Tensor& queries) {
    const at::NoGradGuard no_grad;
    const std::int64_t asked = queries.size(0);
    const at::Tensor rows = f.q.view({f.products(), f.group(), f.tokens, f.head_dim})
                                .index_select(2, queries)
                                .reshape({f.products(), f.group() * asked, f.head_dim});
    const at::Tensor scores = batched_product(rows, f.k.transpose(1, 2))
                                  .view({f.replicas, f.batch, f.heads, asked, f.tokens});
    const at::Tensor key = torch::arange(f.tokens, queries.options());
    at::Tensor read = key <= queries.unsqueeze(1);
    const at::Tensor start = starts_of_queries(documents, queries);
    if (start.defined()) read = read.logical_and(key >= start);
    return torch::softmax(scores + additive_mask(read, scores), -1);
  };
}

AttentionView::OfQueries everything_chosen(const at::Tensor& q, std::int64_t lists,
                                           std::int64_t block_size, const AttentionTables& tables) {
  const std::int64_t replicas = q.size(0), batch = q.size(1);
  const std::int64_t blocks = (q.size(2) + block_size - 1) / block_size;
  return [=, documents = tables.documents()](const at::Tensor& queries) {
    const at::Tensor block = torch::arange(blocks, queries.options());
    at::Tensor read = block <= queries.unsqueeze(1).div(block_size, "floor");
    const at::Tensor start = starts_of_queries(documents, queries);
    if (start.defined()) read = read.logical_and(block >= start.div(block_size, "floor"));
    return read.expand({replicas, batch, lists, queries.size(0), blocks});
  };
}

}  // namespace tandem
