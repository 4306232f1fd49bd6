// Attention forward in bfloat16 by its dot instruction, where the instruction set has it. Included by attention's
// *.simd.cpp units only.
#pragma once

#include "kernels/attention/attention.h"
#include "kernels/gemm/words.simd.h"

#if NATIVE_WORDS

namespace native {
namespace NATIVE_ISA {

// See AttentionForwardTable.
void forward_words(const AttentionForward& task, const AttentionQueries& queries, const AttentionQueries& next,
                   void* scratch);
int64_t forward_words_scratch(const AttentionShape& shape);

}  // namespace NATIVE_ISA
}  // namespace native

#endif
