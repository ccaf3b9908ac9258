// Marks a function of which the compiler builds an AVX2 and a portable version; the loader picks
// one. Both give the same bits: the build turns contraction off, and a reduction must keep its
// order by itself (see sum_squares in update/update.cpp).
#pragma once

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#define TANDEM_SIMD_CLONES __attribute__((target_clones("default", "avx2")))
#else
#define TANDEM_SIMD_CLONES
#endif
