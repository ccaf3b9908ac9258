// What the modules of attention have in common: budgets and selectors, constants of a sequence
// length, and heads folded into rows.
//
// Shapes: R replicas, B examples, T tokens of a sequence, H query heads, Hkv key heads, D numbers
// of a head, NB blocks of keys, NC complete ones, N = R B Hkv matrix products, G = H / Hkv heads of
// a group.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "policy/policy.h"

namespace tandem {

// A number of each run, [R], made on the host. A device's copy is made when it is first asked for,
// since a step that is captured can't: the first one of each kind is not.
class NumbersOfRuns {
 public:
  NumbersOfRuns() = default;
  NumbersOfRuns(at::Tensor on_host);
  bool defined() const { return copies_ != nullptr; }
  const at::Tensor& on(const at::Device& device) const;

 private:
  std::shared_ptr<std::vector<at::Tensor>> copies_;  // shared by all copies of these numbers
};

struct AttentionSetting {
  std::int64_t block_size = 8;
  std::int64_t blocks = 2;  // S
  Policies::Selector selector;
  NumbersOfRuns keys = {};  // int64, of each run and layer: what selectors that draw are keyed by
};

// These are constants of one sequence length, dtype and device; a model makes them once for each.
// Where sequences are packed documents they are of one batch: a query reads the keys of its own
// document alone, and tables of queries have a row for each product, [N,1,T,...] in place of
// [T,...]. Blocks lie where they do without documents: one that a document begins or ends in is cut
// there (kernels/attention/attention.h has the rules). Each table is made when it is first asked
// for: what grows with the square of the length is not there unless something reads it.
class AttentionTables {
 public:
  AttentionTables() = default;
  // documents: int64 [R,B,T], where each token's document begins; undefined: at 0.
  AttentionTables(std::int64_t tokens, std::int64_t block_size, const at::Tensor& like,
                  const at::Tensor& documents = {}, std::int64_t kv_heads = 1);

  std::int64_t tokens() const { return tokens_; }
  std::int64_t blocks() const { return (tokens_ + block_size_ - 1) / block_size_; }  // NB
  std::int64_t complete_blocks() const { return tokens_ / block_size_; }             // NC
  const at::Tensor& causal() const;    // [T,T] 0 where key <= query, else -infinity
  const at::Tensor& complete() const;  // [T,NC] 0 for blocks b < (t+1)/BS, else -infinity
  const at::Tensor& past() const;      // bool [T,NC], b < t/BS
  const at::Tensor& own() const;       // bool [T,NB], b == t/BS, whatever the documents

  bool has_documents() const { return documents_.defined(); }
  const at::Tensor& documents() const { return documents_; }  // as they were given
  const at::Tensor& starts() const;  // int64 [N,1,T,1] of each query's document; undefined: at 0
  // Of each complete block the keys that belong to the document of its last one, bool [N,NC,BS];
  // undefined: all.
  const at::Tensor& pooled() const;

 private:
  at::Tensor index(std::int64_t count) const;  // int64 0 .. count - 1
  at::Tensor query_blocks() const;             // int64 [T,1], t/BS
  at::Tensor ended() const;                    // bool, blocks whose last key a query can read

  std::int64_t tokens_ = 0, block_size_ = 1, kv_heads_ = 1;
  at::Tensor like_, documents_;
  mutable at::Tensor causal_, complete_, past_, own_, starts_, pooled_;
};

// Query heads are folded into rows, so that there is one matrix product per (replica, example, key
// head).
struct Folded {
  std::int64_t replicas, batch, tokens, heads, kv_heads, head_dim;
  at::Tensor q, k, v;  // q [N,G T,D], scaled by D^-1/2; k, v [N,T,D]

  std::int64_t group() const { return heads / kv_heads; }
  std::int64_t products() const { return replicas * batch * kv_heads; }
  at::Tensor unfold(const at::Tensor& out) const;  // [N,G T,D] -> [R,B,T,H,D]
  // [R] of each product's replica, [N,1,1,1].
  at::Tensor of_products(const at::Tensor& by_replica) const;
};

// v may be undefined.
Folded fold(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// q [R,B,T,H,D], k and v [R,B,T,Hkv,D].
void expect_heads(const at::Tensor& q, const at::Tensor& k, const at::Tensor& v);

// Softmax over K of scores [N,G T,K] plus a mask that broadcasts over [N,G,T,K]; a row needs a key.
at::Tensor masked_softmax(const Folded& f, const at::Tensor& scores, const at::Tensor& mask);

// Repeats a value of each block for the block's keys: [...,NB] becomes [...,T].
at::Tensor spread_over_keys(const at::Tensor& by_block, std::int64_t block_size,
                            std::int64_t tokens);

// The setting at another budget than its own, where one is said. Throws ConfigError below 1.
AttentionSetting at_budget(const AttentionSetting& setting, const std::optional<double>& blocks);

// An additive mask: 0 where allowed, else -infinity, in the type and on the device of `like`.
at::Tensor additive_mask(const at::Tensor& allowed, const at::Tensor& like);

}  // namespace tandem
