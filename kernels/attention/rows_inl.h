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
  std::int64_t query_row(std::int64_t item, std::int64_t t, std::int64_t head) const {
    return (item * shape.tokens + t) * shape.heads + head;
  }
  std::int64_t key_row(std::int64_t item, std::int64_t kv_head) const {
    return item * shape.tokens * shape.kv_heads + kv_head;
  }
  std::int64_t key_stride() const { return shape.kv_heads * depth; }
};

// One key head of an item, packed in panels of keys: what a block brings lies together, as it comes
// from a far cache where a sequence is long. A panel has some parts of columns, [d][width], and
// then some of rows, [per_panel][padded].
template <class T>
class Panels {
 public:
  std::int64_t per_panel = 0, width = 0, room = 0;  // keys, columns, numbers of a panel

  Panels(const Sizes<T>& s, std::int64_t column_parts, std::int64_t row_parts)
      : tokens_(s.shape.tokens),
        depth_(s.depth),
        padded_(s.padded),
        column_parts_(column_parts),
        row_parts_(row_parts) {
    std::int64_t most = 0;
    for (const std::int64_t keys : {kPanel, s.shape.block_size}) {
      if (keys != kPanel && s.call.chosen == nullptr) continue;
      cut(keys);
      most = std::max(most, count() * room);
    }
    data_ = buffer<T>(most);
  }

  void cut(std::int64_t keys) {
    per_panel = keys;
    width = round_up(keys, kLanes<T>);
    room = column_parts_ * depth_ * width + row_parts_ * keys * padded_;
  }
  std::int64_t count() const { return (tokens_ + per_panel - 1) / per_panel; }
  T* columns(std::int64_t part) { return data_.get() + part * depth_ * width; }
  T* rows(std::int64_t part) { return columns(column_parts_) + part * per_panel * padded_; }
  void fetch(std::int64_t panel) {
    constexpr std::int64_t kLine = 64 / sizeof(T);
    const T* from = data_.get() + panel * room;
    for (std::int64_t i = 0; i < room; i += kLine) hwy::Prefetch(from + i);
  }

  // Packs rows that lie `stride` apart as columns, of which those without a row are zero.
  void set_columns(std::int64_t part, const T* from, std::int64_t stride) {
    T* to = columns(part);
    for (std::int64_t t = 0; t < tokens_; t += per_panel, to += room) {
      const std::int64_t keys = std::min(per_panel, tokens_ - t);
      for (std::int64_t j = 0; j < keys; ++j, from += stride) {
        for (std::int64_t k = 0; k < depth_; ++k) to[k * width + j] = from[k];
      }
      for (std::int64_t k = 0; k < depth_ && keys < width; ++k) {
        std::fill(to + k * width + keys, to + (k + 1) * width, T{0});
      }
    }
  }
  // Calls each(t, row) for the rows of a part, in order.
  template <class Each>
  HWY_INLINE void for_rows_of(std::int64_t part, const Each& each) {
    T* panel = rows(part);
    for (std::int64_t t = 0; t < tokens_; panel += room) {
      const std::int64_t end = std::min(t + per_panel, tokens_);
      for (T* row = panel; t < end; ++t, row += padded_) each(t, row);
    }
  }
  void set_rows(std::int64_t part, const T* from, std::int64_t stride) {
    for_rows_of(part, [&](std::int64_t t, T* row) {
      copy_row(from + t * stride, depth_, T{1}, row, padded_);
    });
  }
  void clear_rows(std::int64_t part) {
    for_rows_of(part, [&](std::int64_t, T* row) { std::fill_n(row, padded_, T{0}); });
  }
  void get_rows(std::int64_t part, T* to, std::int64_t stride) {
    for_rows_of(part, [&](std::int64_t t, const T* row) {
      copy_row(row, depth_, T{1}, to + t * stride, depth_);
    });
  }

 private:
  std::int64_t tokens_, depth_, padded_, column_parts_, row_parts_;
  Buffer<T> data_;
};

// The vectors of keys of a tile.
struct Vectors {
  std::vector<std::int64_t> column;  // where its columns begin, in the parts of columns
  std::vector<std::int64_t> row;     // where the row of its first key begins, in those of rows
  std::vector<std::int32_t> first;   // its first key
  std::vector<std::int32_t> count;   // its keys; further lanes hold none that may be read
  void clear() {
    column.clear();
    row.clear();
    first.clear();
    count.clear();
  }
  std::int64_t size() const { return static_cast<std::int64_t>(first.size()); }
};

// Adds the vectors of a panel that have keys in [begin, end).
template <class T>
void add_vectors(const Panels<T>& panels, std::int64_t padded, std::int64_t panel,
                 std::int64_t begin, std::int64_t end, Vectors& to) {
  const std::int64_t origin = panel * panels.per_panel;
  begin = std::max(begin, origin) - origin;
  end = std::min(end, origin + panels.per_panel) - origin;
  for (std::int64_t at = begin / kLanes<T> * kLanes<T>; at < end; at += kLanes<T>) {
    to.column.push_back(panel * panels.room + at);
    to.row.push_back(panel * panels.room + at * padded);
    to.first.push_back(static_cast<std::int32_t>(origin + at));
    to.count.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(kLanes<T>, end - at)));
  }
}

// Some vectors of a tile's keys, and rows of weights for them.
template <class T>
struct Chunk {
  const std::int64_t* column;
  const std::int64_t* row;
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

// Calls begin(tile), chunk(tile, chunk) for each chunk of its keys, and end(tile), for every tile
// of a key head in the order of its queries. Blocks that the same list of the next query will bring
// are fetched before.
template <class T, class Begin, class Each, class End>
void walk_tiles(const Sizes<T>& s, Panels<T>& panels, std::int64_t item, std::int64_t kv_head,
                const std::int32_t* begin, const std::int32_t* end, Vectors& vectors,
                const Begin& begin_tile, const Each& each_chunk, const End& end_tile) {
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
          add_vectors(panels, s.padded, p, lowest, highest, vectors);
        }
      } else {
        const std::int64_t list = kv_head * lists + l;
        const std::int32_t* chosen =
            call.chosen + ((item * call.lists + list) * s.shape.tokens + t) * call.slots;
        for (std::int64_t i = 0; i < call.slots; ++i) {
          if (chosen[i] >= 0) add_vectors(panels, s.padded, chosen[i], lowest, highest, vectors);
        }
        if (t + 1 < s.shape.tokens) {
          visit_new_blocks(chosen, chosen + call.slots, call.slots,
                           [&](std::int64_t block) { panels.fetch(block); });
        }
      }
      begin_tile(tile);
      for (std::int64_t i = 0; i < vectors.size(); i += step) {
        each_chunk(tile, Chunk<T>{vectors.column.data() + i, vectors.row.data() + i,
                                  vectors.first.data() + i, vectors.count.data() + i,
                                  std::min(step, vectors.size() - i), i == 0});
      }
      end_tile(tile);
    }
  }
}

// The chunk's keys as runs of neighbouring rows of a part, with the weights of `weights`.
template <class T>
void list_terms(const Chunk<T>& chunk, const T* rows, std::int64_t padded, const T* weights,
                std::vector<Terms<T>>& terms) {
  terms.clear();
  for (std::int64_t i = 0; i < chunk.vectors; ++i) {
    const T* from = rows + chunk.row[i];
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
