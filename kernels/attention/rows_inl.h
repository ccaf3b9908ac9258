// What the forward and the backward pass share: a key head of an item packed, the rows of a tile,
// and the walk over the tiles with the keys that each reads. Read once per instruction set.
//
// A tile is the query heads of a group that share a list, at one query, where blocks are chosen,
// and the heads of some neighbouring queries where all keys are read. Its keys come in chunks of
// vectors; what a row may not read of them is masked.
#include <hwy/cache_control.h>

#include <cmath>
#include <vector>

#include "kernels/attention/attention_calls.h"

#if defined(TANDEM_ATTENTION_ROWS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANDEM_ATTENTION_ROWS_INL_H_
#undef TANDEM_ATTENTION_ROWS_INL_H_
#else
#define TANDEM_ATTENTION_ROWS_INL_H_
#endif
#include "kernels/attention/tiles_inl.h"

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {

template <class T>
using Buffer = hwy::AlignedFreeUniquePtr<T[]>;
template <class T>
Buffer<T> buffer(std::int64_t n) {
  return hwy::AllocateAligned<T>(static_cast<std::size_t>(n));
}

// Sizes of one call, and how keys are packed for one item.
template <class T>
struct Sizes {
  const BlockAttention<T>& call;
  const AttentionShape& shape;
  std::int64_t group, depth, padded;
  T scale;
  std::int64_t per_panel = 0, width = 0;  // keys and columns of a panel

  explicit Sizes(const BlockAttention<T>& c)
      : call(c),
        shape(c.shape),
        group(c.shape.group()),
        depth(c.shape.head_dim),
        padded(round_up(c.shape.head_dim, kLanes<T>)),
        scale(static_cast<T>(1 / std::sqrt(static_cast<double>(c.shape.head_dim)))) {}

  bool reads_all(std::int64_t item) const {
    return call.chosen == nullptr || (call.full_items != nullptr && call.full_items[item] != 0);
  }
  void pack_for(bool all) {
    per_panel = all ? kPanel : shape.block_size;
    width = round_up(per_panel, kLanes<T>);
  }
  // Where a block's rows begin in [T][padded], and how many numbers they are.
  std::int64_t block_row(std::int64_t block) const { return block * shape.block_size * padded; }
  std::int64_t block_room(std::int64_t block) const {
    return std::min(shape.block_size, shape.tokens - block * shape.block_size) * padded;
  }
  // Numbers that the columns of one key head need, however they are packed.
  std::int64_t column_room() const {
    const std::int64_t by_block = shape.blocks() * round_up(shape.block_size, kLanes<T>);
    const bool any_list = call.chosen != nullptr;
    return depth * std::max(round_up(shape.tokens, kPanel), any_list ? by_block : 0);
  }
  std::int64_t query_row(std::int64_t item, std::int64_t t, std::int64_t head) const {
    return (item * shape.tokens + t) * shape.heads + head;
  }
  std::int64_t key_row(std::int64_t item, std::int64_t kv_head) const {
    return item * shape.tokens * shape.kv_heads + kv_head;
  }
  std::int64_t key_stride() const { return shape.kv_heads * depth; }
};

// The vectors of keys of a tile.
struct Vectors {
  std::vector<std::int64_t> offset;  // of its columns in the packed arrays
  std::vector<std::int32_t> first;   // its first key
  std::vector<std::int32_t> count;   // its keys; further lanes hold none that may be read
  void clear() {
    offset.clear();
    first.clear();
    count.clear();
  }
  std::int64_t size() const { return static_cast<std::int64_t>(offset.size()); }
};

template <class T>
void add_vectors(const Sizes<T>& s, std::int64_t panel, std::int64_t begin, std::int64_t end,
                 Vectors& to) {
  const std::int64_t origin = panel * s.per_panel;
  begin = std::max(begin, origin) - origin;
  end = std::min({end, origin + s.per_panel, s.shape.tokens}) - origin;
  for (std::int64_t at = begin / kLanes<T> * kLanes<T>; at < end; at += kLanes<T>) {
    to.offset.push_back(panel * s.depth * s.width + at);
    to.first.push_back(static_cast<std::int32_t>(origin + at));
    to.count.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(kLanes<T>, end - at)));
  }
}

// Some vectors of a tile's keys, and rows of weights for them.
template <class T>
struct Chunk {
  const std::int64_t* offset;
  const std::int32_t* first;
  const std::int32_t* count;
  std::int64_t vectors;
  bool fresh;  // the first of its tile
};

// Which rows of a tile read what: of each row the readable range of keys. Row r belongs to head
// `head + r % heads` of query `query + r / heads`.
struct Tile {
  std::int64_t rows, query, head, heads;
  const std::int32_t* begin;
  const std::int32_t* end;
};

// Calls each(r, row) for the rows of a tile, with the row's place in [B,T,H].
template <class T, class Each>
HWY_INLINE void for_rows(const Sizes<T>& s, std::int64_t item, const Tile& tile, const Each& each) {
  std::int64_t row = s.query_row(item, tile.query, tile.head);
  for (std::int64_t r = 0; r < tile.rows; row += s.shape.heads - tile.heads) {
    for (std::int64_t h = 0; h < tile.heads; ++h) each(r++, row++);
  }
}

// Keys of a chunk where blocks are chosen, so that a tile's weights stay in the first cache.
template <class T>
std::int64_t chunk_vectors(std::int64_t rows) {
  return std::clamp(kWeights / rows, kPanel, kMostKeys) / kLanes<T>;
}
// Rows and keys of the largest tile's weights.
inline std::int64_t most_rows(std::int64_t group) { return std::max(group, kTileRows); }
inline std::int64_t weight_stride(std::int64_t group) {
  return std::clamp(kWeights / group, kPanel, kMostKeys) + 16;
}
inline std::int64_t weight_room(std::int64_t group) {
  return std::max(group * weight_stride(1), most_rows(group) * (kPanel + 16));
}

// Calls touch(block) for the blocks that are in the list `next` and not in `now`, both ascending.
template <class Touch>
void visit_new_blocks(const std::int32_t* now, const std::int32_t* next, std::int64_t slots,
                      const Touch& touch) {
  for (std::int64_t i = 0, j = 0; i < slots; ++i) {
    while (j < slots && now[j] < next[i]) ++j;
    if (next[i] >= 0 && (j == slots || now[j] != next[i])) touch(next[i]);
  }
}

template <class T>
HWY_INLINE void prefetch(const T* from, std::int64_t n) {
  constexpr std::int64_t kLine = 64 / sizeof(T);
  for (std::int64_t i = 0; i < n; i += kLine) hwy::Prefetch(from + i);
}

// Calls begin(tile), chunk(tile, chunk) for each chunk of its keys, and end(tile), for every tile
// of a key head in the order of its queries; before a tile, touch(block) for blocks that the same
// list of the next query will bring.
template <class T, class Touch, class Begin, class Each, class End>
void walk_tiles(const Sizes<T>& s, std::int64_t item, std::int64_t kv_head,
                const std::int32_t* begin, const std::int32_t* end, Vectors& vectors,
                const Touch& touch, const Begin& begin_tile, const Each& each_chunk,
                const End& end_tile) {
  const BlockAttention<T>& call = s.call;
  const bool all = s.reads_all(item);
  const std::int64_t lists = all ? 1 : call.lists / s.shape.kv_heads;  // per group
  const std::int64_t heads = s.group / lists;
  const std::int64_t together = all ? std::max<std::int64_t>(1, kTileRows / heads) : 1;
  const std::int64_t step = all ? kPanel / kLanes<T> : chunk_vectors<T>(heads);
  std::vector<std::int32_t> row_begin(static_cast<std::size_t>(heads * together)),
      row_end(row_begin);
  for (std::int64_t t = 0; t < s.shape.tokens; t += together) {
    const std::int64_t queries = std::min(together, s.shape.tokens - t);
    std::int64_t lowest = s.shape.tokens, highest = 0;
    for (std::int64_t r = 0; r < queries * heads; ++r) {
      row_begin[static_cast<std::size_t>(r)] = begin[t + r / heads];
      row_end[static_cast<std::size_t>(r)] = end[t + r / heads];
      lowest = std::min<std::int64_t>(lowest, begin[t + r / heads]);
      highest = std::max<std::int64_t>(highest, end[t + r / heads]);
    }
    for (std::int64_t l = 0; l < lists; ++l) {
      const Tile tile{queries * heads, t, kv_head * s.group + l * heads, heads, row_begin.data(),
                      row_end.data()};
      vectors.clear();
      if (all) {
        for (std::int64_t p = lowest / kPanel; p * kPanel < highest; ++p) {
          add_vectors(s, p, p * kPanel, highest, vectors);
        }
      } else {
        const std::int64_t list = kv_head * lists + l;
        const std::int32_t* chosen =
            call.chosen + ((item * call.lists + list) * s.shape.tokens + t) * call.slots;
        for (std::int64_t i = 0; i < call.slots; ++i) {
          if (chosen[i] >= 0) add_vectors(s, chosen[i], lowest, highest, vectors);
        }
        if (t + 1 < s.shape.tokens) {
          visit_new_blocks(chosen, chosen + call.slots, call.slots, touch);
        }
      }
      begin_tile(tile);
      for (std::int64_t i = 0; i < vectors.size(); i += step) {
        each_chunk(tile,
                   Chunk<T>{vectors.offset.data() + i, vectors.first.data() + i,
                            vectors.count.data() + i, std::min(step, vectors.size() - i), i == 0});
      }
      end_tile(tile);
    }
  }
}

// The chunk's keys as runs of neighbouring rows of [T][padded], with the weights of `weights`.
template <class T>
void list_terms(const Chunk<T>& chunk, const T* rows, std::int64_t padded, const T* weights,
                std::vector<Terms<T>>& terms) {
  terms.clear();
  for (std::int64_t i = 0; i < chunk.vectors; ++i) {
    const T* from = rows + chunk.first[i] * padded;
    const T* with = weights + i * kLanes<T>;
    if (!terms.empty() && terms.back().rows + terms.back().count * padded == from &&
        terms.back().weights + terms.back().count == with) {
      terms.back().count += chunk.count[i];
    } else {
      terms.push_back({from, with, chunk.count[i]});
    }
  }
}

// Calls visit(i, masked, mask) for each vector of a row; where it is not masked all lanes count.
template <class T, class Visit>
HWY_INLINE void visit_vectors(const Chunk<T>& chunk, std::int64_t begin, std::int64_t end,
                              const Visit& visit) {
  for (std::int64_t i = 0; i < chunk.vectors; ++i) {
    const std::int64_t from = begin - chunk.first[i];
    const std::int64_t to = std::min<std::int64_t>(end - chunk.first[i], chunk.count[i]);
    visit(i, from > 0 || to < kLanes<T>, from, to);
  }
}

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#endif
