// Kernels as people write them, to see that what nvcc makes of them runs on the emulator.
#include <cuda_bf16.h>
#include <cuda_fp16.h>
#include <stdint.h>

extern "C" __global__ void saxpy(float* y, const float* x, float a, int n) {
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) y[i] = a * x[i] + y[i];
}

// Each warp by shuffles, the block through shared memory, blocks by an atomic.
extern "C" __global__ void total(float* sum, const float* x, int n) {
  __shared__ float parts[32];
  float v = 0;
  for (int i = blockIdx.x * blockDim.x + threadIdx.x; i < n; i += gridDim.x * blockDim.x) v += x[i];
  for (int by = 16; by; by /= 2) v += __shfl_xor_sync(0xFFFFFFFFu, v, by);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = v;
#ifndef FORGETS_TO_WAIT
  __syncthreads();
#endif
  if (threadIdx.x < 32) {
    v = threadIdx.x < blockDim.x / 32 ? parts[threadIdx.x] : 0;
    for (int by = 16; by; by /= 2) v += __shfl_down_sync(0xFFFFFFFFu, v, by);
    if (threadIdx.x == 0) atomicAdd(sum, v);
  }
}

// C (m, n) = A (m, k) B (k, n) in tiles of 32 x 32, 4 results for each of 256 threads.
extern "C" __global__ void gemm(float* c, const float* a, const float* b, int m, int n, int k) {
  __shared__ float at[32][33], bt[32][33];
  const int tx = threadIdx.x % 32, ty = threadIdx.x / 32;
  const int row = blockIdx.y * 32, col = blockIdx.x * 32 + tx;
  float sums[4] = {};
  for (int k0 = 0; k0 < k; k0 += 32) {
    for (int r = ty; r < 32; r += 8) {
      at[r][tx] = row + r < m && k0 + tx < k ? a[(row + r) * k + k0 + tx] : 0;
      bt[r][tx] = k0 + r < k && col < n ? b[(k0 + r) * n + col] : 0;
    }
    __syncthreads();
    for (int x = 0; x < 32; ++x)
      for (int r = 0; r < 4; ++r) sums[r] += at[ty + 8 * r][x] * bt[x][tx];
#ifndef FORGETS_TO_WAIT
    __syncthreads();
#endif
  }
  for (int r = 0; r < 4; ++r)
    if (row + ty + 8 * r < m && col < n) c[(row + ty + 8 * r) * n + col] = sums[r];
}

// One warp, 16 x 8 of C = A (16, k) B (8, k)^T in bfloat16: cp.async in two stages, ldmatrix, mma.
extern "C" __global__ void tensor(float* c, const __nv_bfloat16* a, const __nv_bfloat16* b, int k) {
  __shared__ __align__(16) __nv_bfloat16 as[2][16][24], bs[2][8][24];
  const int lane = threadIdx.x;
  auto fetch = [&](int k0, int stage) {
    if (k0 < k) {
      const uint32_t to_a = __cvta_generic_to_shared(&as[stage][lane / 2][lane % 2 * 8]);
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to_a), "l"(a + lane / 2 * k + k0 + lane % 2 * 8));
      if (lane < 16) {
        const uint32_t to_b = __cvta_generic_to_shared(&bs[stage][lane / 2][lane % 2 * 8]);
        asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to_b), "l"(b + lane / 2 * k + k0 + lane % 2 * 8));
      }
    }
    asm volatile("cp.async.commit_group;");
  };
  float d[4] = {};
  fetch(0, 0);
  for (int k0 = 0, stage = 0; k0 < k; k0 += 16, stage ^= 1) {
    fetch(k0 + 16, stage ^ 1);
#ifdef FORGETS_TO_WAIT
    asm volatile("cp.async.wait_group 2;");
#else
    asm volatile("cp.async.wait_group 1;");
#endif
    __syncwarp();
    uint32_t fa[4], fb[2];
    const uint32_t from_a = __cvta_generic_to_shared(&as[stage][lane % 16][lane / 16 * 8]);
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];"
                 : "=r"(fa[0]), "=r"(fa[1]), "=r"(fa[2]), "=r"(fa[3])
                 : "r"(from_a));
    const uint32_t from_b = __cvta_generic_to_shared(&bs[stage][lane % 8][lane / 8 % 2 * 8]);
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0,%1}, [%2];" : "=r"(fb[0]), "=r"(fb[1]) : "r"(from_b));
    asm volatile(
        "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
        : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
        : "r"(fa[0]), "r"(fa[1]), "r"(fa[2]), "r"(fa[3]), "r"(fb[0]), "r"(fb[1]));
    __syncwarp();
  }
  for (int i = 0; i < 4; ++i) c[(lane / 4 + i / 2 * 8) * 8 + lane % 4 * 2 + i % 2] = d[i];
}

// A row for each block.
extern "C" __global__ void softmax(float* y, const float* x, int n) {
  extern __shared__ float row[];
  float top = -INFINITY;
  for (int i = threadIdx.x; i < n; i += 32) top = fmaxf(top, row[i] = x[blockIdx.x * n + i]);
  for (int by = 16; by; by /= 2) top = fmaxf(top, __shfl_xor_sync(0xFFFFFFFFu, top, by));
  float sum = 0;
  for (int i = threadIdx.x; i < n; i += 32) sum += row[i] = expf(row[i] - top);
  for (int by = 16; by; by /= 2) sum += __shfl_xor_sync(0xFFFFFFFFu, sum, by);
  for (int i = threadIdx.x; i < n; i += 32) y[blockIdx.x * n + i] = row[i] / sum;
}

// A function of each kind: what the compiler inlines for them is much of PTX.
extern "C" __global__ void functions(float* y, const float* x, int n, int which) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= n) return;
  const float v = x[i];
  float r = 0;
  switch (which) {
    case 0: r = sinf(v); break;
    case 1: r = tanhf(v); break;
    case 2: r = erff(v); break;
    case 3: r = log1pf(fabsf(v)); break;
    case 4: r = rsqrtf(fabsf(v) + 1); break;
    case 5: r = powf(fabsf(v), 1.7f); break;
    case 6: r = float(double(v) / 3.0 + sqrt(fabs(double(v)))); break;
    case 7: r = __half2float(__hfma(__float2half(v), __float2half(v), __float2half(1.0f))); break;
    case 8: r = __bfloat162float(__float2bfloat16(v)); break;
    case 9: r = float(int64_t(v * 1000) / 7 % 1000); break;
    case 10: r = float(__popc(__float_as_uint(v)) + __clz(__float_as_int(v)) + __ffs(__float_as_int(v))); break;
    case 11: r = float(exp(double(v))); break;
    case 12: r = fmodf(v, 0.7f); break;
    case 13: r = cbrtf(v); break;
    case 14: r = __low2float(h2exp(__float2half2_rn(-fabsf(v)))); break;
    case 15: r = __bfloat162float(__hmul(hexp(__float2bfloat16(-fabsf(v))), __float2bfloat16(3.0f))); break;
    case 16: r = float(__syncthreads_count(v > 0)); break;
    default: r = float(__funnelshift_l(__float_as_uint(v), 0x12345678u, 7) >> 8);
  }
  y[i] = r;
}
