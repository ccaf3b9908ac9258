// A selector says how important each earlier block of keys is to a query; a query reads its own
// block and the most important ones. Selectors are registered by name, one file for each kind;
// attention_selector_score names one, and every attention method can have any of them. The choice
// carries no gradient.
#pragma once

#include <ATen/core/Tensor.h>

#include <memory>
#include <string>
#include <vector>

#include "config/part.h"
#include "nn/attention/setting.h"

namespace tandem {

// What a selector may read. Shapes are those of nn/attention/setting.h.
struct SelectorInput {
  const Folded& heads;
  const AttentionSetting& setting;
  const AttentionTables& tables;
  at::Tensor learned = {};  // scores of a learned selector, [N,1,T,NC], without gradient

  std::int64_t complete() const { return tables.complete_blocks(); }  // NC
};

class LearnedSelector;
struct AttentionPlace;

struct BlockSelector {
  // Importance of the complete blocks, [N,G,T,NC], or with 1 in the place of N or G where it does
  // not depend on them; larger is more important. What it says of blocks that are not past ones
  // does not count. Where heads share a list, theirs are added up.
  at::Tensor (*importance)(const SelectorInput& input) = nullptr;
  // Importances of a query are shares of a whole, so that a budget may be a share (top-p).
  bool shares = false;
  // Products of a query's head with a vector, for each complete block that is scored, where so many
  // heads share a key head.
  double (*products)(const AttentionSetting& setting, std::int64_t group) = nullptr;
  // Where it has parameters (nn/attention/learned_selector.h); else null.
  std::unique_ptr<LearnedSelector> (*learned)(const AttentionPlace& place) = nullptr;
};

Registry<BlockSelector>& block_selectors();

// Which blocks each query chooses, bool [N,L',T,NB] with L' = G where selector.per_head is set and
// 1 otherwise: its own, then what is forced (the first block, the nearest ones), then the most
// important, ties to the smaller index; at most setting.blocks in all, and with top_p no more than
// make up that share of the past blocks' importance.
at::Tensor chosen_blocks(const SelectorInput& input);
// The same by importances that are given in the form of BlockSelector::importance.
at::Tensor most_important_blocks(const SelectorInput& input, at::Tensor importance);

// The additive mask of keys that are in chosen blocks and not after the query, [N,L',T,T]. Replicas
// that are flagged in full_runs, bool [R], where it is defined, get the causal mask.
at::Tensor mask_of_blocks(const SelectorInput& input, const at::Tensor& chosen,
                          const at::Tensor& full_runs);

// Means of keys [N,T',D], T' those of the complete blocks, over as many parts of one size:
// [N,parts,D]. Where documents are packed, keys of other documents than that of a block's last key
// are left out; a part without a key is 0.
at::Tensor mean_keys(const at::Tensor& keys, std::int64_t parts, const AttentionTables& tables);

// The mass that full attention gives to each complete block, [N,G,T,NC], from the products of
// queries and keys, [N,G T,T].
at::Tensor full_mass(const SelectorInput& input, const at::Tensor& scores);

// Every query may read all blocks.
bool covers_everything(const AttentionSetting& setting, const AttentionTables& tables);

// The chosen blocks from queries [R,B,T,H,D] and keys [R,B,T,Hkv,D], and scores of a learned
// selector where it is one: bool [R,B,L,T,NB], L = H or Hkv.
at::Tensor select_blocks(const at::Tensor& q, const at::Tensor& k, const AttentionSetting& setting,
                         const AttentionTables& tables, const at::Tensor& learned = {});

}  // namespace tandem
