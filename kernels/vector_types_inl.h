// Vectors of an instruction set, for files that Highway compiles once for each of them.
#if defined(TANDEM_VECTOR_TYPES_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef TANDEM_VECTOR_TYPES_INL_H_
#undef TANDEM_VECTOR_TYPES_INL_H_
#else
#define TANDEM_VECTOR_TYPES_INL_H_
#endif
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace tandem::kernels {
namespace {
namespace HWY_NAMESPACE {
namespace hn = hwy::HWY_NAMESPACE;

#undef TANDEM_UNROLL
#if HWY_TARGET == HWY_SCALAR || !HWY_COMPILER_GCC_ACTUAL
#define TANDEM_UNROLL
#else
#define TANDEM_UNROLL _Pragma("GCC unroll 16")
#endif

template <class T>
using Tag = hn::ScalableTag<T>;
template <class T>
using Vec = hn::Vec<Tag<T>>;
template <class T>
constexpr int kLanes = static_cast<int>(HWY_LANES(T));

}  // namespace HWY_NAMESPACE
}  // namespace
}  // namespace tandem::kernels
HWY_AFTER_NAMESPACE();

#endif  // per-target include guard
