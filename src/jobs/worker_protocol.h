// What the writer and a worker say to each other, one JSON object a line.
//   writer to worker: the group, once; then acknowledgements {"ack": {RUN: SEQUENCE}}: all rows of
//                     RUN up to SEQUENCE are committed (a run's rows travel and commit in order)
//   worker to writer: rows (store/rows.h); and, once or twice a second, {"progress": [DONE, ALL]}:
//                     steps of the group's training, for who waits
// There is no closing message: exit code 0 says done, 75 stopped with a checkpoint, any other that
// the error's text is on stderr. Either side's closing its pipe ends the talk.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>

#include "plan/group.h"

namespace tandem {

using Acknowledgement = std::map<std::string, std::int64_t>;  // run -> last committed sequence

// The spec without should_stop. Configs travel as all their values, kProgram options included.
std::string encode_group(const GroupSpec& spec);
// Throws StoreError on a malformed line, and where a run's id is not the one it was sent with (the
// two sides are different builds).
GroupSpec decode_group(const std::string& line);

std::string encode_acknowledgement(const Acknowledgement& acknowledgement);
Acknowledgement decode_acknowledgement(const std::string& line);  // throws StoreError

struct StepsDone {
  std::int64_t done = 0, all = 0;
};
std::string encode_progress(const StepsDone& steps);
std::optional<StepsDone> decode_progress(const std::string& line);  // none: the line is a row

// What a worker's environment must hold before its first tensor: reproducible products of MKL, one
// thread, and a malloc that keeps freed temporaries (their page faults cost a third of a step).
std::map<std::string, std::string> worker_environment();

}  // namespace tandem
