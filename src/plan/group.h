// A group: runs that train together as one program, what they must share, and where their rows go.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "config/config.h"
#include "store/rows.h"
#include "topology/storage.h"

namespace tandem {

// Where a group's rows go. The worker's implementation sends them to the writer and learns what has
// been committed; rows not yet acknowledged are part of a checkpoint.
class RowSink {
 public:
  virtual ~RowSink() = default;
  virtual void emit(Row row) = 0;
  // Rows emitted and not yet known to be committed.
  virtual std::vector<Row> unacknowledged() = 0;
  // Throws StoreError once nobody listens any more.
  virtual void flush() = 0;
  // Steps of the group's training that are behind it, of all; for who waits, nothing is stored.
  virtual void report_progress(std::int64_t /*done*/, std::int64_t /*all*/) {}
};

struct GroupSpec {
  std::vector<Config> runs;  // equal group_key()
  std::string device = "cpu";
  std::vector<Storage> storage = {};  // as in TrainerOptions
  std::string checkpoint_folder;      // "" = no checkpoints
  double checkpoint_every_s = 60;
  int host_threads = 1;               // core/parallel.h; of a GPU's worker
  std::int64_t stop_after_steps = 0;  // > 0: stop with a checkpoint after so many steps (tests)
  std::vector<std::string> frozen =
      {};  // ids of runs that nobody wants any more: they need not train
  std::function<bool()> should_stop =
      {};  // asked between steps: true = checkpoint, end as kStopped
};

// Examples that a read-out takes at once, per replica.
constexpr std::int64_t kImageChunk = 500, kWindowChunk = 16;
// The same of windows that are `multiple` times as long as in training: what they need grows with
// their length, and that of whole attention matrices with its square.
constexpr std::int64_t window_chunk(std::int64_t multiple) {
  return multiple * multiple < kWindowChunk ? kWindowChunk / (multiple * multiple) : 1;
}

// What two runs must share to train in one group: everything but the per_replica options.
std::string group_key(const Config& config);

}  // namespace tandem
