// SHA-256 against the vectors of FIPS 180-4.
#include <catch2/catch.hpp>

#include "core/error.h"
#include "core/files.h"
#include "core/hash.h"

namespace tandem::test::core_hash_unit {

TEST_CASE("sha256 of the standard's vectors", "[unit]") {
  CHECK(sha256("") == "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  CHECK(sha256("abc") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  CHECK(sha256(std::string(1'000'000, 'a')) ==
        "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST_CASE("Sha256 takes bytes piece by piece and starts afresh", "[unit]") {
  Sha256 hash;
  hash.update("a").update("").update("bc");
  CHECK(hash.finish() == sha256("abc"));
  CHECK(hash.finish() == sha256(""));
  CHECK(hash.update("abc").finish() == sha256("abc"));
}

TEST_CASE("sha256_file reads all of a file", "[unit]") {
  const TemporaryFolder folder;
  const std::string bytes(3'000'001, 'x');
  atomic_write(folder / "x", bytes);
  CHECK(sha256_file(folder / "x") == sha256(bytes));
  CHECK_THROWS_AS(sha256_file(folder / "missing"), DataError);
  CHECK_THROWS_AS(sha256_file(folder.path()), DataError);
}

TEST_CASE("to_hex keeps leading zeros", "[unit]") {
  const unsigned char bytes[] = {0x00, 0x0f, 0xa0, 0xff};
  CHECK(to_hex(bytes, 4) == "000fa0ff");
}

}  // namespace tandem::test::core_hash_unit
