// Which updates are logged does not depend on where a run was stopped.
#include <catch2/catch.hpp>

#include "support/resume_support.h"

namespace tandem::test::train_resume_logged_crash {

using namespace tandem::test;

TEST_CASE("a run that logs some of its updates resumes to the same rows", "[crash]") {
  for (const std::string method : {"ste", "random_masks", "topkast"}) {
    for (const std::string log_steps : {"0", "7"}) {
      CAPTURE(method, log_steps);
      require_resumable(pair_of({{"weights", method},
                                 {"steps", "45"},
                                 {"refresh_interval", method == "topkast" ? "2" : "1"},
                                 {"probe_every", "15"},
                                 {"topology_log_steps", log_steps}}),
                        11);
    }
  }
}

}  // namespace tandem::test::train_resume_logged_crash
