#include "nn/attention/blocked.h"

#include <algorithm>
#include <optional>
#include <type_traits>

#include "core/parallel.h"
#include "cuda/plugin.h"
#include "data/tensor.h"
#include "kernels/attention/attention.h"
#include "kernels/attention/attention_cuda.h"

namespace tandem {
namespace {

using kernels::AttentionShape;
using kernels::AttentionStatus;

AttentionShape kernel_shape(const at::Tensor& q, const at::Tensor& k, std::int64_t block_size) {
  return {.batch = q.size(0) * q.size(1),
          .tokens = q.size(2),
          .heads = q.size(3),
          .kv_heads = k.size(3),
          .head_dim = q.size(4),
          .block_size = block_size};
}

void require_ok(AttentionStatus status) {
  TORCH_INTERNAL_ASSERT(status == AttentionStatus::kOk, "attention kernels refuse: status ",
                        static_cast<int>(status));
}

// Calls work(range) on the host's threads; how items are dealt changes nothing of any of them.
template <class Work>
void for_ranges(std::int64_t items, const Work& work) {
  const auto threads = std::clamp<std::int64_t>(host_threads(), 1, items);
  for_each_index(static_cast<std::size_t>(threads), static_cast<int>(threads), [&](std::size_t i) {
    const auto part = static_cast<std::int64_t>(i);
    const std::int64_t first = items * part / threads, end = items * (part + 1) / threads;
    work(kernels::ItemRange{first, end - first});
  });
}

// int32 [R,B,T] of the tables' documents; undefined: none are told apart.
at::Tensor kernel_documents(const AttentionTables& tables) {
  if (!tables.has_documents()) return {};
  return tables.documents().to(torch::kInt32).contiguous();
}

// uint8 [R B] of flags [R], where `like` is.
at::Tensor of_items(const at::Tensor& full_runs, const at::Tensor& like) {
  if (!full_runs.defined()) return {};
  return full_runs.to(like.device(), torch::kUInt8)
      .unsqueeze(1)
      .expand({-1, like.size(1)})
      .contiguous();
}

// In one piece, and on the boundary that a GPU's kernels move four numbers at a time from.
at::Tensor as_whole(const at::Tensor& x) {
  const at::Tensor whole = x.contiguous();
  const bool lies = reinterpret_cast<std::uintptr_t>(whole.const_data_ptr()) % 16 == 0;
  return whole.is_cuda() && !lies ? whole.clone() : whole;
}

// Products of TF32, where a GPU's are so elsewhere.
bool takes_tf32() { return at::globalContext().allowTF32CuBLAS(); }

template <class T>
kernels::BlockAttention<T> call_of(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                                   std::int64_t block_size, const at::Tensor& lists,
                                   const at::Tensor& full_items, const at::Tensor& documents,
                                   const at::Tensor& o, const at::Tensor& lse) {
  kernels::BlockAttention<T> call;
  call.shape = kernel_shape(q, k, block_size);
  call.q = q.const_data_ptr<T>();
  call.k = k.const_data_ptr<T>();
  call.v = v.const_data_ptr<T>();
  if (lists.defined()) {
    call.chosen = lists.const_data_ptr<std::int32_t>();
    call.lists = lists.size(2);
    call.slots = lists.size(4);
  }
  if (full_items.defined()) call.full_items = full_items.const_data_ptr<std::uint8_t>();
  if (documents.defined()) call.document_start = documents.const_data_ptr<std::int32_t>();
  call.o = o.data_ptr<T>();
  call.lse = lse.data_ptr<T>();
  return call;
}

class BlockedAttention : public torch::autograd::Function<BlockedAttention> {
 public:
  static at::Tensor forward(torch::autograd::AutogradContext* context, const at::Tensor& query,
                            const at::Tensor& key, const at::Tensor& value, std::int64_t block_size,
                            const std::optional<at::Tensor>& said_lists,
                            const std::optional<at::Tensor>& said_items,
                            const std::optional<at::Tensor>& said_documents) {
    const at::Tensor lists = said_lists.value_or(at::Tensor());
    const at::Tensor full_items = said_items.value_or(at::Tensor());
    const at::Tensor documents = said_documents.value_or(at::Tensor());
    const at::Tensor q = as_whole(query), k = as_whole(key), v = as_whole(value);
    const at::Tensor o = torch::empty_like(q);
    const at::Tensor lse = torch::empty({q.size(0), q.size(1), q.size(2), q.size(3)}, q.options());
    if (q.is_cuda()) {
      launch_cuda<decltype(attention_forward_cuda)>(
          "attention_forward",
          call_of<float>(q, k, v, block_size, lists, full_items, documents, o, lse), takes_tf32());
    } else {
      on_host(q, k, v, block_size, lists, full_items, documents, o, lse);
    }
    context->save_for_backward({q, k, v, o, lse, lists, full_items, documents});
    context->saved_data["block_size"] = block_size;
    return o;
  }

  static void on_host(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                      std::int64_t block_size, const at::Tensor& lists,
                      const at::Tensor& full_items, const at::Tensor& documents,
                      const at::Tensor& o, const at::Tensor& lse) {
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "blocked_attention", [&] {
      for_ranges(q.size(0) * q.size(1), [&](const kernels::ItemRange& range) {
        auto call = call_of<scalar_t>(q, k, v, block_size, lists, full_items, documents, o, lse);
        call.items = range;
        require_ok(kernels::attention_forward(call));
      });
    });
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    const auto saved = context->get_saved_variables();
    const at::Tensor &q = saved[0], &k = saved[1], &v = saved[2];
    const std::int64_t block_size = context->saved_data["block_size"].toInt();
    const at::Tensor d_o = as_whole(gradients[0]);
    const at::Tensor dq = torch::empty_like(q), dk = torch::empty_like(k),
                     dv = torch::empty_like(v);
    AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "blocked_attention_backward", [&] {
      kernels::BlockAttentionGradient<scalar_t> call;
      call.forward =
          call_of<scalar_t>(q, k, v, block_size, saved[5], saved[6], saved[7], saved[3], saved[4]);
      call.d_o = d_o.const_data_ptr<scalar_t>();
      call.dq = dq.data_ptr<scalar_t>();
      call.dk = dk.data_ptr<scalar_t>();
      call.dv = dv.data_ptr<scalar_t>();
      if (q.is_cuda()) return on_gpu(call, saved[4], saved[5]);
      for_ranges(q.size(0) * q.size(1), [&](const kernels::ItemRange& range) {
        auto part = call;
        part.forward.items = range;
        require_ok(kernels::attention_backward(part));
      });
    });
    return {dq, dk, dv, at::Tensor(), at::Tensor(), at::Tensor(), at::Tensor()};
  }

  // takes_blocked() lets no other type than float through there.
  template <class T>
  static void on_gpu(const kernels::BlockAttentionGradient<T>& call, const at::Tensor& lse,
                     const at::Tensor& lists) {
    TORCH_INTERNAL_ASSERT((std::is_same_v<T, float>));
    if constexpr (std::is_same_v<T, float>) launch(call, lse, lists);
  }

  static void launch(const kernels::BlockAttentionGradient<float>& call, const at::Tensor& lse,
                     const at::Tensor& lists) {
    const at::Tensor row_sums = torch::empty_like(lse);
    at::Tensor readers;
    if (lists.defined()) {
      const AttentionShape& shape = call.forward.shape;
      readers = torch::empty({shape.batch, lists.size(2), shape.blocks(), (shape.tokens + 31) / 32},
                             lists.options());
    }
    launch_cuda<decltype(attention_backward_cuda)>(
        "attention_backward", call, takes_tf32(), row_sums.data_ptr<float>(),
        readers.defined() ? static_cast<std::uint32_t*>(readers.data_ptr()) : nullptr);
  }
};

// The selectors that the kernels have: those that differ from the default in what they know.
bool kernels_choose(const Policies::Selector& rule) {
  if (rule.score != "softmax" && rule.score != "dot") return false;
  Policies::Selector known;
  known.score = rule.score;
  known.per_head = rule.per_head;
  known.force_first = rule.force_first;
  known.subblocks = rule.subblocks;  // these are of other scores
  known.stride = rule.stride;
  known.indexer = rule.indexer;
  return rule == known;
}

template <class T>
kernels::BlockChoice<T> choice_of(const at::Tensor& q, const at::Tensor& k,
                                  const AttentionSetting& setting, const at::Tensor& documents,
                                  const at::Tensor& lists) {
  kernels::BlockChoice<T> call;
  call.shape = kernel_shape(q, k, setting.block_size);
  call.selector = {.per_head = setting.selector.per_head,
                   .softmax = setting.selector.score == "softmax",
                   .force_first = setting.selector.force_first};
  call.slots = setting.blocks;
  call.q = q.const_data_ptr<T>();
  call.k = k.const_data_ptr<T>();
  if (documents.defined()) call.document_start = documents.const_data_ptr<std::int32_t>();
  call.chosen = lists.data_ptr<std::int32_t>();
  return call;
}

at::Tensor chosen_by_kernel(const at::Tensor& query, const at::Tensor& key,
                            const AttentionSetting& setting, const AttentionTables& tables) {
  const at::Tensor q = as_whole(query), k = as_whole(key);
  const at::Tensor documents = kernel_documents(tables);
  const std::int64_t heads = setting.selector.per_head ? q.size(3) : k.size(3);
  const at::Tensor lists = torch::empty({q.size(0), q.size(1), heads, q.size(2), setting.blocks},
                                        q.options().dtype(torch::kInt32));
  if (q.is_cuda()) {
    const auto call = choice_of<float>(q, k, setting, documents, lists);
    const at::Tensor pooled = torch::empty(
        {call.shape.batch, call.shape.complete_blocks(), k.size(3), k.size(4)}, q.options());
    launch_cuda<decltype(block_choice_cuda)>("block_choice", call, takes_tf32(),
                                             pooled.data_ptr<float>());
    return lists;
  }
  AT_DISPATCH_FLOATING_TYPES(q.scalar_type(), "select_blocks", [&] {
    for_ranges(q.size(0) * q.size(1), [&](const kernels::ItemRange& range) {
      auto call = choice_of<scalar_t>(q, k, setting, documents, lists);
      call.items = range;
      require_ok(kernels::select_blocks(call));
    });
  });
  return lists;
}

// The kernels of the tensors' device choose so.
bool kernels_choose(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting) {
  if (!kernels_choose(setting.selector)) return false;
  return q.is_cpu() ||
         block_choice_cuda_takes(kernel_shape(q, k, setting.block_size), setting.blocks);
}

}  // namespace

bool takes_blocked(const at::Tensor& q) {
  if (q.is_cuda()) {
    return q.size(2) >= kBlockedCudaTokens && q.scalar_type() == torch::kFloat &&
           q.size(4) <= kMostCudaHeadDim && q.numel() > 0;
  }
  return q.is_cpu() && q.size(2) >= kBlockedTokens &&
         (q.scalar_type() == torch::kFloat || q.scalar_type() == torch::kDouble);
}

bool takes_blocked(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting) {
  if (!takes_blocked(q)) return false;
  if (!q.is_cuda()) return true;
  kernels::BlockAttention<float> call;
  call.shape = kernel_shape(q, k, setting.block_size);
  call.lists = setting.selector.per_head ? q.size(3) : k.size(3);
  call.slots = std::min(setting.blocks, call.shape.blocks());
  return cuda_kernel<decltype(attention_room_cuda)>("attention_room")(call, nullptr) == 0;
}

at::Tensor lists_of_blocks(const at::Tensor& q, const at::Tensor& k,
                           const AttentionSetting& setting, const AttentionTables& tables,
                           const at::Tensor& learned) {
  const at::NoGradGuard no_grad;
  if (kernels_choose(q, k, setting)) return chosen_by_kernel(q, k, setting, tables);
  const at::Tensor chosen = select_blocks(q, k, setting, tables, learned);  // [R,B,L,T,NB]
  const std::int64_t blocks = chosen.size(-1), slots = std::min(setting.blocks, blocks);
  if (q.is_cuda()) {
    const at::Tensor flags = chosen.contiguous();
    std::vector<std::int64_t> shape = flags.sizes().vec();
    shape.back() = slots;
    const at::Tensor lists = torch::empty(shape, flags.options().dtype(torch::kInt32));
    launch_cuda<decltype(list_blocks_cuda)>("list_blocks", flags.const_data_ptr<bool>(),
                                            flags.numel() / blocks, blocks, slots,
                                            lists.data_ptr<std::int32_t>());
    return lists;
  }
  const at::Tensor block = torch::arange(blocks, chosen.options().dtype(torch::kInt32));
  const at::Tensor sorted =
      std::get<0>(torch::where(chosen, block, torch::full_like(block, blocks)).sort(-1));
  const at::Tensor lists = sorted.slice(-1, 0, slots);
  return torch::where(lists < blocks, lists, torch::full_like(lists, -1)).contiguous();
}

at::Tensor blocked_attention(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v,
                             std::int64_t block_size, const AttentionTables& tables,
                             const at::Tensor& lists, const at::Tensor& full_runs) {
  // An autograd function takes what may be undefined as optional.
  const auto said = [](const at::Tensor& x) {
    return x.defined() ? std::optional<at::Tensor>(x) : std::nullopt;
  };
  return BlockedAttention::apply(q, k, v, block_size, said(lists), said(of_items(full_runs, q)),
                                 said(kernel_documents(tables)));
}

}  // namespace tandem
