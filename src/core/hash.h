// SHA-256 (FIPS 180-4) through OpenSSL: ids of configs, hashes of data files, provenance.
#pragma once

#include <cstddef>
#include <memory>
#include <string>
#include <string_view>

struct evp_md_ctx_st;

namespace tandem {

class Sha256 {
 public:
  Sha256();
  Sha256& update(const void* data, std::size_t size_bytes);
  Sha256& update(std::string_view bytes) { return update(bytes.data(), bytes.size()); }
  std::string finish();  // 64 hex digits; the object then starts afresh

 private:
  struct Free {
    void operator()(evp_md_ctx_st* context) const;
  };
  std::unique_ptr<evp_md_ctx_st, Free> context_;
};

std::string sha256(std::string_view bytes);
std::string sha256_file(const std::string& path);  // throws DataError
std::string to_hex(const void* data, std::size_t size_bytes);

}  // namespace tandem
