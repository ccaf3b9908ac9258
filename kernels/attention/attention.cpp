// The checked functions of attention.h on a CPU.
#include "kernels/attention/attention.h"

#include "kernels/attention/attention_calls.h"

namespace tandem::kernels {

template <class T>
AttentionStatus attention_forward(const BlockAttention<T>& call) {
  const AttentionStatus status = check_attention(call);
  if (status == AttentionStatus::kOk) attention_run(call);
  return status;
}

template <class T>
AttentionStatus attention_backward(const BlockAttentionGradient<T>& call) {
  const AttentionStatus status = check_attention(call.forward);
  if (status == AttentionStatus::kOk) attention_run(call);
  return status;
}

template <class T>
AttentionStatus select_blocks(const BlockChoice<T>& call) {
  const AttentionStatus status = check_choice(call);
  if (status == AttentionStatus::kOk) choice_run(call);
  return status;
}

template AttentionStatus attention_forward(const BlockAttention<float>&);
template AttentionStatus attention_forward(const BlockAttention<double>&);
template AttentionStatus attention_backward(const BlockAttentionGradient<float>&);
template AttentionStatus attention_backward(const BlockAttentionGradient<double>&);
template AttentionStatus select_blocks(const BlockChoice<float>&);
template AttentionStatus select_blocks(const BlockChoice<double>&);

}  // namespace tandem::kernels
