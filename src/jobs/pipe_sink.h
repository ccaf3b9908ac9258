// The worker's row sink: rows go out on one pipe, acknowledgements come in on another. Writing
// waits with poll() for either pipe, so that two full pipes can't lock the two processes.
#pragma once

#include <deque>
#include <map>
#include <string>
#include <vector>

#include "jobs/process.h"
#include "plan/group.h"

namespace tandem {

class PipeSink : public RowSink {
 public:
  // The descriptors stay the caller's. Makes both of them non-blocking.
  PipeSink(int lines_in, int rows_out);

  std::string read_line();  // waits; throws StoreError where the pipe closes first

  void emit(Row row) override;  // sends now and then by itself, so that followers see it early
  std::vector<Row> unacknowledged() override;
  void flush() override;
  void report_progress(std::int64_t done, std::int64_t all) override;  // sends now and then

  // Whether the writer is gone. Cheap enough to be asked at each step.
  bool closed();

 private:
  void read_acknowledgements();
  void read_available();
  void wait(short events_out);
  [[noreturn]] void fail();

  int in_, out_;
  LineBuffer lines_;
  std::map<std::string, std::deque<Row>> pending_;  // by run, in the order of its sequence numbers
  std::string unsent_;
  std::int64_t sent_ms_ = 0, told_ms_ = 0;
  bool closed_ = false;
};

}  // namespace tandem
