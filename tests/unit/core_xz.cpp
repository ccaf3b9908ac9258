// Compression: what goes in comes out, here and in the program xz; a cut file is refused.
#include <catch2/catch.hpp>
#include <cstdlib>

#include "core/error.h"
#include "core/files.h"
#include "core/philox.h"
#include "core/xz.h"

namespace tandem::test::core_xz_unit {

TEST_CASE("xz gives back what it took", "[unit]") {
  std::string text;
  for (std::uint64_t i = 0; i < 30'000; ++i) text += std::to_string(sub_key(7, i) % 1000) + "\n";
  const TemporaryFolder folder;
  for (const std::string& each :
       {std::string(), std::string("a"), text, std::string(200'000, 'x')}) {
    const std::string packed = xz_compress(each);
    CHECK(xz_decompress(packed, "x") == each);
    CHECK(xz_compress(each) == packed);
    if (std::system("command -v xz > /dev/null") != 0) continue;
    atomic_write(folder / "x.xz", packed);
    REQUIRE(std::system(("xz -dkf " + (folder / "x.xz")).c_str()) == 0);
    CHECK(read_file(folder / "x") == each);
    // And the other way, as two files in one.
    atomic_write(folder / "x", each);
    REQUIRE(std::system(("xz -kf " + (folder / "x")).c_str()) == 0);
    const std::string theirs = read_file(folder / "x.xz");
    CHECK(xz_decompress(theirs + theirs, "x") == each + each);
  }
  CHECK(xz_compress(text).size() < text.size() / 2);
}

TEST_CASE("a cut or damaged file of xz is refused by name", "[unit]") {
  std::string packed = xz_compress(std::string(10'000, 'y') + "z");
  CHECK_THROWS_WITH(xz_decompress(packed.substr(0, packed.size() - 5), "some/file.xz"),
                    Catch::Contains("some/file.xz"));
  packed[packed.size() / 2] = static_cast<char>(packed[packed.size() / 2] ^ 1);
  CHECK_THROWS_AS(xz_decompress(packed, "x"), DataError);
  CHECK_THROWS_AS(xz_decompress("no xz at all", "x"), DataError);
}

}  // namespace tandem::test::core_xz_unit
